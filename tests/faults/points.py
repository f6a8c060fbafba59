"""Points in a service's work at which a test lets a fault happen, armed from outside the process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tandem.v1 import types_pb2
from tests.faults.mischief import Mischief, mischievous

FLUSH_SECONDS = 0.002
"""What the transport, which has threads of its own, is given to send an answer before the process dies after it."""


class Points:
    """The armed fault of one process: a file that names a point, and how often it is to be passed before.

    What happens there is a SIGKILL, so nothing is closed, flushed or told to anyone. The file ``.hit`` says beforehand
    that the point was reached, and with what in hand: the evidence that the fault took effect.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._armed, self._hit = folder / f"{name}.armed", folder / f"{name}.hit"
        self._mischief, self._oddity = folder / f"{name}.mischief", folder / f"{name}.oddity"
        self._pass_seconds = folder / f"{name}.pass-seconds"
        self._passed = 0

    def reach(self, point: str, **facts: Any) -> None:
        """Dies here, if this is where it was told to."""
        if not os.path.exists(self._armed):
            return
        wanted = json.loads(self._armed.read_text())
        if wanted["point"] != point:
            return
        self._passed += 1
        if self._passed > wanted["skip"]:
            if point == "replied":
                time.sleep(FLUSH_SECONDS)
            self._hit.write_text(json.dumps({"point": point, **facts}))
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self, point: str, skip: int = 0) -> None:
        """Called by the test: the process dies at ``point``, after it passed there ``skip`` times."""
        self._hit.unlink(missing_ok=True)
        _put(self._armed, json.dumps({"point": point, "skip": skip}))

    def disarm(self) -> None:
        """Called by the test: nothing happens any more."""
        self._armed.unlink(missing_ok=True)

    def pass_seconds(self, usual: float) -> float:
        """What a pass of the model takes now."""
        return float(self._pass_seconds.read_text()) if os.path.exists(self._pass_seconds) else usual

    def ask_for_pass_seconds(self, seconds: float) -> None:
        """Called by the test: from now on a pass of the model takes so long."""
        _put(self._pass_seconds, str(seconds))

    def describe_otherwise(self, described: Any) -> None:
        """Changes what the process says of itself, where the test has asked for that."""
        if self._oddity.exists():
            name, value = json.loads(self._oddity.read_text())
            setattr(described, name, value)

    def ask_for_oddity(self, name: str, value: object) -> None:
        """Called by the test: the process describes itself with this field changed."""
        self._oddity.write_text(json.dumps([name, value]))

    def mischief(self, stream: str) -> Mischief | None:
        """What becomes of a stream's messages, where the test has asked for mischief."""
        return Mischief(stream, self._mischief) if self._mischief.exists() else None

    def ask_for_mischief(self) -> None:
        """Called by the test, before the process starts."""
        self._mischief.touch()

    @property
    def num_mischiefs(self) -> int:
        """Called by the test: messages that did not arrive as they were sent."""
        return self._mischief.stat().st_size

    @property
    def hit(self) -> dict[str, Any] | None:
        """Called by the test: what the process had in hand where it died."""
        return json.loads(self._hit.read_text()) if self._hit.exists() else None


def _put(path: Path, text: str) -> None:
    """Writes a file that whoever reads it finds whole."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


class HookedServer:
    """A gRPC server whose streaming handlers pass two points around every answer that counts: ``replying`` before it
    is written, ``replied`` when it has left.
    """

    def __init__(self, server: grpc.aio.Server, points: Points, counts: Callable[[Any], bool]) -> None:
        self._server = server
        self._points = points
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self._server.add_registered_method_handlers(
            service, {name: self._hooked(handler) for name, handler in handlers.items()}
        )

    def _hooked(self, handler: Any) -> Any:
        if not handler.response_streaming:
            return self._described(handler)
        name = "stream_stream" if handler.request_streaming else "unary_stream"
        behaviour = getattr(handler, name)

        async def hooked(request: Any, context: Any) -> Any:
            inwards, outwards = self._points.mischief("in"), self._points.mischief("out")
            if inwards is not None and handler.request_streaming:
                request = mischievous(request, inwards)
            return await behaviour(request, _HookedContext(context, self._points, self._counts, outwards))

        return handler._replace(**{name: hooked})

    def _described(self, handler: Any) -> Any:
        async def described(request: Any, context: Any) -> Any:
            answer = await handler.unary_unary(request, context)
            if isinstance(answer, types_pb2.DescribeResponse):
                self._points.describe_otherwise(answer)
            return answer

        return handler._replace(unary_unary=described)


class _HookedContext:
    def __init__(self, context: Any, points: Points, counts: Callable[[Any], bool], mischief: Mischief | None) -> None:
        self._context = context
        self._points = points
        self._counts = counts
        self._mischief = mischief

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        counts = self._counts(message)
        if counts:
            self._points.reach("replying")
        for delivered in self._mischief.deliver(message) if counts and self._mischief else [message]:
            await self._context.write(delivered)
        if counts:
            self._points.reach("replied")
