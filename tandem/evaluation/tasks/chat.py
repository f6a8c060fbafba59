"""How a conversation becomes the text that a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from tandem.errors import ModelRefused
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

    A template is a program. It runs in transformers' sandboxed Jinja, and comes from the model alone.

    Raises:
        ModelRefused: the tokenizer cannot be loaded.
    """
    try:
        from transformers import AutoTokenizer  # brings torch where that is installed: imported when needed only

        tokenizer = AutoTokenizer.from_pretrained(folder_or_hub_id, trust_remote_code=False)
    except Exception as error:  # the library raises every kind
        raise ModelRefused(
            f"the tokenizer of {folder_or_hub_id}, whose chat template is wanted, cannot be loaded "
            f"({type(error).__name__}: {error}); expected a model folder or a Hugging Face model id, and the engine "
            "installed: pip install 'tandem[engine]'"
        ) from error
    if not tokenizer.chat_template:
        return plain_chat()
    # Prompts are tokenized like any text. A begin token that this adds must not stand in the text as well.
    added = Tokenizer.from_pretrained(folder_or_hub_id).encode("")
    begin = tokenizer.bos_token if added and added[0] == tokenizer.bos_token_id else ""
    return Chat(partial(_from_template, tokenizer, begin))


def _plain(messages: Sequence[Message]) -> str:
    return "".join(f"{message.role.upper()}: {message.content}\n" for message in messages) + "ASSISTANT:"


def _from_template(tokenizer: Any, begin: str, messages: Sequence[Message]) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return str(text).removeprefix(begin)
