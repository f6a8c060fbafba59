"""Which characters each token completed, given out as far as the text itself has been shown.

What is held back of the text (half a character, what may begin a stop string) is held back here too, and what a stop
string cut off is never given: together, the pieces are the text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tandem.decoding.values import TopLogProbs
from tandem.tokenization import TextStream, Tokenizer

LEAST_LOG_PROB = -9999.0
"""In the place of minus infinity, which JSON cannot say."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the most probable tokens in the place of another, or that one itself."""

    token_id: int
    text: str
    """The characters that it would have completed there."""
    name: str
    """The same; where there are none, what the vocabulary calls it."""
    log_prob: float


@dataclass(frozen=True, slots=True)
class TokenPiece:
    """A token as it is shown."""

    token_id: int
    text: str
    """The characters that it completed; empty for end tokens, and within a character."""
    offset: int
    """Where they begin in the generated text, or in the prompt."""
    log_prob: float | None
    """None for the first token of a prompt, before which nothing stands."""
    alternatives: tuple[Alternative, ...] = ()
    """The most probable first."""


def least(log_prob: float) -> float:
    """A log-probability as JSON can say it."""
    return max(LEAST_LOG_PROB, log_prob)


def alternatives_of(tokenizer: Tokenizer, stream: TextStream, top: TopLogProbs) -> tuple[Alternative, ...]:
    """What could come next in a text that has been read by ``stream`` so far."""
    found: list[Alternative] = []
    for token, log_prob in top:
        text = stream.peek(token)
        found.append(Alternative(token, text, text or tokenizer.entry(token) or numbered(token), least(log_prob)))
    return tuple(found)


def numbered(token_id: int) -> str:
    """The name of a token that has no other, or not alone."""
    return f"token_id:{token_id}"


class TokenPieces:
    """Follows one generated text beside what is shown of it."""

    def __init__(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._stream = tokenizer.stream(prompt_token_ids)
        self._waiting: deque[TokenPiece] = deque()
        self._end = 0
        """Characters that the tokens so far have completed."""
        self._shown = 0

    def push(
        self,
        token_ids: Sequence[int],
        log_probs: Sequence[float],
        shown: str,
        top_log_probs: Sequence[TopLogProbs] = (),
    ) -> tuple[TokenPiece, ...]:
        """Takes the next tokens and the characters that were shown with them; gives the pieces these cover."""
        tops = top_log_probs or [()] * len(token_ids)
        for token, log_prob, top in zip(token_ids, log_probs, tops, strict=True):
            alternatives = alternatives_of(self._tokenizer, self._stream, top)
            text = self._stream.push((token,))
            self._waiting.append(TokenPiece(token, text, self._end, least(log_prob), alternatives))
            self._end += len(text)
        self._shown += len(shown)
        covered = [index for index, piece in enumerate(self._waiting) if piece.text and self._covers(piece)]
        # An empty piece waits for the next that is not: the text may end within its character.
        return tuple(self._waiting.popleft() for _ in range(covered[-1] + 1 if covered else 0))

    def finish(self) -> tuple[TokenPiece, ...]:
        """The rest, once all that is shown of the text has been told by `push`."""
        rest, self._waiting = [*self._waiting], deque()
        if rest:  # a character that the text ends in
            rest[-1] = replace(rest[-1], text=rest[-1].text + self._stream.flush())
        return tuple(
            replace(piece, text=piece.text[: max(0, self._shown - piece.offset)], offset=min(piece.offset, self._shown))
            for piece in rest
        )

    def _covers(self, piece: TokenPiece) -> bool:
        return piece.offset + len(piece.text) <= self._shown
