"""Where to send a call, and how long to go on trying. No input or output: the caller tells the time and waits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.errors import DeadlineExceeded, InvalidArgument, Overloaded, TandemError, Unavailable, Unreached
from tandem.retry_budget import RetryBudget
from tandem.rpc.channel import check_address

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


def parse_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """One address, several, or one text with commas, as host:port each.

    Raises:
        InvalidArgument: there is none, or one has another form.
    """
    found = addresses.split(",") if isinstance(addresses, str) else list(addresses)
    if not found:
        raise InvalidArgument("no address: expected host:port of an orchestrator, such as 127.0.0.1:7070")
    return tuple(check_address(address.strip()) for address in found)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client goes on trying while nothing answers, in seconds since anything was last received."""

    start_seconds: float = 1.0
    """To begin a session. Short, so that a dead port is soon reported."""
    resume_seconds: float = 30.0
    """To resume one whose connection was lost: long enough for a part of the stack to be restarted."""
    overload_seconds: float = 10.0
    """To begin a session where too much is asked for: tries come when the service says, and as the budget allows."""
    silence_seconds: float = 10.0
    """Until a server that does not answer the transport's pings is left for the next address: one that stands still,
    or that nothing reaches. However long a text takes to begin, a server that lives answers them. Not under 2.
    """


class Attempts:
    """The attempts of one call: takes the addresses in turn, waits longer after each round of them, then gives up.

    Asking the next address for what the last one could not do is free once around; whatever is asked again after
    that, or was refused for want of room, is paid for from the budget that all calls of a client share, but for calls
    that found no connection: they burden nobody. Without budget no session is begun; one that has begun is only asked
    for less often, for its text would be lost.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        first: int,
        patience: Patience,
        now: float,
        timeout: float | None,
        budget: RetryBudget,
    ) -> None:
        """Starts the clock.

        Args:
            addresses: where the call can be sent.
            first: which of them is first, as an index modulo their number.
            patience: how long to try.
            now: the time on a monotonic clock, in seconds.
            timeout: seconds for the call as a whole; None is no limit.
            budget: of retries.
        """
        self._budget = budget
        self._addresses = addresses
        self._index = first % len(addresses)
        self._patience = patience
        self._deadline = None if timeout is None else now + timeout
        self._since = now
        self._num_failures = 0

    @property
    def address(self) -> str:
        """Where to send the call now."""
        return self._addresses[self._index]

    def remaining(self, now: float) -> float | None:
        """Seconds left for the call, None without limit.

        Raises:
            DeadlineExceeded: there are none.
        """
        if self._deadline is None:
            return None
        if self._deadline <= now:
            raise DeadlineExceeded("the call's timeout has passed")
        return self._deadline - now

    def progressed(self, now: float) -> None:
        """Something was received: patience begins anew."""
        self._since, self._num_failures = now, 0

    def succeeded(self) -> None:
        """The call is over, and well."""
        self._budget.note_success()

    def pause(self, error: TandemError, now: float, started: bool) -> float:
        """Seconds to wait before the next attempt, at the next address.

        Args:
            error: why the last attempt ended.
            now: the time.
            started: whether a session would be resumed, rather than begun.

        Raises:
            TandemError: ``error`` itself, with the address, where another attempt would not help, or patience or budget
                is over.
        """
        if not isinstance(error, (Unavailable, Overloaded)):
            raise error
        refused = isinstance(error, Overloaded)
        self._num_failures += 1
        rounds = (self._num_failures - 1) // len(self._addresses)
        is_free = isinstance(error, Unreached) or not (refused or rounds)
        allowed = is_free or self._budget.spend()
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(rounds, 10)) * random.uniform(0.5, 1.0)
        if started:
            limit = self._patience.resume_seconds
            pause = pause if allowed else LONGEST_PAUSE_SECONDS
        else:
            limit = self._patience.overload_seconds if refused else self._patience.start_seconds
        if isinstance(error, Overloaded):
            # Never before it was told to, and not all at the same time.
            pause = max(pause, error.retry_after_seconds * random.uniform(1.0, 1.5))
        if now + pause - self._since > limit or not (allowed or started):
            if isinstance(error, Overloaded):
                raise error
            raise Unavailable(f"nothing serves at {', '.join(self._addresses)} now: {error}") from error
        self._index = (self._index + 1) % len(self._addresses)
        return pause if self._deadline is None else max(0.0, min(pause, self._deadline - now))
