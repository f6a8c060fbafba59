"""What tokens read as: those of the text, in its course; those of a proposal, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tandem.tokenization import Tokenizer


class TextTokens:
    """Follows a text. The characters of its tokens add up to it; a token within a character has none."""

    def __init__(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int], shown: Sequence[int]) -> None:
        """``shown``: the generated tokens that the reader has."""
        self._stream = tokenizer.stream(prompt_token_ids)
        self._stream.push(shown)

    def next(self, token_id: int) -> str:
        """The characters that the next token completes."""
        return self._stream.push((token_id,))

    def rest(self) -> str:
        """At the end: what was held back of a character that never came to its end."""
        return self._stream.flush()


class SingleTokens:
    """Names tokens out of any text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.text = lru_cache(maxsize=1 << 16)(self._text)
        """A token's characters, a space before a word included; U+FFFD for part of a character; a special token's name.
        """

    def _text(self, token_id: int) -> str:
        # Decoders may drop the space that begins a text, but not the one within.
        once = self._tokenizer.decode((token_id,))
        twice = self._tokenizer.decode((token_id, token_id))
        text = twice[len(once) :] if twice.startswith(once) else once
        return text or self._tokenizer.entry(token_id)
