"""The texts that one request asks for, each a session of its own, run side by side."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from orchestrator.events import Committed, Event, Finished
from orchestrator.openai.answers import FinishReason
from orchestrator.openai.arrival import Arrival
from orchestrator.openai.token_pieces import TokenPiece, TokenPieces
from orchestrator.session import Session
from orchestrator.sessions import GenerationRequest, Sessions
from tandem.decoding.stats import Usage
from tandem.errors import Cancelled
from tandem.generation import Options
from tandem.tokenization import Tokenizer

SEED_BITS = 52
"""Of a seed that is drawn here: readers of JSON whose numbers are doubles must be able to give it back."""
_NUM_SEEDS = 1 << 64


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new of a text."""

    text: str = ""
    tokens: tuple[TokenPiece, ...] = ()
    """Those whose characters have been shown; only where log-probabilities are asked for."""
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    """The stop string that ended it."""


class Text:
    """One choice of a request. Owner: the request's task."""

    def __init__(self, index: int, session: Session, tokenizer: Tokenizer | None) -> None:
        """``tokenizer``: given where the log-probabilities of tokens are asked for."""
        self.index = index
        self.session = session
        self.usage: Usage | None = None
        """Once it has ended."""
        self._tokens = None if tokenizer is None else TokenPieces(tokenizer, session.prompt_token_ids)

    @property
    def seed(self) -> int:
        """Repeats it."""
        return self.session.decoding.sampling.seed

    def hear(self, event: Event) -> Piece | None:
        """What an event of the session adds; None: it has only begun.

        Raises:
            Cancelled: the session was ended from outside.
        """
        match event:
            case Committed():
                if self._tokens is None:
                    return Piece(event.text)
                return Piece(
                    event.text,
                    self._tokens.push(event.token_ids, event.log_probs, event.text, event.top_log_probs),
                )
            case Finished():
                if event.reason == "cancelled":
                    raise Cancelled(f"session {self.session.session_id} was cancelled")
                self.usage = event.usage
                tokens = self._tokens.finish() if self._tokens else ()
                return Piece("", tokens, event.reason, event.stop or None)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the session layer."""

    prompts: Sequence[str | tuple[int, ...]]
    num_choices: int
    """Of each prompt."""
    options: Options
    """All but the seed."""
    seed: int | None
    add_special_tokens: bool = True

    @property
    def num_texts(self) -> int:
        """Of all prompts together."""
        return len(self.prompts) * self.num_choices


def seeds_of(first: int | None, count: int) -> list[int]:
    """The seeds of a prompt's choices; None draws the first."""
    seed = secrets.randbits(SEED_BITS) if first is None else first
    return [(seed + number) % _NUM_SEEDS for number in range(count)]


async def begin(
    sessions: Sessions, asked: Asked, arrival: Arrival, tokenizer: Tokenizer | None = None
) -> tuple[Text, ...]:
    """The texts in the order of their choices, none of them running yet; the caller has a place for all of them.

    Choice j of each prompt has the seed + j, so that a prompt's choices do not depend on the prompts beside it.

    Raises:
        InvalidArgument: it cannot be served as asked. Unavailable: no verify replica.
    """
    texts: list[Text] = []
    for given in asked.prompts:
        prompt = given
        for seed in seeds_of(asked.seed, asked.num_choices):
            options = asked.options | Options(seed=seed)
            request = GenerationRequest(
                prompt, options, arrival.at, arrival.deadline, add_special_tokens=asked.add_special_tokens
            )
            session = await sessions.start(request)
            texts.append(Text(len(texts), session, tokenizer))
            prompt = session.prompt_token_ids  # tokenised once
    return tuple(texts)


Tell = Callable[[Text, Piece | None], Awaitable[None]]


async def run(sessions: Sessions, texts: Sequence[Text], tell: Tell) -> None:
    """Runs the texts to their ends and tells of each that it has begun, then of every piece. Waits where ``tell`` does.

    When it is cancelled, or one text fails, all that have not ended are cancelled.

    Raises:
        TandemError: why the first text failed.
    """

    async def one(text: Text) -> None:
        async with sessions.follow(text.session, resumable=False) as events:
            async for event in events:
                await tell(text, text.hear(event))

    try:
        async with asyncio.TaskGroup() as group:
            for text in texts:
                group.create_task(one(text), name=f"text {text.session.session_id}")
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
