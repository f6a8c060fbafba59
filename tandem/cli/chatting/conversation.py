"""What was said so far, and how it is given to the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem.chat_template import ChatTemplate
from tandem.errors import InvalidArgument
from tandem.generation import Generation
from tandem.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class Turn:
    """An input and its answer."""

    asked: str
    answered: str
    generation: Generation | None
    """None where it was stopped before its figures came."""


@dataclass
class Conversation:
    """The turns of one conversation. Without a template there is none: each input is a prompt of its own."""

    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    system: str = ""
    turns: list[Turn] = field(default_factory=list)

    def prompt(self, asked: str) -> str | list[int]:
        """What the model is to continue, so that it answers ``asked``.

        Raises:
            InvalidArgument: the model's template refuses the conversation.
        """
        if self.template is None or self.tokenizer is None:
            return asked
        # The template writes the special tokens itself, as text.
        return self.tokenizer.encode(self.template.render(self._messages(asked)), add_special_tokens=False)

    def _messages(self, asked: str) -> list[Mapping[str, str]]:
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.asked})
            messages.append({"role": "assistant", "content": turn.answered})
        return [*messages, {"role": "user", "content": asked}]

    def take_back(self) -> str:
        """Forgets the last turn and returns what was asked in it.

        Raises:
            InvalidArgument: there is none.
        """
        if not self.turns:
            raise InvalidArgument("nothing has been asked yet")
        return self.turns.pop().asked

    def save(self, path: Path) -> int:
        """Writes a JSON line a message to a new file, and returns how many; answers have their figures.

        Raises:
            InvalidArgument: the file exists, or cannot be written.
        """
        lines: list[Mapping[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            lines.append({"role": "user", "content": turn.asked})
            lines.append({"role": "assistant", "content": turn.answered, **_figures(turn.generation)})
        try:
            with path.expanduser().open("x", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        except OSError as error:
            raise InvalidArgument(f"cannot write {path}: {error.strerror}") from None
        return len(lines)


def _figures(generation: Generation | None) -> dict[str, Any]:
    if generation is None:
        return {}
    return {
        "method": generation.method,
        "seed": generation.seed,
        "session_id": generation.session_id,
        "finish_reason": generation.finish_reason,
        "usage": dataclasses.asdict(generation.usage),
    }


def prompt_token_ids(prompt: str | Sequence[int], tokenizer: Tokenizer) -> Sequence[int]:
    """The prompt as the target reads it."""
    return tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
