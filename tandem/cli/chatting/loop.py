"""A conversation: read an input, answer it, and again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from rich.console import Console

from tandem.cli import rendering
from tandem.cli.answering import Answer, Answerer
from tandem.cli.chatting.commands import State, run_command
from tandem.cli.chatting.conversation import Turn, prompt_token_ids
from tandem.cli.chatting.painter import Painter, Styles, show
from tandem.cli.chatting.reading import Reader
from tandem.errors import Cancelled, TandemError
from tandem.evaluation.showing import TokenText
from tandem.generation import Generation, Options, Round


@dataclass
class _Heard:
    """What has come of an answer."""

    text: str = ""
    rounds: list[Round] = field(default_factory=list)
    generation: Generation | None = None


class Loop:
    """Answers go to ``out``; all that is said about them goes to ``aside``."""

    def __init__(
        self, answering: Answerer, reader: Reader, state: State, token_text: TokenText, out: Console, aside: Console
    ) -> None:
        self._answering = answering
        self._reader = reader
        self._state = state
        self._token_text = token_text
        self._out = out
        self._aside = aside
        self._styles = Styles(coloured=not out.no_color)

    def greet(self, model: str) -> None:
        """Says who answers and what the colours mean."""
        self._say(f"{model} · /help lists commands, Ctrl-D leaves")
        self._aside.print(self._styles.legend(), highlight=False)

    async def run(self) -> bool:
        """Until there are no more inputs, or one says so; returns whether every input was answered."""
        all_answered = True
        while not self._state.leaving:
            try:
                line = self._state.to_ask.pop() if self._state.to_ask else await self._reader.read()
                if line is None:
                    break
                if line.startswith("/") and not line.startswith("//"):
                    if told := run_command(line, self._state):
                        self._say(told)
                elif line.strip():
                    await self._answer(line.removeprefix("/") if line.startswith("//") else line)
            except TandemError as error:
                all_answered = False
                self._say(f"error: {error}")
        return all_answered

    async def _answer(self, asked: str) -> None:
        """Asks, shows the answer as it comes, and remembers both."""
        conversation = self._state.conversation
        prompt = conversation.prompt(asked)
        tokenizer = conversation.tokenizer
        painter = Painter(self._styles, tokenizer, prompt_token_ids(prompt, tokenizer) if tokenizer else ())
        heard = _Heard()
        began = time.monotonic()
        options = cast(Options, {**self._state.options, "trace": True})
        async with self._answering.ask(prompt, options) as answer:
            reading = asyncio.ensure_future(self._read(answer, painter, heard))
            stopping: list[asyncio.Task[None]] = []

            def stop() -> None:
                for task in (reading, *stopping) if stopping else ():  # asked twice: no more patience
                    task.cancel()
                stopping.append(asyncio.ensure_future(answer.cancel()))

            try:
                with _interrupted_by(stop):
                    await asyncio.gather(reading)
            except (Cancelled, asyncio.CancelledError):
                if not stopping:
                    raise
            finally:
                for task in (reading, *stopping):
                    task.cancel()
                await asyncio.gather(reading, *stopping, return_exceptions=True)
                self._out.out("", highlight=False)
        if heard.text:
            conversation.turns.append(Turn(asked, heard.text, heard.generation))
        if self._state.shows_rounds:
            self._show(heard.rounds)
        if heard.generation is None or heard.generation.finish_reason == "cancelled":
            self._say("stopped")
        if heard.generation is not None:
            self._say(rendering.figures(heard.generation, time.monotonic() - began))

    async def _read(self, answer: Answer, painter: Painter, heard: _Heard) -> None:
        """Shows an answer and keeps it."""
        async for part in answer:
            heard.text += part.text
            heard.rounds += part.rounds
            show(self._out, painter.paint(part))
        heard.generation = answer.generation

    def _show(self, rounds: list[Round]) -> None:
        self._aside.print(rendering.legend())
        for traced in rounds:
            self._aside.print(rendering.render_round(traced, self._token_text), highlight=False, soft_wrap=True)

    def _say(self, line: str) -> None:
        self._aside.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _interrupted_by(stop: Callable[[], object]) -> Iterator[None]:
    """Has Ctrl-C call ``stop`` within the block, and do what it did before after it."""
    before = signal.getsignal(signal.SIGINT)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
