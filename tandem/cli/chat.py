"""``tandem chat``: a conversation in the terminal."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console

from tandem.chat_template import ChatTemplate
from tandem.cli import options
from tandem.cli.answering import DEFAULT_ADDRESS, Answerer, Source, answerer, tokenizer_of
from tandem.cli.chatting.commands import State
from tandem.cli.chatting.conversation import Conversation
from tandem.cli.chatting.loop import Loop
from tandem.cli.chatting.reading import LineReader, Reader, TerminalReader, history_path, is_interactive
from tandem.cli.generate import token_text_of
from tandem.errors import InvalidArgument
from tandem.tokenization import Tokenizer


def chat(
    address: Annotated[
        str | None,
        typer.Option(
            envvar="TANDEM_CLIENT_ADDRESS",
            help=f"Orchestrators to ask, host:port with commas between. [default: {DEFAULT_ADDRESS}]",
        ),
    ] = None,
    target: options.Target = None,
    draft: options.Draft = None,
    dtype: options.Dtype = "auto",
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Folder or Hugging Face id that has the model's tokenizer and chat template, if not it."),
    ] = None,
    system: Annotated[str, typer.Option(help="What the model is told before the conversation.")] = "",
    method: options.Method = None,
    draft_length: options.DraftLength = None,
    beam_width: options.BeamWidth = None,
    threshold: options.Threshold = None,
    temperature: Annotated[float | None, typer.Option(help="0 (greedy) to 10. [default: 1]")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats answers; chosen and shown if not given.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of an answer. [default: 256, or what fits]")] = None,
    history: Annotated[bool, typer.Option(help="Keep what is typed for the next time.")] = True,
) -> None:
    """Talks with a model: asks a running stack, or with --target or --draft decodes in this process.

    From a pipe it reads an input a line.
    """
    given = {
        "method": method,
        "draft_length": draft_length,
        "beam_width": beam_width,
        "threshold": threshold,
        "temperature": temperature,
        "seed": seed,
        "max_tokens": max_tokens,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    source = Source(address, target, draft, dtype)
    raise typer.Exit(asyncio.run(_chat(source, tokenizer, system, settings, history)))


async def _chat(source: Source, tokenizer: str | None, system: str, settings: dict[str, Any], history: bool) -> int:
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
