"""Begins a conversation: who answers, how the model reads conversations, where inputs come from."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from tandem.chat_template import ChatTemplate
from tandem.cli.answering import Answerer, answerer, tokenizer_of
from tandem.cli.chatting.commands import State
from tandem.cli.chatting.conversation import Conversation
from tandem.cli.chatting.loop import Loop
from tandem.cli.chatting.reading import LineReader, Reader, TerminalReader, history_path, is_interactive
from tandem.cli.generate import token_text_of
from tandem.cli.source import Source
from tandem.errors import InvalidArgument
from tandem.tokenization import Tokenizer


async def converse(source: Source, tokenizer: str | None, system: str, settings: dict[str, Any], history: bool) -> int:
    """Talks until there is nothing more to say; returns the exit code, 1 where an input could not be answered.

    Raises:
        TandemError: nobody answers, or the models or the tokenizer do not fit.
    """
    out, aside = Console(), Console(stderr=True)
    interactive = is_interactive()
    async with answerer(source) as answering:
        model = await answering.model()
        conversation = await _conversation(answering, tokenizer, system, aside)
        reader = _reader(interactive, history, aside)
        token_text = token_text_of(tokenizer or model)
        loop = Loop(answering, reader, State(conversation, settings), token_text, out, aside)
        if interactive:
            loop.greet(model)
        return 0 if await loop.run() else 1


async def _conversation(answering: Answerer, named: str | None, system: str, aside: Console) -> Conversation:
    """An empty conversation, in the way that the model reads them; where that is unknown, says so.

    Raises:
        InvalidArgument: the tokenizer that was named is not the model's.
    """
    model = named or await answering.model()
    tokenizer = Tokenizer.from_pretrained(named) if named else tokenizer_of(model)
    if tokenizer is not None and tokenizer.digest != await answering.tokenizer_digest():
        if named:
            raise InvalidArgument(f"{named} has another tokenizer than the model that answers")
        tokenizer = None
    template = None if tokenizer is None else ChatTemplate.from_pretrained(model)
    if template is None:
        why = (
            f"the tokenizer of {model} is not here; --tokenizer names one"
            if tokenizer is None
            else (f"{model} has no chat template")
        )
        ignored = "; --system is not used" if system else ""
        aside.print(
            f"{why}: there is no conversation, each input is a prompt of its own{ignored}",
            style="yellow",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    return Conversation(tokenizer, template, system)


def _reader(interactive: bool, history: bool, aside: Console) -> Reader:
    if not interactive:
        return LineReader()
    try:
        return TerminalReader(history_path() if history else None)
    except ImportError:
        aside.print("no line editing: pip install 'tandem\\[chat]'", style="yellow", highlight=False)
        return LineReader()
