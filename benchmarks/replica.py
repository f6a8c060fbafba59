"""``python -m benchmarks.replica ROLE``: a replica without a model, for measuring what stands before it.

It speaks the contract and says a script: at once, or in passes that take a fixed time and serve so many sessions each,
as a model's do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio

from tandem.decoding.methods import METHODS
from tandem.decoding.rng import DRAWING_VERSION
from tandem.decoding.values import RunningDigest
from tandem.rpc import codec
from tandem.rpc.streams import Outbox
from tandem.v1 import draft_pb2, draft_pb2_grpc, types_pb2, verify_pb2, verify_pb2_grpc

TOKENS_A_ROUND = 4
MAX_UNCOMMITTED = 2


class _Session:
    """A text, and how far it is committed."""

    __slots__ = ("committed", "digest", "ends", "fence", "id", "limit", "outbox", "position")

    def __init__(self, session_id: str, fence: Any, token_ids: list[int], limit: int, outbox: Outbox[Any]) -> None:
        self.id = session_id
        self.fence = fence
        self.digest = RunningDigest(token_ids)
        self.position = self.committed = len(token_ids)
        self.limit = limit
        self.outbox = outbox
        self.ends: list[int] = []

    @property
    def is_ready(self) -> bool:
        return self.position < self.limit and len(self.ends) < MAX_UNCOMMITTED

    def commit(self, position: int) -> None:
        self.committed = max(self.committed, position)
        self.ends = [end for end in self.ends if end > self.committed]

    def round(self) -> tuple[types_pb2.RoundName, types_pb2.Outcome]:
        """The next tokens of the script; all drafted ones are accepted."""
        count = min(TOKENS_A_ROUND, self.limit - self.position)
        name = types_pb2.RoundName(
            session_id=self.id, fence=self.fence, position=self.position, digest=self.digest.value
        )
        tokens = [40 + (self.position + offset) % 50 for offset in range(count)]
        self.position += count
        self.ends.append(self.position)
        outcome = types_pb2.Outcome(
            token_ids=tokens,
            num_accepted=count - 1,
            num_drafted=TOKENS_A_ROUND - 1,
            log_probs=[-0.25] * count,
            next_digest=self.digest.extend(tokens),
            num_target_passes=1,
        )
        return name, outcome


class Scripted:
    """What both kinds of replica share."""

    role: str

    def __init__(self, tokenizer_digest: str, pass_seconds: float, batch: int) -> None:
        self._description = codec.Description(
            role=self.role,
            instance_id=secrets.token_hex(4),
            drawing_version=DRAWING_VERSION,
            lifecycle="ready",
            model=f"scripted-{self.role}",
            weights_digest=self.role,
            tokenizer_digest=tokenizer_digest,
            vocab_size=1 << 17,
            max_positions=1 << 17,
            methods=tuple(METHODS),
            eos_token_ids=(1,),
            dtype="none",
        )
        self._pass_seconds = pass_seconds
        self._batch = batch
        self._sessions: dict[str, _Session] = {}
        self._ready: deque[_Session] = deque()
        self._queued: set[_Session] = set()
        self._wake = asyncio.Event()

    async def Describe(self, request: types_pb2.DescribeRequest, context: Any) -> types_pb2.DescribeResponse:
        """What it is."""
        return codec.encode_description(self._description)

    def judged(self, name: types_pb2.RoundName, outcome: types_pb2.Outcome) -> Any:
        """The stream's message that carries an outcome."""
        raise NotImplementedError

    async def _serve(self, requests: AsyncIterator[Any], context: Any) -> None:
        outbox: Outbox[Any] = Outbox(1 << 20)
        writer = asyncio.create_task(outbox.pump(context.write))
        try:
            async for request in requests:
                self._accept(request, outbox)
        finally:
            writer.cancel()

    def _accept(self, request: Any, outbox: Outbox[Any]) -> None:
        kind = request.WhichOneof("body")
        body = getattr(request, kind)
        if kind in ("grant", "open"):
            session = _Session(body.session_id, body.fence, list(body.token_ids), body.decoding.max_position, outbox)
            self._sessions[session.id] = session
        elif kind == "committed":
            found = self._sessions.get(body.session_id)
            if found is None or found.fence != body.fence:
                return
            session = found
            session.commit(body.position)
        else:
            self._sessions.pop(body.session_id, None)
            return
        self._look_at(session)

    def _look_at(self, session: _Session) -> None:
        if not self._pass_seconds:
            while session.is_ready:
                self._answer(session)
        elif session.is_ready and session not in self._queued:
            self._queued.add(session)
            self._ready.append(session)
            self._wake.set()

    def _answer(self, session: _Session) -> None:
        session.outbox.put(self.judged(*session.round()))

    async def run(self) -> None:
        """Passes, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due = time.monotonic()
            while self._ready:
                # By the clock: a model that has its own hardware is not slowed down by who else uses this processor.
                due += self._pass_seconds
                await asyncio.sleep(due - time.monotonic())
                for _ in range(min(self._batch, len(self._ready))):
                    session = self._ready.popleft()
                    self._queued.discard(session)
                    if session.is_ready and self._sessions.get(session.id) is session:
                        self._answer(session)
                        self._look_at(session)


class ScriptedDraft(Scripted, draft_pb2_grpc.DraftServiceServicer):
    """A draft replica."""

    role = "draft"

    def judged(self, name: types_pb2.RoundName, outcome: types_pb2.Outcome) -> Any:
        """A round that was drafted and judged."""
        return draft_pb2.LeaseResponse(outcome=draft_pb2.RoundOutcome(name=name, outcome=outcome))

    async def Lease(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Runs an orchestrator's sessions."""
        await self._serve(requests, context)


class ScriptedVerify(Scripted, verify_pb2_grpc.VerifyServiceServicer):
    """A verify replica, which decodes alone; nobody judges."""

    role = "verify"

    def judged(self, name: types_pb2.RoundName, outcome: types_pb2.Outcome) -> Any:
        """A round without a draft."""
        return verify_pb2.DecodeResponse(decoded=verify_pb2.DecodedRound(name=name, outcome=outcome))

    async def Decode(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Runs an orchestrator's sessions."""
        await self._serve(requests, context)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=("draft", "verify"))
    parser.add_argument("--tokenizer-digest", required=True)
    parser.add_argument("--pass-ms", type=float, default=0.0, help="time of a pass; 0 answers at once")
    parser.add_argument("--batch", type=int, default=64, help="sessions served by a pass")
    parser.add_argument("--ready-file", type=Path, required=True)
    asked = parser.parse_args()
    settings = (asked.tokenizer_digest, asked.pass_ms / 1000, asked.batch)
    server = grpc.aio.server()
    replica: Scripted
    if asked.role == "draft":
        replica = ScriptedDraft(*settings)
        draft_pb2_grpc.add_DraftServiceServicer_to_server(replica, server)  # type: ignore[no-untyped-call]
    else:
        replica = ScriptedVerify(*settings)
        verify_pb2_grpc.add_VerifyServiceServicer_to_server(replica, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    partial = asked.ready_file.with_suffix(".partial")
    partial.write_text(json.dumps({"role": asked.role, "pid": os.getpid(), "address": f"127.0.0.1:{port}"}))
    partial.replace(asked.ready_file)
    await replica.run()


if __name__ == "__main__":
    asyncio.run(_main())
