"""An answer as it comes, each token in the style of where it came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from tandem.cli import rendering
from tandem.generation import Part, Round
from tandem.tokenization import Tokenizer

Piece = tuple[str, str]
"""Characters, and their style."""


class Styles:
    """How tokens look: by colour, or where that is not wanted (NO_COLOR) by weight and line."""

    def __init__(self, coloured: bool) -> None:
        self.accepted = rendering.ACCEPTED if coloured else "bold"
        self.extra = rendering.EXTRA if coloured else "underline"
        self.alone = ""

    def of(self, traced: Round) -> Iterator[str]:
        """The style of each token that a round added to the text."""
        accepted = len(traced.accepted_token_ids)
        own = self.extra if traced.token_ids else self.alone
        for index in range(len(traced.emitted_token_ids)):
            yield self.accepted if index < accepted else own

    def legend(self) -> Text:
        """What they mean."""
        return Text.assemble(
            ("accepted from the draft", self.accepted), "  ", ("correction or bonus", self.extra), "  ", "target alone"
        )


class Painter:
    """Divides the text of one answer among its tokens. What it yields adds up to the text, whatever the tokens say."""

    def __init__(self, styles: Styles, tokenizer: Tokenizer | None, prompt: Sequence[int]) -> None:
        """Without a tokenizer nobody knows which characters are a token's: the text has one style."""
        self._styles = styles
        self._stream = None if tokenizer is None else tokenizer.stream(prompt)
        self._waiting: deque[Piece] = deque()  # decoded here, and not yet shown by whoever cuts the text
        self._last = styles.alone

    def paint(self, part: Part) -> Iterator[Piece]:
        """The part's text in pieces."""
        if self._stream is not None:
            for traced in part.rounds:
                for token, style in zip(traced.emitted_token_ids, self._styles.of(traced), strict=True):
                    self._waiting.append((self._stream.push((token,)), style))
        rest = part.text
        while rest and self._waiting:
            characters, style = self._waiting.popleft()
            shown = characters[: len(rest)]
            if not rest.startswith(shown):
                break
            if shown:
                yield shown, style
            rest, self._last = rest[len(shown) :], style
            if len(shown) < len(characters):
                self._waiting.appendleft((characters[len(shown) :], style))
        if rest:  # what the text's end let go: an incomplete character, or what might have begun a stop string
            yield rest, self._last


def show(console: Console, pieces: Iterator[Piece]) -> None:
    """Writes pieces at once: as they are to a pipe; to a terminal with control characters spelt out and in style."""
    for characters, style in pieces:
        if console.is_terminal:  # which no model is to steer
            console.out(_harmless(characters), style=style or None, highlight=False, end="")
        else:
            console.file.write(characters)
    console.file.flush()


def _harmless(characters: str) -> str:
    return "".join(repr(one)[1:-1] if _is_control(one) and one not in "\n\t" else one for one in characters)


def _is_control(character: str) -> bool:
    return ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0
