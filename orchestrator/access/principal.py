"""Who calls."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much one principal may ask of one orchestrator. None: no bound of its own."""

    max_sessions: int | None = None
    """Generated at once."""
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a key or token stands for. Two of one name are the same."""

    name: str
    """As sessions are bound to it. Empty where nobody is asked; ``jwt:…`` where a token named it."""
    allowance: Allowance = Allowance()
    is_operator: bool = False
    """May read metrics, and delete anybody's sessions."""

    def may_use(self, owner: str) -> bool:
        """Whether a session opened by ``owner`` can be taken up, asked after and ended by this principal.

        One that was opened while nobody was asked is whoever's who knows its id, as it was then.
        """
        return owner in ("", self.name)


ANYONE = Principal("")
"""Everybody, where nobody is asked who they are."""

_CALLER: ContextVar[Principal] = ContextVar("caller", default=ANYONE)


def caller() -> Principal:
    """Who made the call that this task works on."""
    return _CALLER.get()


def set_caller(principal: Principal) -> None:
    """Tells this task, and those it begins, on whose behalf they work. Called by the two edges only."""
    _CALLER.set(principal)
