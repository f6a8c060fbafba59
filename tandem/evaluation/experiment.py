"""What is to be evaluated: tasks x methods x settings, checked before anything is started."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tandem.decoding.methods import method as method_of
from tandem.decoding.values import Sampling, Speculation
from tandem.errors import InvalidArgument
from tandem.generation import Options

_STANDARD = Speculation()
_WARPING = Sampling()
_STANDARD_METHODS = ("autoregressive", _STANDARD.method)


class Configuration(BaseModel):
    """One way of decoding: a method, the dials it reads, and the warping."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    draft_length: int | None = None
    beam_width: int | None = None
    threshold: float | None = None
    temperature: float = _WARPING.temperature
    top_k: int = _WARPING.top_k
    top_p: float = _WARPING.top_p

    @model_validator(mode="after")
    def _servable(self) -> Self:
        dials = method_of(self.method).dials
        for dial in ("draft_length", "beam_width", "threshold"):
            if getattr(self, dial) is not None and dial not in dials:
                raise InvalidArgument(f"method {self.method!r} has no {dial}; it reads: {', '.join(sorted(dials))}")
        Sampling(self.temperature, self.top_k, self.top_p)
        Speculation(
            self.method,
            _STANDARD.draft_length if self.draft_length is None else self.draft_length,
            _STANDARD.beam_width if self.beam_width is None else self.beam_width,
            _STANDARD.threshold if self.threshold is None else self.threshold,
        )
        return self

    def options(self) -> Options:
        """As a request names them."""
        return cast(Options, self.model_dump())


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Several = Annotated[tuple[int, ...], BeforeValidator(_listed)]
SeveralNumbers = Annotated[tuple[float, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Experiment(BaseModel):
    """Everything that decides a run's answers, and how they are asked for. Stored as ``config.json``.

    Every method is run at every combination of those dials that it reads; ``configurations`` adds more, one by one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Names = ("text-to-sql",)
    methods: Names = ()
    """Where none is named here or below: plain decoding and `mtad`."""
    draft_length: Several = (_STANDARD.draft_length,)
    beam_width: Several = (_STANDARD.beam_width,)
    threshold: SeveralNumbers = ()
    """Empty is each method's own default."""
    temperature: SeveralNumbers = (_WARPING.temperature,)
    top_k: Several = (_WARPING.top_k,)
    top_p: SeveralNumbers = (_WARPING.top_p,)
    configurations: tuple[Configuration, ...] = ()
    baseline: str = ""
    """Label of the configuration that others are compared with; empty is `autoregressive`, or the first."""
    limit: int | None = Field(None, ge=1)
    """Samples of each task; None is all."""
    seed: int = Field(0, ge=0, lt=1 << 32)
    repetitions: int = Field(1, ge=1, le=1000)
    """How often every sample is asked, each time with another seed."""
    max_tokens: int | None = Field(None, ge=1)
    """Of an answer; None is the task's own."""
    concurrency: int = Field(8, ge=1, le=1024)
    """Samples asked at the same time."""
    trace: int = Field(8, ge=0)
    """Samples whose rounds are kept, the first of the first repetition: what the report shows token by token."""
    scorer: Names = ()
    """Scorers beside the task's own, each ``module:function`` or ``command:PROGRAM``."""
    target: str | None = None
    draft: str | None = None
    dtype: str = "auto"
    threads: int | None = Field(None, ge=1)
    address: str | None = None
    """A running Tandem; None starts one."""
    api_key_file: str | None = None
    """File with the key that it asks for."""
    tls_ca: str | None = None
    """File of the CA that its certificate is of, or ``public``; None is plaintext."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.address is not None and (self.target or self.draft or self.threads or self.dtype != "auto"):
            raise InvalidArgument(
                "an address names a running Tandem, whose models are chosen there: leave target, draft, dtype and "
                "threads out"
            )
        labels = list(self.labelled())
        if self.baseline and self.baseline not in labels:
            raise InvalidArgument(f"baseline {self.baseline!r} is none of the configurations: {', '.join(labels)}")
        return self

    @classmethod
    def load(cls, path: Path | None, given: Mapping[str, Any]) -> Self:
        """An experiment from a TOML or JSON file, and what was given beside it, which wins.

        Raises:
            InvalidArgument: the file cannot be read, or a value is unknown or out of bounds, by name.
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                text = path.read_text()
                values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
            except OSError as error:
                raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from None
            except ValueError as error:
                raise InvalidArgument(f"{path} is no TOML (or, named so, JSON) file: {error}") from None
            values = values.get("experiment", values)  # of a run's own config.json
        try:
            return cls.model_validate(values | {name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise InvalidArgument("; ".join(map(_explain, error.errors()))) from None

    def labelled(self) -> dict[str, Configuration]:
        """Every configuration by its label: the method, and of its settings those that tell it from others."""
        found = list(dict.fromkeys([*self._combined(), *self.configurations]))
        return {_label(configuration, found): configuration for configuration in found}

    @property
    def baseline_label(self) -> str:
        """Which configuration others are compared with."""
        labelled = self.labelled()
        if self.baseline:
            return self.baseline
        plain = (label for label, configuration in labelled.items() if configuration.method == "autoregressive")
        return next(plain, next(iter(labelled)))

    def _combined(self) -> Iterable[Configuration]:
        for name in self.methods or (() if self.configurations else _STANDARD_METHODS):
            known = method_of(name)
            grid: dict[str, tuple[float | None, ...]] = {
                "draft_length": self.draft_length,
                "beam_width": self.beam_width,
                "threshold": self.threshold or (known.default_threshold,),
            }
            grid = {dial: values for dial, values in grid.items() if dial in known.dials}
            grid |= {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
            for values in itertools.product(*grid.values()):
                yield Configuration.model_validate({"method": name} | dict(zip(grid, values, strict=True)))


def _explain(found: Any) -> str:
    where = ".".join(str(part) for part in found["loc"]) or "experiment"
    return f"{where}: {found['msg']} (got {found['input']!r})"


_SIGNS = {
    "draft_length": "γ",
    "beam_width": "b",
    "threshold": "τ",
    "temperature": "T",
    "top_k": "k",
    "top_p": "p",
}


def _label(configuration: Configuration, others: Iterable[Configuration]) -> str:
    alike = [other for other in others if other.method == configuration.method]
    parts = [
        f"{sign}={getattr(configuration, name):g}"
        for name, sign in _SIGNS.items()
        if len({getattr(other, name) for other in alike}) > 1 and getattr(configuration, name) is not None
    ]
    return " ".join([configuration.method, *parts])
