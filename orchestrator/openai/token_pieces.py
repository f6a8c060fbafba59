"""Which characters each token completed, given out as far as the text itself has been shown.

What is held back of the text (half a character, what may begin a stop string) is held back here too, and what a stop
string cut off is never given: together, the pieces are the text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tandem.tokenization import Tokenizer

LEAST_LOG_PROB = -9999.0
"""In the place of minus infinity, which JSON cannot say."""


@dataclass(frozen=True, slots=True)
class TokenPiece:
    """A token as it is shown."""

    text: str
    """The characters that it completed; empty for end tokens, and within a character."""
    offset: int
    """Where they begin in the generated text."""
    log_prob: float


class TokenPieces:
    """Follows one generated text beside what is shown of it."""

    def __init__(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int]) -> None:
        self._stream = tokenizer.stream(prompt_token_ids)
        self._waiting: deque[TokenPiece] = deque()
        self._end = 0
        """Characters that the tokens so far have completed."""
        self._shown = 0

    def push(self, token_ids: Sequence[int], log_probs: Sequence[float], shown: str) -> tuple[TokenPiece, ...]:
        """Takes the next tokens and the characters that were shown with them; gives the pieces these cover."""
        for token, log_prob in zip(token_ids, log_probs, strict=True):
            text = self._stream.push((token,))
            self._waiting.append(TokenPiece(text, self._end, max(LEAST_LOG_PROB, log_prob)))
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
