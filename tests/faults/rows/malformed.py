"""Messages that are none: mutated protobuf and bytes at every method, broken requests at every path."""

from __future__ import annotations

import asyncio
import http.client
import random
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import Message

from tandem.decoding.values import (
    EMPTY_TREE,
    Decoding,
    Fence,
    Proposal,
    RoundName,
    RunningDigest,
    Sampling,
    Speculation,
)
from tandem.rpc import codec
from tandem.rpc.channel import open_channel
from tandem.rpc.generation_codec import encode_request
from tandem.rpc.status import LIBRARY_FAILED
from tandem.v1 import draft_pb2, generation_pb2, types_pb2, verify_pb2
from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.stage import Member, Stage, staged

BATCH = 50
"""Messages of one trial: of one method, over one connection."""

HANGING_SECONDS = 15.0
DEADLINE_SECONDS = 3.0
"""Of a call whose message happened to stay a good one."""

UNEXPECTED = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
"""Codes by which a server would say that it fell over."""

INTEGERS = (-(1 << 63), -(1 << 31), -1, 0, 1, 2, 1 << 20, (1 << 31) - 1, (1 << 63) - 1, (1 << 64) - 1)
FLOATS = (float("nan"), float("inf"), float("-inf"), -1.0, -0.0, 1e-320, 0.5, 1e308)
TEXTS = ("", "x", "x" * 100_000, "\0", "mtad", "no such method", "ünïcødé", "127.0.0.1:1")


async def fuzzed(given: Surroundings, num_trials: int) -> Figures:
    drawn, codes = random.Random(7), Counter[str]()
    async with staged(given.zygote, given.folder) as stage, disturbed(stage, width=4) as found:
        pids = {member.name: member.pid for member in stage.members.values()}
        for number in range(num_trials):
            targets = list(_targets(stage))
            member, method, seed = targets[number % len(targets)]
            found.figures.trials += 1
            async with asyncio.timeout(HANGING_SECONDS):
                codes += await (_ask(member, method, seed, drawn) if seed is not None else _ask_http(member, drawn))
            assert member.forked is not None
            found.figures.took_effect += member.forked.is_alive and member.pid == pids[member.name]
        for code in UNEXPECTED:
            if codes[code.name]:
                found.figures.tally.failed.append(
                    f"{codes[code.name]} malformed messages were answered with {code.name}"
                )
        answered = ", ".join(f"{count} × {code}" for code, count in codes.most_common())
        found.figures.remarks.append(f"{num_trials * BATCH} messages: {answered}")
    return found.figures


async def _ask(member: Member, method: str, seed: Message, drawn: random.Random) -> Counter[str]:
    """Sends mutations of a good message over one stream, or as one call each; the codes that came back."""
    codes: Counter[str] = Counter()
    async with open_channel(member.address) as channel:
        if method.endswith(("Judge", "Decode", "Lease")):
            left = [_mutated(seed, drawn) for _ in range(BATCH)]
            while left:
                num_before = len(left)
                codes[await _converse(channel.stream_stream(method), left)] += 1
                if len(left) == num_before:
                    left.pop()
        elif method.endswith(("Generate", "Resume")):
            for _ in range(BATCH):
                call = channel.unary_stream(method)(_mutated(seed, drawn), timeout=DEADLINE_SECONDS)
                codes[await _end_of(call)] += 1
        else:
            for _ in range(BATCH):
                call = channel.unary_unary(method)(_mutated(seed, drawn), timeout=DEADLINE_SECONDS)
                codes[(await call.code()).name] += 1
    return codes


async def _converse(open_stream: object, left: list[bytes]) -> str:
    async def requests() -> AsyncIterator[bytes]:
        while left:
            yield left.pop()
            await asyncio.sleep(0)

    return await _end_of(open_stream(requests(), timeout=DEADLINE_SECONDS))  # type: ignore[operator]


async def _end_of(call: grpc.aio.Call) -> str:
    """Reads a stream to its end, but not for long; its code."""
    num_read = 0
    try:
        async for _ in call:
            num_read += 1
            if num_read == 3:
                call.cancel()
    except (grpc.RpcError, asyncio.CancelledError):
        pass
    if await call.details() == LIBRARY_FAILED:
        return "cut while it was being sent"
    return str((await call.code()).name)


async def _ask_http(member: Member, drawn: random.Random) -> Counter[str]:
    return await asyncio.to_thread(_ask_http_blocking, member.ready["http"], drawn.randrange(1 << 30))


def _ask_http_blocking(url: str, seed: int) -> Counter[str]:
    drawn, codes = random.Random(seed), Counter[str]()
    good = b'{"model": "x", "prompt": [1, 2, 3], "max_tokens": 4, "temperature": 1, "stream": false, "n": 1}'
    for _ in range(BATCH):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=HANGING_SECONDS)
        path = drawn.choice(("/v1/completions", "/v1/chat/completions", "/v1/models", "/nowhere", "/v1/completions/x"))
        connection.request(drawn.choice(("POST", "POST", "POST", "GET", "PUT")), path, _scrambled(good, drawn))
        status = connection.getresponse().status
        codes[grpc.StatusCode.UNKNOWN.name if status >= 500 else f"HTTP {status}"] += 1
        connection.close()
    return codes


def _mutated(good: Message, drawn: random.Random) -> bytes:
    """A message with fields changed to what nobody expects, and now and then bytes that are no message."""
    if drawn.random() < 0.05:
        return _scrambled(good.SerializeToString(), drawn)
    changed = type(good)()
    changed.CopyFrom(good)
    for _ in range(drawn.randrange(1, 4)):
        _change(changed, drawn)
    return bytes(changed.SerializeToString())


def _change(message: Message, drawn: random.Random) -> None:
    """Changes one field, somewhere in the message."""
    if not message.DESCRIPTOR.fields:
        return
    field = drawn.choice(message.DESCRIPTOR.fields)
    if field.message_type is not None:
        if not field.is_repeated:
            _change(getattr(message, field.name), drawn)
        elif drawn.random() < 0.5:
            message.ClearField(field.name)
        else:
            _change(getattr(message, field.name).add(), drawn)
        return
    match field.cpp_type:
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            value: object = drawn.randbytes(drawn.choice((0, 1, 8, 16, 17, 1000)))
        case field.CPPTYPE_STRING:
            value = drawn.choice(TEXTS)
        case field.CPPTYPE_DOUBLE | field.CPPTYPE_FLOAT:
            value = drawn.choice(FLOATS)
        case field.CPPTYPE_BOOL:
            value = drawn.random() < 0.5
        case _:
            value = drawn.choice(INTEGERS)
    try:
        if field.is_repeated:
            getattr(message, field.name).extend([value] * drawn.choice((1, 2, 600)))
        else:
            setattr(message, field.name, value)
    except ValueError:
        message.ClearField(field.name)  # more than the field holds


def _scrambled(good: bytes, drawn: random.Random) -> bytes:
    """Some bytes changed, cut, repeated or put in."""
    content = bytearray(good)
    for _ in range(drawn.randrange(1, 4)):
        at = drawn.randrange(len(content) + 1)
        match drawn.randrange(4):
            case 0 if content:
                content[at % len(content)] = drawn.randrange(256)
            case 1:
                del content[at : at + drawn.randrange(1, 9)]
            case 2:
                content[at:at] = content[at : at + drawn.randrange(1, 33)]
            case _:
                content[at:at] = drawn.randbytes(drawn.randrange(1, 5))
    return bytes(content)


def _targets(stage: Stage) -> list[tuple[Member, str, Message | None]]:
    """Every method of every service, with a good message of its own; and HTTP."""
    orchestrator, verify, draft = (stage.of(role)[0] for role in ("orchestrator", "verify", "draft"))
    text, fence = [1, 2, 3], Fence(1, bytes(16))
    decoding = codec.encode_decoding(Decoding(Sampling(seed=1), Speculation("mtad"), 64, (0,)))
    name = codec.encode_round_name(RoundName("fuzzed", fence, len(text), RunningDigest(text).value))
    opening = verify_pb2.OpenSequence(
        session_id="fuzzed", fence=codec.encode_fence(fence), decoding=decoding, token_ids=text
    )
    asked = verify_pb2.JudgeRound(name=name, proposal=codec.encode_proposal(Proposal(EMPTY_TREE)))
    grant = draft_pb2.GrantLease(
        session_id="fuzzed",
        fence=codec.encode_fence(fence),
        decoding=decoding,
        token_ids=text,
        verify_address=verify.address,
        lease_seconds=1,
    )
    resume = generation_pb2.ResumeRequest(session_id="fuzzed", position=3, digest=RunningDigest(text).value)
    generation, judging, drafting = (f"/tandem.v1.{name}Service/" for name in ("Generation", "Verify", "Draft"))
    describe = types_pb2.DescribeRequest()
    session = generation_pb2.CancelRequest(session_id="fuzzed")
    return [
        (
            orchestrator,
            generation + "Generate",
            encode_request(text, {"max_tokens": 4, "method": "mtad", "seed": 1}),
        ),
        (orchestrator, generation + "Resume", resume),
        (orchestrator, generation + "Cancel", session),
        (orchestrator, generation + "GetSession", session),
        (orchestrator, "http", None),
        (verify, judging + "Judge", verify_pb2.JudgeRequest(open=opening)),
        (verify, judging + "Judge", verify_pb2.JudgeRequest(round=asked)),
        (verify, judging + "Decode", verify_pb2.DecodeRequest(open=opening)),
        (verify, judging + "Describe", describe),
        (draft, drafting + "Lease", draft_pb2.LeaseRequest(grant=grant)),
        (draft, drafting + "Describe", describe),
    ]


ROWS = (
    Row(
        name="malformed",
        fault=f"malformed messages, {BATCH} a trial: mutated protobuf at every method, broken HTTP at every path",
        promise="no crash, no hang, the right error; requests beside them are unchanged",
        run=fuzzed,
        short=22,
        long=2000,
    ),
)
