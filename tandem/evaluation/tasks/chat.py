"""How a conversation becomes the text that a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tandem.chat_template import ChatTemplate
from tandem.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Chat:
    """A way to write conversations down."""

    format: Callable[[Sequence[Message]], str]
    """The whole prompt, up to where the assistant's next words begin."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer, where no end token does."""


def plain_chat() -> Chat:
    """For models without a template of their own: ``USER: …``, ``ASSISTANT: …``, a line each, in turns."""
    return Chat(_plain, stop=("\nUSER:",))


def model_chat(folder_or_hub_id: str) -> Chat:
    """The chat template that a model's own tokenizer brings, or :func:`plain_chat` where it brings none.

    Raises:
        ModelRefused: the tokenizer, or its template, cannot be read.
    """
    tokenizer = Tokenizer.from_pretrained(folder_or_hub_id)
    template = ChatTemplate.from_pretrained(folder_or_hub_id)
    if template is None:
        return plain_chat()
    # Prompts are tokenized like any text. A begin token that this adds must not stand in the text as well.
    added = tokenizer.encode("")
    return Chat(partial(_from_template, template, tokenizer.entry(added[0]) if added else ""))


def _plain(messages: Sequence[Message]) -> str:
    return "".join(f"{message.role.upper()}: {message.content}\n" for message in messages) + "ASSISTANT:"


def _from_template(template: ChatTemplate, begin: str, messages: Sequence[Message]) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return template.render(turns).removeprefix(begin)
