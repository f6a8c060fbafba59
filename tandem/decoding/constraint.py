"""What a generated text must match, whatever the models would rather say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tandem.errors import InvalidArgument

ConstraintKind = Literal["json_schema", "grammar", "regex"]

KINDS: tuple[ConstraintKind, ...] = get_args(ConstraintKind)
MAX_CONSTRAINT_CHARACTERS = 65536


@dataclass(frozen=True, slots=True)
class Constraint:
    """A JSON schema, a grammar or a regular expression. Whether it makes sense is known once it is compiled."""

    kind: ConstraintKind
    source: str
    """A JSON schema as JSON; a grammar in llguidance's dialect of Lark, with a rule ``start``; or an expression in the
    syntax of Rust's regex crate, which the whole text matches.
    """

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidArgument(f"a constraint of kind {self.kind!r} is not served; expected {', '.join(KINDS)}")
        if not 1 <= len(self.source) <= MAX_CONSTRAINT_CHARACTERS:
            raise InvalidArgument(
                f"{self.kind} has {len(self.source)} characters; expected 1 to {MAX_CONSTRAINT_CHARACTERS}", self.kind
            )
