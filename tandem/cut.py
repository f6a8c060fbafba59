"""Where a text ends, and which characters of it may be shown: decided token by token, before anything is committed.

What has been shown after a number of tokens depends on these tokens alone, not on the rounds they came in. So a
stream that is resumed anywhere goes on with exactly the text that its client lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem.decoding.values import Decoding
from tandem.generation import FinishReason
from tandem.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class Cut:
    """What a run of tokens did to the text."""

    num_tokens: int
    """How many of them belong to it; fewer than were given only where it ended."""
    text: str
    """The characters that they allow to be shown."""
    ended: FinishReason | None = None
    stop: str = ""
    """The stop string that ended the text."""


class Cutter:
    """Follows one generated text. Characters that are incomplete, or might begin a stop string, are held back."""

    def __init__(
        self, tokenizer: Tokenizer, decoding: Decoding, stop: Sequence[str], prompt_token_ids: Sequence[int]
    ) -> None:
        self._stream = tokenizer.stream(prompt_token_ids)
        self._decoding = decoding
        self._stop = tuple(stop)
        self._end_ids = frozenset() if decoding.ignore_eos else frozenset(decoding.eos_token_ids)
        self._position = len(prompt_token_ids)
        self._held = ""

    def feed(self, token_ids: Sequence[int]) -> Cut:
        """Follows the next tokens up to the text's end: the first end token, a stop string, or the longest length."""
        if not self._stop:
            return self._feed_whole(token_ids)
        shown: list[str] = []
        for index, token in enumerate(token_ids):
            self._position += 1
            if token in self._end_ids:
                return self._end(index + 1, shown, "stop")
            stop = self._push(self._stream.push((token,)), shown)
            if stop:
                return Cut(index + 1, "".join(shown), "stop", stop)
            if self._position >= self._decoding.max_position:
                return self._end(index + 1, shown, "length")
        return Cut(len(token_ids), "".join(shown))

    def _feed_whole(self, token_ids: Sequence[int]) -> Cut:
        """Where no string can end the text, it is known before any character where it does."""
        reason: FinishReason | None = None
        count = len(token_ids)
        if self._position + count >= self._decoding.max_position:
            count, reason = self._decoding.max_position - self._position, "length"
        end = next((index for index in range(count) if token_ids[index] in self._end_ids), None)
        kept = token_ids[:count] if end is None else token_ids[:end]
        shown = [self._stream.push(kept)] if kept else []
        self._position += count if end is None else end + 1
        if end is not None:
            return self._end(end + 1, shown, "stop")
        return Cut(count, "".join(shown)) if reason is None else self._end(count, shown, reason)

    def _end(self, num_tokens: int, shown: list[str], reason: FinishReason) -> Cut:
        stop = self._push(self._stream.flush(), shown)
        if not stop:
            shown.append(self._held)
        return Cut(num_tokens, "".join(shown), "stop" if stop else reason, stop)

    def _push(self, characters: str, shown: list[str]) -> str:
        """Adds characters to those held back, shows what is safe, and returns the stop string they complete, if any."""
        if not self._stop:
            shown.append(characters)
            return ""
        text = self._held + characters
        found = [(at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            at, stop = min(found, key=lambda pair: pair[0])
            shown.append(text[:at])
            self._held = ""
            return stop
        safe = len(text) - max(_begun(text, stop) for stop in self._stop)
        shown.append(text[:safe])
        self._held = text[safe:]
        return ""


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` might begin ``stop``."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
