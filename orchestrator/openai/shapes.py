"""The two forms in which texts are answered, whole or in pieces: completions and chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
)
from orchestrator.openai.texts import Piece, Text
from orchestrator.openai.token_pieces import TokenPiece


class Shape(Protocol):
    """How a request is answered."""

    @property
    def id_prefix(self) -> str:
        """What ids of answers begin with."""

    def whole(self, text: Text, piece: Piece) -> Any:
        """The choice of a whole text."""

    def opening(self, text: Text) -> Any | None:
        """What a stream says of a text before its first piece, if anything."""

    def part(self, text: Text, piece: Piece) -> Any:
        """The choice of a streamed piece."""

    def answer(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A whole answer."""

    def chunk(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A streamed event."""


@dataclass(frozen=True, slots=True)
class CompletionShape:
    """Of /v1/completions."""

    with_log_probs: bool
    echoed: Sequence[str] = ()
    """The prompt of each choice, where it is to stand before the text."""
    id_prefix: str = "cmpl-"

    def whole(self, text: Text, piece: Piece) -> CompletionChoice:
        """The text, after its prompt where that is echoed."""
        return self._choice(text, piece, self._echo(text) + piece.text)

    def opening(self, text: Text) -> CompletionChoice | None:
        """The prompt, where it is echoed."""
        return self._choice(text, Piece(), self._echo(text)) if self.echoed else None

    def part(self, text: Text, piece: Piece) -> CompletionChoice:
        """The piece."""
        return self._choice(text, piece, piece.text)

    def answer(self, choices: Sequence[Any], **fields: Any) -> Answer:
        """A whole answer."""
        return Completion(choices=list(choices), **fields)

    chunk = answer

    def _echo(self, text: Text) -> str:
        return self.echoed[text.index] if self.echoed else ""

    def _choice(self, text: Text, piece: Piece, shown: str) -> CompletionChoice:
        log_probs = None
        if self.with_log_probs:
            log_probs = CompletionLogProbs(
                tokens=[token.text for token in piece.tokens],
                token_logprobs=[token.log_prob for token in piece.tokens],
                text_offset=[token.offset for token in piece.tokens],
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

    def whole(self, text: Text, piece: Piece) -> ChatChoice:
        """The assistant's message."""
        message = Message(role="assistant", content=piece.text)
        return ChatChoice(message=message, logprobs=self._log_probs(piece.tokens), **_common(text, piece))

    def opening(self, text: Text) -> ChatChunkChoice:
        """Who speaks."""
        return ChatChunkChoice(delta=Message(role="assistant", content=""), **_common(text, Piece()))

    def part(self, text: Text, piece: Piece) -> ChatChunkChoice:
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
                TokenLogProb(token=token.text, logprob=token.log_prob, bytes=list(token.text.encode()))
                for token in tokens
            ]
        )


def _common(text: Text, piece: Piece) -> dict[str, Any]:
    return {
        "index": text.index,
        "finish_reason": piece.finish_reason,
        "stop_reason": piece.stop_reason,
        "seed": text.seed,
    }
