"""The two forms in which texts are answered, whole or in pieces: completions and chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from orchestrator.openai.answers import (
    Answer,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatLogProbs,
    Completion,
    CompletionChoice,
    CompletionLogProbs,
    Message,
    TokenLogProb,
    TopLogProb,
)
from orchestrator.openai.echo import Echo
from orchestrator.openai.texts import Piece
from orchestrator.openai.token_pieces import LEAST_LOG_PROB, Alternative, TokenPiece, numbered

_NO_ECHO = Echo("", ())


class Numbered(Protocol):
    """A choice of a request, as far as its shape looks at it."""

    @property
    def index(self) -> int:
        """Among the choices of the request."""

    @property
    def seed(self) -> int:
        """Repeats it."""


class Shape(Protocol):
    """How a request is answered."""

    @property
    def id_prefix(self) -> str:
        """What ids of answers begin with."""

    @property
    def with_log_probs(self) -> bool:
        """Whether log-probabilities are told."""

    def whole(self, text: Numbered, piece: Piece) -> Any:
        """The choice of a whole text."""

    def opening(self, text: Numbered) -> Any | None:
        """What a stream says of a text before its first piece, if anything."""

    def part(self, text: Numbered, piece: Piece) -> Any:
        """The choice of a streamed piece."""

    def answer(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A whole answer."""

    def chunk(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A streamed event."""


@dataclass(frozen=True, slots=True)
class CompletionShape:
    """Of /v1/completions."""

    num_top: int | None
    """How many of the most probable tokens are told in the place of each; None: no log-probabilities at all."""
    echoed: Sequence[Echo] = ()
    """The prompt of each choice, where it is to stand before the text."""
    id_prefix: str = "cmpl-"

    @property
    def with_log_probs(self) -> bool:
        """Whether log-probabilities are told."""
        return self.num_top is not None

    def whole(self, text: Numbered, piece: Piece) -> CompletionChoice:
        """The text, after its prompt where that is echoed."""
        echo = self._echo(text)
        return self._choice(text, piece, echo.text + piece.text, [*echo.tokens, *self._behind(echo, piece)])

    def opening(self, text: Numbered) -> CompletionChoice | None:
        """The prompt, where it is echoed."""
        echo = self._echo(text)
        return self._choice(text, Piece(), echo.text, echo.tokens) if self.echoed else None

    def part(self, text: Numbered, piece: Piece) -> CompletionChoice:
        """The piece."""
        return self._choice(text, piece, piece.text, self._behind(self._echo(text), piece))

    def answer(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A whole answer."""
        return Completion(choices=list(choices), **fields)

    chunk = answer

    def _echo(self, text: Numbered) -> Echo:
        return self.echoed[text.index] if self.echoed else _NO_ECHO

    @staticmethod
    def _behind(echo: Echo, piece: Piece) -> Sequence[TokenPiece]:
        """The tokens of a piece where the text begins behind an echo."""
        return [replace(token, offset=token.offset + len(echo.text)) for token in piece.tokens]

    def _choice(self, text: Numbered, piece: Piece, shown: str, tokens: Sequence[TokenPiece]) -> CompletionChoice:
        log_probs = None
        if self.with_log_probs:
            log_probs = CompletionLogProbs(
                tokens=[token.text for token in tokens],
                token_logprobs=[token.log_prob for token in tokens],
                top_logprobs=[_by_name(token) for token in tokens] if self.num_top else None,
                text_offset=[token.offset for token in tokens],
            )
        return CompletionChoice(
            index=text.index,
            text=shown,
            finish_reason=piece.finish_reason,
            stop_reason=piece.stop_reason,
            seed=text.seed,
            logprobs=log_probs,
        )


@dataclass(frozen=True, slots=True)
class ChatShape:
    """Of /v1/chat/completions."""

    with_log_probs: bool
    id_prefix: str = "chatcmpl-"

    def whole(self, text: Numbered, piece: Piece) -> ChatChoice:
        """The assistant's message."""
        message = Message(role="assistant", content=piece.text)
        return ChatChoice(message=message, logprobs=self._log_probs(piece.tokens), **_common(text, piece))

    def opening(self, text: Numbered) -> ChatChunkChoice:
        """Who speaks."""
        return ChatChunkChoice(delta=Message(role="assistant", content=""), **_common(text, Piece()))

    def part(self, text: Numbered, piece: Piece) -> ChatChunkChoice:
        """What is new of the message."""
        delta = Message(content=piece.text or None)
        return ChatChunkChoice(delta=delta, logprobs=self._log_probs(piece.tokens), **_common(text, piece))

    def answer(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A whole answer."""
        return ChatCompletion(choices=list(choices), **fields)

    def chunk(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A streamed event."""
        return ChatCompletionChunk(choices=list(choices), **fields)

    def _log_probs(self, tokens: Sequence[TokenPiece]) -> ChatLogProbs | None:
        if not self.with_log_probs:
            return None
        return ChatLogProbs(
            content=[
                TokenLogProb(
                    token=token.text,
                    logprob=LEAST_LOG_PROB if token.log_prob is None else token.log_prob,
                    bytes=list(token.text.encode()),
                    top_logprobs=[_top(token, alternative) for alternative in token.alternatives],
                )
                for token in tokens
            ]
        )


def _by_name(token: TokenPiece) -> dict[str, float] | None:
    """The most probable tokens in the place of one, and that one: each under a name of its own.

    The chosen one is found under the characters that are shown for it; of others that would spell the same, the first
    has that name, and the next ones are numbered.
    """
    if token.log_prob is None:
        return None
    found: dict[str, float] = {}
    for alternative in token.alternatives:
        is_chosen = alternative.token_id == token.token_id
        name = token.text if is_chosen else alternative.name
        if not is_chosen and (name in found or name == token.text):
            name = numbered(alternative.token_id)
        found[name] = alternative.log_prob
    found.setdefault(token.text, token.log_prob)
    return found


def _top(token: TokenPiece, alternative: Alternative) -> TopLogProb:
    is_chosen = alternative.token_id == token.token_id
    text = token.text if is_chosen else alternative.text
    name = text if is_chosen else alternative.name
    return TopLogProb(token=name, logprob=alternative.log_prob, bytes=list(text.encode()))


def _common(text: Numbered, piece: Piece) -> dict[str, Any]:
    return {
        "index": text.index,
        "finish_reason": piece.finish_reason,
        "stop_reason": piece.stop_reason,
        "seed": text.seed,
    }
