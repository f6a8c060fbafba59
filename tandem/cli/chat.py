"""``tandem chat``: a conversation in the terminal."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tandem.cli import options
from tandem.cli.source import DEFAULT_ADDRESS, Source


def chat(
    address: Annotated[
        str | None,
        typer.Option(
            envvar="TANDEM_CLIENT_ADDRESS",
            help=f"Orchestrators to ask, host:port with commas between. \\[default: {DEFAULT_ADDRESS}]",
        ),
    ] = None,
    api_key_file: options.ApiKeyFile = None,
    tls_ca: options.TlsCa = None,
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
    temperature: Annotated[float | None, typer.Option(help="0 (greedy) to 10. \\[default: 1]")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats answers; chosen and shown if not given.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of an answer. \\[default: 256, or what fits]")] = None,
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
    source = Source(address, target, draft, dtype, api_key_file, tls_ca)
    from tandem.cli.chatting.beginning import converse  # brings grpc, which most commands need not load

    raise typer.Exit(asyncio.run(converse(source, tokenizer, system, settings, history)))
