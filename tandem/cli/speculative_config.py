"""``--speculative-config``: vLLM's way to say how to draft, in one JSON object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tandem.errors import InvalidArgument

EXAMPLE = '{"method": "mtad", "model": "draft-model", "num_speculative_tokens": 4}'

_FLAGS = {
    "method": ("method", str),
    "model": ("draft", str),
    "num_speculative_tokens": ("draft-length", int),
    "beam_width": ("beam-width", int),
    "accept_threshold": ("threshold", float),
}
"""Key -> the flag that says the same, and of what kind its value is. The bounds are those of the flags."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """How to draft, by whichever flags it was said."""

    draft: str | None
    defaults: dict[str, str]
    """As the orchestrator's flags."""


def drafting(config: str | None, flags: dict[str, Any]) -> Drafting:
    """What ``--speculative-config`` and the flags of its keys say together; None is not given.

    Raises:
        InvalidArgument: it is no such object, a key is unknown or of the wrong kind, or a flag says it too.
    """
    said = {name: value for name, value in flags.items() if value is not None}
    for key, value in _parsed(config).items():
        flag, kind = _FLAGS[key]
        if flag in said:
            raise InvalidArgument(f"--{flag} and the {key} of --speculative-config are given; expected one of them")
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
            raise InvalidArgument(f"--speculative-config: {key} is {json.dumps(value)}; expected {kind.__name__}")
        said[flag] = value
    draft = said.pop("draft", None)
    return Drafting(draft, {flag: str(value) for flag, value in said.items()})


def _parsed(config: str | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        parsed = json.loads(config)
    except ValueError as error:
        raise InvalidArgument(f"--speculative-config is not JSON: {error}; expected {EXAMPLE}") from None
    if not isinstance(parsed, dict):
        raise InvalidArgument(f"--speculative-config is not a JSON object; expected {EXAMPLE}")
    unknown = sorted(set(parsed) - set(_FLAGS))
    if unknown:
        raise InvalidArgument(f"--speculative-config has no {unknown[0]}; its keys are {', '.join(_FLAGS)}")
    return {key: value for key, value in parsed.items() if value is not None}
