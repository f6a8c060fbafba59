"""``tandem generate``: one text, streamed from a running stack, or decoded in this process."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tandem.cli import options, rendering
from tandem.cli.source import DEFAULT_ADDRESS, Source, nobody_there
from tandem.errors import InvalidArgument, TandemError, Unavailable
from tandem.evaluation.showing import TokenText
from tandem.generation import Generation


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The text to continue; - reads it from standard input.", show_default=False)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="TANDEM_CLIENT_ADDRESS",
            help=f"Orchestrators to ask, host:port with commas between. \\[default: {DEFAULT_ADDRESS}]",
        ),
    ] = None,
    target: options.Target = None,
    draft: options.Draft = None,
    dtype: options.Dtype = "auto",
    method: options.Method = None,
    draft_length: options.DraftLength = None,
    beam_width: options.BeamWidth = None,
    threshold: options.Threshold = None,
    temperature: Annotated[float, typer.Option(help="0 (greedy) to 10.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Keep the k most probable tokens; 0 is off.")] = 10,
    top_p: Annotated[float, typer.Option(help="Keep the most probable tokens of this mass; 1 is off.")] = 0.9,
    presence_penalty: Annotated[float, typer.Option(help="Of tokens generated before, -2 to 2; 0 is off.")] = 0.0,
    frequency_penalty: Annotated[
        float, typer.Option(help="Of tokens, as often as generated before, -2 to 2; 0 is off.")
    ] = 0.0,
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=BIAS", help="Added to a token's logit, -100 to 100; may be given again."),
    ] = None,
    json_schema: Annotated[Path | None, typer.Option(help="File with a JSON schema: the text is such JSON.")] = None,
    grammar: Annotated[Path | None, typer.Option(help="File with a Lark grammar: the text is of it.")] = None,
    regex: Annotated[str | None, typer.Option(help="Expression that the whole text matches.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats a text; chosen and shown if not given.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens at most. \\[default: 256, or what fits]")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends the answer; may be given again.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show every round: drafted, accepted, corrected.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the text.")] = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help='Answer JSON lines of standard input, {"prompt": …} with options of its own, a JSON line each.',
        ),
    ] = False,
    plain_lines: Annotated[
        bool, typer.Option("--lines", help="As --jsonl, for an input whose lines are the prompts themselves.")
    ] = False,
    concurrency: Annotated[int, typer.Option(help="Lines answered at once.", min=1, max=1024)] = 8,
) -> None:
    """Generates one text, or one a line of standard input.

    Asks a running stack, or with --target or --draft decodes in this process.
    """
    settings: dict[str, Any] = {
        "method": method,
        "draft_length": draft_length,
        "beam_width": beam_width,
        "threshold": threshold,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "logit_bias": _biases(logit_bias or ()),
        "json_schema": _content(json_schema),
        "grammar": _content(grammar),
        "regex": regex,
        "seed": seed,
        "max_tokens": max_tokens,
        "stop": stop,
        "trace": trace,
    }
    source = Source(address, target, draft, dtype)
    if jsonl or plain_lines:
        if prompt not in (None, "-"):
            raise InvalidArgument("--jsonl and --lines take their prompts from standard input; leave PROMPT out")
        from tandem.cli.lines import generate_lines, read_json, read_plain

        raise typer.Exit(generate_lines(source, settings, concurrency, read_plain if plain_lines else read_json))
    if prompt is None:
        raise InvalidArgument("no prompt: expected a text, or - to read it from standard input")
    text = sys.stdin.read() if prompt == "-" else prompt
    began = time.monotonic()
    if not source.in_process:
        generation = _from_stack(text, address, settings, quiet=as_json or trace)
    else:
        generation = _in_process(text, source, settings)
        if not (as_json or trace):
            print(generation.text)
    seconds = time.monotonic() - began
    if as_json:
        print(json.dumps(dataclasses.asdict(generation)))
        return
    if trace:
        _show_rounds(generation, target)
        print(generation.text)
    Console(stderr=True).print(rendering.figures(generation, seconds), style="dim", highlight=False, soft_wrap=True)


def _content(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path} cannot be read as a text: {error}") from error


def _biases(given: Sequence[str]) -> dict[int, float]:
    biases: dict[int, float] = {}
    for entry in given:
        token, _, bias = entry.partition("=")
        try:
            token_id, value = int(token), float(bias)
        except ValueError:
            raise InvalidArgument(f"--logit-bias {entry!r} is not a token id and a number, like 42=-100") from None
        if token_id in biases:
            raise InvalidArgument(f"--logit-bias names token {token_id} twice; give one bias each")
        biases[token_id] = value
    return biases


def _from_stack(prompt: str, address: str | None, settings: dict[str, Any], quiet: bool) -> Generation:
    from tandem.client import Client

    with Client(address or DEFAULT_ADDRESS) as client, client.stream(prompt, **settings) as stream:
        try:
            for part in stream:
                if not quiet:
                    print(part.text, end="", flush=True)
            if not quiet:
                print()
        except KeyboardInterrupt:
            if stream.session_id:
                client.cancel(stream.session_id)
            raise
        except Unavailable as error:
            if address is None and not stream.session_id:
                raise nobody_there(error) from error
            raise
        return stream.generation


def _in_process(prompt: str, source: Source, settings: dict[str, Any]) -> Generation:
    from tandem.tokenization import tokenizer_digest

    for name in source.models:
        tokenizer_digest(name)  # a wrong name is told before the seconds that importing torch takes
    from tandem.local import LocalDecoder

    decoder = LocalDecoder(*source.models, dtype=source.dtype)
    return decoder.generate(prompt, **{name: value for name, value in settings.items() if value is not None})


def _show_rounds(generation: Generation, model: str | None) -> None:
    console = Console(stderr=True)
    token_text = token_text_of(model)
    console.print(rendering.legend())
    for traced in generation.rounds:
        console.print(rendering.render_round(traced, token_text), highlight=False, soft_wrap=True)


def token_text_of(model: str | None) -> TokenText:
    """What each token reads as, by the tokenizer of ``model`` (default: the shipped target); else its id."""
    from tandem.models import shipped
    from tandem.tokenization import Tokenizer

    try:
        tokenizer = Tokenizer.from_pretrained(model or shipped("target"))
    except TandemError:
        return lambda token: f"[{token}]"
    return lambda token: tokenizer.decode([token]) or tokenizer.entry(token)
