"""Scores from outside of a task: a function, or a command that reads samples and prints scores."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tandem.errors import InvalidArgument
from tandem.evaluation.line_process import LineProcess
from tandem.evaluation.loading import attribute, check_callable_with
from tandem.evaluation.task import Sample

_COMMAND = "command:"
_MAX_SCORES = 64


class Scorer(Protocol):
    """Gives an answer scores by name, which stand beside those of the task."""

    def __call__(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """Scores by name; see :meth:`Task.score`.

        Raises:
            InvalidArgument: what was given is not scores.
            Unavailable: the scorer has failed.
        """

    def close(self) -> None:
        """Ends what the scorer holds; it is not called again."""


def load_scorer(spec: str, *, patience_seconds: float = 120.0) -> Scorer:
    """The scorer that ``module:function`` or ``command:PROGRAM ARGUMENTS…`` names.

    A function takes a :class:`Sample` and the answers. A command is given a line of JSON for each sample, ``{"id",
    "prompt", "answers", "reference"}``, and prints a line of JSON for each, an object of scores.

    Args:
        spec: the name.
        patience_seconds: how long a command may take over one sample.

    Raises:
        InvalidArgument: there is no such function, or no such program.
    """
    if spec.startswith(_COMMAND):
        try:
            words = shlex.split(spec.removeprefix(_COMMAND))
        except ValueError as error:
            raise InvalidArgument(f"the scorer {spec!r} cannot be read as a command line: {error}") from error
        if not words:
            raise InvalidArgument("the scorer 'command:' names no program; expected command:./judge.py")
        return CommandScorer(words, patience_seconds)
    if ":" not in spec:
        raise InvalidArgument(f"there is no scorer {spec!r}; expected module:function or command:./judge.py")
    function = attribute(spec)
    check_callable_with(function, f"the scorer {spec}", Sample("", ""), ())
    return FunctionScorer(spec, function)


class FunctionScorer:
    """A function in this process."""

    def __init__(self, name: str, function: Callable[[Sample, Sequence[str]], Any]) -> None:
        """Calls the function; the name is for messages."""
        self._name = name
        self._function = function

    def __call__(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """See :class:`Scorer`."""
        return checked_scores(self._function(sample, answers), f"the scorer {self._name} on sample {sample.id!r}")

    def close(self) -> None:
        """Nothing to end."""


class CommandScorer:
    """A program that is started once and answers line by line."""

    def __init__(self, command: Sequence[str], patience_seconds: float) -> None:
        """Starts the program.

        Raises:
            InvalidArgument: it cannot be started.
        """
        self._name = f"the scorer {shlex.join(command)}"
        self._process = LineProcess(command, self._name, patience_seconds)

    def __call__(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """See :class:`Scorer`."""
        asked = {
            "id": sample.id,
            "prompt": sample.prompt,
            "answers": list(answers),
            "reference": sample.reference,
        }
        where = f"{self._name} on sample {sample.id!r}"
        line = self._process.ask(json.dumps(asked), where)
        try:
            scores = json.loads(line)
        except (ValueError, RecursionError) as error:
            shown = line.decode(errors="replace")[:120].strip()
            raise InvalidArgument(
                f"{where} printed no JSON: {shown!r}; expected a line with an object of scores, and anything else on "
                "standard error"
            ) from error
        return checked_scores(scores, where)

    def close(self) -> None:
        """Ends the program: its input ends, then, when it does not leave, it is killed."""
        self._process.close()


def checked_scores(scores: Any, where: str) -> dict[str, float]:
    """The scores, once they are finite numbers by name.

    Raises:
        InvalidArgument: they are anything else.
    """
    if not isinstance(scores, Mapping):
        raise InvalidArgument(f"{where} gave {_shown(scores)}; expected scores by name, as in {{'helpfulness': 0.5}}")
    if len(scores) > _MAX_SCORES:
        raise InvalidArgument(f"{where} gave {len(scores)} scores; at most {_MAX_SCORES} are accepted")
    checked = {}
    for name, value in scores.items():
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"{where} gave a score named {_shown(name)}; expected text")
        try:
            number = math.nan if isinstance(value, str) else float(value)  # NumPy's numbers are numbers too
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise InvalidArgument(f"{where} gave {_shown(value)} as {name!r}; expected a finite number")
        checked[name] = number
    return checked


def _shown(value: object) -> str:
    return repr(value)[:120]
