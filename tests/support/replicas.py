"""Draft and verify replicas on real sockets, whose text is a script: they speak the contract and compute nothing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio

from tandem.decoding.methods import METHODS
from tandem.decoding.rng import DRAWING_VERSION
from tandem.decoding.values import (
    Decoding,
    Fence,
    Outcome,
    RoundName,
    RoundTrace,
    RunningDigest,
    StageTimings,
    TextScores,
    TopLogProbs,
)
from tandem.errors import TandemError
from tandem.rpc import codec
from tandem.rpc.listeners import SERVER_OPTIONS
from tandem.rpc.log_probs_codec import encode_scores
from tandem.rpc.status import refusal_of
from tandem.v1 import draft_pb2, draft_pb2_grpc, types_pb2, verify_pb2, verify_pb2_grpc

NextToken = Callable[[Sequence[int]], int]


def scripted(script: Sequence[int], prompt_length: int) -> NextToken:
    """The script, over and over, after a prompt of that length."""
    return lambda token_ids: script[(len(token_ids) - prompt_length) % len(script)]


def describe(role: str, digest: str, **changes: Any) -> codec.Description:
    values: dict[str, Any] = {
        "model": f"scripted-{role}",
        "weights_digest": role,
        "tokenizer_digest": digest,
        "vocab_size": 320,
        "max_positions": 512,
        "methods": tuple(METHODS),
        "eos_token_ids": (1,),
        "dtype": "none",
    }
    return codec.Description(role, secrets.token_hex(4), DRAWING_VERSION, "ready", **(values | changes))


@dataclass
class Run:
    """A session's work at a replica."""

    session_id: str
    fence: Fence
    decoding: Decoding
    token_ids: list[int]
    committed: int
    refusal: TandemError | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Replica:
    """What both roles share: a server, sessions that run two rounds past the watermark, ways to misbehave."""

    role: str

    def __init__(self, description: codec.Description, next_token: NextToken) -> None:
        self.description = description
        self.next_token = next_token
        self.address = ""
        self.runs: dict[str, Run] = {}
        self.opened: list[Run] = []
        self.closed: list[str] = []
        self.num_rounds = 0
        self.round_seconds = 0.0
        self.repeats = 1
        """How often each outcome is delivered."""
        self.refusal: TandemError | None = None
        self.refuse_after = 0
        """Rounds of a session before `refusal`, with which every session opened from now on ends."""
        self.silent = False
        self.joules: tuple[float | None, float | None] = (None, None)
        """Of drafting and of verifying, in each round."""
        self.timings = StageTimings()
        """What each outcome says of where its time went; no two say quite the same."""
        self.unlikely = False
        """No token is among the most probable ones that are told with it."""
        self.before_round: Callable[[int], None] = lambda number: None
        self._server: grpc.aio.Server | None = None
        self._streams: set[asyncio.Task[Any]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=(*SERVER_OPTIONS, ("grpc.so_reuseport", 0)))
        self.register(self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()

    async def stop(self) -> None:
        """Cuts every stream off, as a death would."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(0)
        for run in self.runs.values():
            if run.task is not None:
                run.task.cancel()
        self.runs.clear()

    async def restart(self) -> None:
        await self.stop()
        await self.start(int(self.address.rpartition(":")[2]))

    def register(self, server: grpc.aio.Server) -> None:
        raise NotImplementedError

    def outcome(self, run: Run) -> Outcome:
        raise NotImplementedError

    async def Describe(self, request: types_pb2.DescribeRequest, context: Any) -> types_pb2.DescribeResponse:
        return codec.encode_description(self.description)

    async def stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        outbox: asyncio.Queue[Any] = asyncio.Queue()

        async def read() -> None:
            async for request in requests:
                self.accept(request, outbox)

        reader = asyncio.create_task(read())
        try:
            while True:
                await context.write(await outbox.get())
        finally:
            reader.cancel()

    def accept(self, request: Any, outbox: asyncio.Queue[Any]) -> None:
        kind = request.WhichOneof("body")
        body = getattr(request, kind)
        if kind in ("grant", "open"):
            self.close(body.session_id)
            token_ids = list(body.token_ids)
            run = Run(
                body.session_id,
                codec.decode_fence(body.fence),
                codec.decode_decoding(body.decoding),
                token_ids,
                len(token_ids),
                self.refusal,
            )
            self.runs[run.session_id] = run
            self.opened.append(replace(run, token_ids=list(token_ids)))
            run.task = asyncio.create_task(self.run(run, outbox))
        elif kind == "committed":
            run_ = self.runs.get(body.session_id)
            if run_ is not None and codec.decode_fence(body.fence) == run_.fence:
                run_.committed = max(run_.committed, body.position)
                run_.moved.set()
        else:
            self.closed.append(body.session_id)
            self.close(body.session_id)

    def close(self, session_id: str) -> None:
        run = self.runs.pop(session_id, None)
        if run is not None and run.task is not None:
            run.task.cancel()

    async def run(self, run: Run, outbox: asyncio.Queue[Any]) -> None:
        ends: list[int] = []
        number = 0
        while len(run.token_ids) < run.decoding.max_position and not self.silent:
            if run.refusal is not None and number >= self.refuse_after:
                outbox.put_nowait(self.refused(run.session_id, run.refusal))
                self.runs.pop(run.session_id, None)
                return
            ends = [end for end in ends if end > run.committed]
            if len(ends) >= 2:
                run.moved.clear()
                await run.moved.wait()
                continue
            await self.pause(run)
            self.before_round(self.num_rounds)
            digest = RunningDigest(run.token_ids)
            name = RoundName(run.session_id, run.fence, len(run.token_ids), digest.value)
            outcome = self.outcome(run)
            run.token_ids.extend(outcome.token_ids)
            ends.append(len(run.token_ids))
            for _ in range(self.repeats):
                outbox.put_nowait(self.judged(name, outcome))
            self.num_rounds += 1
            number += 1
            if run.decoding.end_index(outcome.token_ids) is not None:
                break

    async def pause(self, run: Run) -> None:
        """What a round takes."""
        if self.round_seconds:
            await asyncio.sleep(self.round_seconds)

    def made(self, run: Run, count: int, num_drafted: int) -> Outcome:
        text = list(run.token_ids)
        for _ in range(count):
            text.append(self.next_token(text))
        tokens = tuple(text[len(run.token_ids) :])
        trace = None
        if run.decoding.trace:  # as large as one can be
            trace = RoundTrace((1,) * 512, (-1,) * 512, (-0.5,) * 512, (-0.25,) * 512)
        log_probs = (-0.25,) * count
        draft_joules, verify_joules = self.joules
        return Outcome(
            tokens,
            count - 1,
            num_drafted,
            log_probs,
            RunningDigest(text).value,
            trace=trace,
            timings=self.timed(),
            draft_joules=draft_joules if num_drafted else None,
            verify_joules=verify_joules,
            top_log_probs=self.tops(tokens, log_probs, run.decoding.num_top_log_probs),
        )

    def timed(self) -> StageTimings:
        tiny = 1 + 1e-9 * self.num_rounds
        timings = self.timings
        return replace(
            timings, draft_seconds=tiny * timings.draft_seconds, forward_seconds=tiny * timings.forward_seconds
        )

    def tops(self, tokens: Sequence[int], log_probs: Sequence[float], count: int) -> tuple[TopLogProbs, ...]:
        """The ids from each token's own on (or from the next one on), each less probable than the one before."""
        places = range(1, 1 + count) if self.unlikely else range(count)
        return tuple(
            tuple((token + at, log_prob - 0.5 * at) for at in places)
            for token, log_prob in zip(tokens, log_probs, strict=True)
            if count
        )

    def judged(self, name: RoundName, outcome: Outcome) -> Any:
        raise NotImplementedError

    def refused(self, session_id: str, error: TandemError) -> Any:
        raise NotImplementedError


class ScriptedDraft(Replica, draft_pb2_grpc.DraftServiceServicer):
    """Accepts one to all of the drafted tokens, by turns."""

    role = "draft"

    def register(self, server: grpc.aio.Server) -> None:
        draft_pb2_grpc.add_DraftServiceServicer_to_server(self, server)

    async def Lease(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self.stream(requests, context)

    def outcome(self, run: Run) -> Outcome:
        length = run.decoding.speculation.draft_length
        return self.made(run, 2 + len(run.token_ids) % length, length)

    def judged(self, name: RoundName, outcome: Outcome) -> Any:
        body = draft_pb2.RoundOutcome(name=codec.encode_round_name(name), outcome=codec.encode_outcome(outcome))
        return draft_pb2.LeaseResponse(outcome=body)

    def refused(self, session_id: str, error: TandemError) -> Any:
        return draft_pb2.LeaseResponse(ended=draft_pb2.LeaseEnded(refusal=refusal_of(session_id, error)))


class ScriptedVerify(Replica, verify_pb2_grpc.VerifyServiceServicer):
    """Decodes alone, a token an outcome."""

    role = "verify"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.scored: list[verify_pb2.VerifyServiceScoreRequest] = []
        self.score_refusal: tuple[grpc.StatusCode, str] | None = None
        self.score_seconds = 0.0
        self.scores_left = 0
        """How many callers went away before they were answered."""

    async def Score(self, request: verify_pb2.VerifyServiceScoreRequest, context: Any) -> Any:
        self.scored.append(request)
        if self.score_refusal is not None:
            await context.abort(*self.score_refusal)
        try:
            await asyncio.sleep(self.score_seconds)
        except asyncio.CancelledError:
            self.scores_left += 1
            raise
        tokens = request.token_ids[1:]
        log_probs = tuple(-0.5 - 0.25 * (index % 5) for index in range(len(tokens)))
        scores = TextScores(
            log_probs,
            (2 if self.unlikely else 1,) * len(tokens),
            self.tops(tokens, log_probs, request.num_top_log_probs),
        )
        return verify_pb2.VerifyServiceScoreResponse(scores=encode_scores(scores))

    def register(self, server: grpc.aio.Server) -> None:
        verify_pb2_grpc.add_VerifyServiceServicer_to_server(self, server)

    async def Decode(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self.stream(requests, context)

    def outcome(self, run: Run) -> Outcome:
        return self.made(run, 1, 0)

    def judged(self, name: RoundName, outcome: Outcome) -> Any:
        body = verify_pb2.DecodedRound(name=codec.encode_round_name(name), outcome=codec.encode_outcome(outcome))
        return verify_pb2.DecodeResponse(decoded=body)

    def refused(self, session_id: str, error: TandemError) -> Any:
        return verify_pb2.DecodeResponse(refused=refusal_of(session_id, error))
