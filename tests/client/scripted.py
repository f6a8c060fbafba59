"""A generation service that sends a fixed text, and fails where it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from tandem.decoding.values import RunningDigest
from tandem.rpc import PROTOCOL_VERSION
from tandem.v1 import generation_pb2 as pb
from tandem.v1 import types_pb2
from tandem.v1.generation_pb2_grpc import GenerationServiceServicer, add_GenerationServiceServicer_to_server

PROMPT = (5, 6, 7)
COMPLETION = tuple(range(20, 32))
CHUNK = 3


class ScriptedService(GenerationServiceServicer):
    """Sends COMPLETION in parts of CHUNK tokens; token 20 reads as "a", 21 as "b", and so on."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.cancelled: list[str] = []
        self.failures: list[tuple[int, grpc.StatusCode]] = []
        """For each call in turn: after how many parts it fails, and how."""
        self.retry_after = 0.0
        """Goes with every failure."""
        self.times: list[float] = []
        """When each call came."""
        self.repeat_part = False
        """Resumed streams begin with a part that was sent before."""
        self.other_text = False
        """Resumed streams continue another text."""

    def Describe(self, request: Any, context: grpc.ServicerContext) -> types_pb2.DescribeResponse:
        return types_pb2.DescribeResponse(
            role="orchestrator",
            protocol_version=PROTOCOL_VERSION,
            lifecycle=types_pb2.LIFECYCLE_READY,
            methods=["mtad"],
        )

    def Generate(self, request: pb.GenerateRequest, context: grpc.ServicerContext) -> Iterator[pb.GenerateResponse]:
        self.requests.append(request)
        return self._send(pb.GenerateResponse, 0, context)

    def Resume(self, request: pb.ResumeRequest, context: grpc.ServicerContext) -> Iterator[pb.ResumeResponse]:
        self.requests.append(request)
        start = request.position - len(PROMPT)
        return self._send(pb.ResumeResponse, start - CHUNK if self.repeat_part else start, context)

    def Cancel(self, request: pb.CancelRequest, context: grpc.ServicerContext) -> pb.CancelResponse:
        if request.session_id != "s1":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such session")
        self.cancelled.append(request.session_id)
        return pb.CancelResponse()

    def _send(self, response: Any, start: int, context: grpc.ServicerContext) -> Iterator[Any]:
        num_parts, code = self.failures.pop(0) if self.failures else (None, None)
        self.times.append(time.monotonic())
        if self.retry_after:
            context.set_trailing_metadata((("retry-after-seconds", f"{self.retry_after:g}"),))
        if num_parts == -1:
            context.abort(code, "as told")
        decoding = types_pb2.Decoding(
            sampling=types_pb2.Sampling(seed=42), speculation=types_pb2.Speculation(method="mtad")
        )
        yield response(started=pb.SessionStarted(session_id="s1", prompt_token_ids=PROMPT, decoding=decoding))
        digest = RunningDigest((1, 2, 3) if self.other_text else PROMPT)
        digest.extend(COMPLETION[:start])
        for index, begin in enumerate(range(start, len(COMPLETION), CHUNK)):
            if index == num_parts:
                context.abort(code, "as told")
            token_ids = COMPLETION[begin : begin + CHUNK]
            part = pb.TextPart(
                position=len(PROMPT) + begin,
                digest=digest.extend(token_ids),
                token_ids=token_ids,
                text="".join(chr(ord("a") + token - 20) for token in token_ids),
                log_probs=[-1.0] * len(token_ids),
            )
            yield response(part=part)
        usage = pb.Usage(method="mtad", completion_tokens=len(COMPLETION), verify_joules=3.0)
        yield response(finished=pb.SessionFinished(reason=pb.FINISH_REASON_LENGTH, usage=usage))


@contextmanager
def serving(service: ScriptedService) -> Iterator[str]:
    """Serves on a free port; yields the address."""
    server = grpc.server(ThreadPoolExecutor(4))
    add_GenerationServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)
