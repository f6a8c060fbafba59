from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tandem.client import AsyncClient, Client
from tandem.client.attempts import Attempts, Patience
from tandem.decoding.values import RunningDigest
from tandem.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OutOfKV,
    Overloaded,
    Unavailable,
    Unreached,
)
from tandem.generation import Generation, Part
from tandem.retry_budget import RetryBudget
from tests.client.scripted import CHUNK, COMPLETION, PROMPT, ScriptedService, serving

Collect = Callable[..., tuple[list[Part], Generation]]


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
def address(service: ScriptedService) -> Iterator[str]:
    with serving(service) as address:
        yield address


def _collect_sync(addresses: Any, call: str, *arguments: Any, **options: Any) -> tuple[list[Part], Generation]:
    with Client(addresses) as client, getattr(client, call)(*arguments, **options) as stream:
        return list(stream), stream.generation


def _collect_async(addresses: Any, call: str, *arguments: Any, **options: Any) -> tuple[list[Part], Generation]:
    async def run() -> tuple[list[Part], Generation]:
        async with AsyncClient(addresses) as client, getattr(client, call)(*arguments, **options) as stream:
            return [part async for part in stream], stream.generation

    return asyncio.run(run())


@pytest.fixture(params=[_collect_sync, _collect_async], ids=["sync", "async"])
def collect(request: pytest.FixtureRequest) -> Collect:
    return request.param


def _dead_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_a_stream_yields_the_parts_and_then_has_the_whole(collect: Collect, address: str) -> None:
    parts, generation = collect(address, "stream", "question")
    assert [part.token_ids for part in parts] == [COMPLETION[i : i + CHUNK] for i in range(0, 12, CHUNK)]
    assert generation.text == "".join(part.text for part in parts) == "abcdefghijkl"
    assert (generation.token_ids, generation.prompt_token_ids) == (COMPLETION, PROMPT)
    assert (generation.session_id, generation.seed, generation.method) == ("s1", 42, "mtad")
    assert generation.finish_reason == "length"
    assert (generation.usage.verify_joules, generation.usage.draft_joules) == (3.0, None)


def test_generate_returns_the_whole_from_both_clients(address: str) -> None:
    async def generate() -> Generation:
        async with AsyncClient(address) as client:
            return await client.generate([5, 6, 7])

    with Client(address) as client:
        assert client.generate([5, 6, 7]) == asyncio.run(generate())


def test_only_what_was_asked_for_is_sent(collect: Collect, address: str, service: ScriptedService) -> None:
    collect(address, "stream", [3, 1], method="block", temperature=0.0, seed=2**64 - 1, stop=";", max_tokens=None)
    request = service.requests[0]
    assert list(request.token_ids.ids) == [3, 1]
    assert {field.name for field, _ in request.ListFields()} == {"token_ids", "method", "temperature", "seed", "stop"}
    assert (request.seed, list(request.stop)) == (2**64 - 1, [";"])


@pytest.mark.parametrize("options", [{"seed": -1}, {"draft_length": 10**12}, {"temperature": "hot"}, {"stop": [1]}])
def test_what_cannot_be_sent_is_refused_by_name(address: str, options: dict[str, Any]) -> None:
    with Client(address) as client, pytest.raises(InvalidArgument, match=next(iter(options))):
        client.generate("question", **options)


@pytest.mark.parametrize("prompt", [[-1], [2**32], ["a"], "\ud800", None])
def test_a_prompt_that_cannot_be_sent_is_refused(address: str, prompt: Any) -> None:
    with Client(address) as client, pytest.raises(InvalidArgument, match="prompt"):
        client.generate(prompt)


def test_an_option_that_does_not_exist_is_a_type_error(address: str) -> None:
    with Client(address) as client, pytest.raises(TypeError, match="beam_size"):
        client.generate("question", beam_size=3)  # type: ignore[call-arg]


def test_a_broken_stream_is_resumed_without_gap_or_repetition(
    collect: Collect, address: str, service: ScriptedService
) -> None:
    service.failures = [
        (2, grpc.StatusCode.UNAVAILABLE),
        (-1, grpc.StatusCode.UNAVAILABLE),
        (1, grpc.StatusCode.UNAVAILABLE),
    ]
    parts, generation = collect(address, "stream", "question")
    assert generation.token_ids == COMPLETION == tuple(token for part in parts for token in part.token_ids)
    assert generation.text == "abcdefghijkl"
    assert [type(request).__name__ for request in service.requests] == ["GenerateRequest"] + ["ResumeRequest"] * 3
    resumed = service.requests[-1]
    assert resumed.position == len(PROMPT) + 9
    assert tuple(resumed.token_ids) == PROMPT + COMPLETION[:9]
    assert resumed.digest == RunningDigest(PROMPT + COMPLETION[:9]).value


def test_a_part_that_was_sent_before_is_not_yielded_again(
    collect: Collect, address: str, service: ScriptedService
) -> None:
    service.failures, service.repeat_part = [(2, grpc.StatusCode.UNAVAILABLE)], True
    parts, generation = collect(address, "stream", "question")
    assert tuple(token for part in parts for token in part.token_ids) == generation.token_ids == COMPLETION


def test_two_texts_are_never_spliced(collect: Collect, address: str, service: ScriptedService) -> None:
    service.failures, service.other_text = [(2, grpc.StatusCode.UNAVAILABLE)], True
    with pytest.raises(DataLoss, match="another text"):
        collect(address, "stream", "question")


def test_a_stream_goes_on_at_another_address(collect: Collect, service: ScriptedService) -> None:
    other = ScriptedService()
    with serving(service) as first, serving(other) as second:
        service.failures = [(1, grpc.StatusCode.UNAVAILABLE)]
        _, generation = collect([first, second], "stream", "question")
    assert generation.token_ids == COMPLETION
    assert len(service.requests) == len(other.requests) == 1


def test_a_dead_first_address_is_passed_over(collect: Collect, address: str) -> None:
    assert collect([_dead_address(), address], "stream", "question")[1].token_ids == COMPLETION


def test_a_dead_port_is_reported_with_its_address_and_soon(collect: Collect) -> None:
    dead = _dead_address()
    began = time.monotonic()
    with pytest.raises(Unavailable, match=dead) as caught:
        collect(dead, "stream", "question")
    assert time.monotonic() - began < 5
    assert isinstance(caught.value.__cause__, Unreached)


def test_patience_to_resume_ends(address: str, service: ScriptedService) -> None:
    service.failures = [(1, grpc.StatusCode.UNAVAILABLE)] + [(-1, grpc.StatusCode.UNAVAILABLE)] * 50
    with (
        Client(address, Patience(resume_seconds=0.2)) as client,
        client.stream("question") as stream,
        pytest.raises(Unavailable, match=address),
    ):
        list(stream)
    assert stream.session_id == "s1"


def test_an_overloaded_service_is_asked_again_when_it_says(
    collect: Collect, address: str, service: ScriptedService
) -> None:
    service.failures, service.retry_after = [(-1, grpc.StatusCode.RESOURCE_EXHAUSTED)] * 2, 0.2
    _, generation = collect(address, "stream", "question")
    assert generation.token_ids == COMPLETION
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(service.times))
    assert len(service.times) == 3


def test_patience_with_an_overload_ends(address: str, service: ScriptedService) -> None:
    service.failures, service.retry_after = [(-1, grpc.StatusCode.RESOURCE_EXHAUSTED)] * 9, 0.2
    with Client(address, Patience(overload_seconds=0.1)) as client, pytest.raises(Overloaded) as caught:
        client.generate("question")
    assert caught.value.retry_after_seconds == 0.2
    assert len(service.requests) == 1


def test_retries_are_a_share_of_what_succeeds(address: str, service: ScriptedService) -> None:
    service.failures, service.retry_after = [(-1, grpc.StatusCode.RESOURCE_EXHAUSTED)] * 1000, 0.001
    with Client(address) as client:
        for _ in range(20):
            with pytest.raises(Overloaded):
                client.generate("question")
    # A full budget allows a few retries; from then on every request is made once.
    assert len(service.requests) <= 20 + 5


def test_a_dead_address_beside_a_live_one_costs_no_budget(address: str) -> None:
    with Client([_dead_address(), address]) as client:
        for _ in range(40):
            assert client.generate("question").token_ids == COMPLETION


def test_where_nothing_listens_patience_ends_and_not_the_budget() -> None:
    budget = RetryBudget(tokens=2)
    budget.spend()
    attempts = Attempts(["one:1", "two:2"], 0, Patience(start_seconds=5.0), 0.0, None, budget)
    asked = []
    for _ in range(6):
        asked.append(attempts.address)
        attempts.pause(Unreached("failed to connect to all addresses"), 1.0, started=False)
    assert asked == ["one:1", "two:2"] * 3
    with pytest.raises(Unavailable):
        attempts.pause(Unavailable("no replica"), 1.0, started=False)
    with pytest.raises(Unavailable):
        attempts.pause(Unreached("failed to connect to all addresses"), 5.0, started=False)


def test_a_session_that_has_begun_outlasts_the_budget(address: str, service: ScriptedService) -> None:
    service.failures = [(1, grpc.StatusCode.UNAVAILABLE)] + [(-1, grpc.StatusCode.UNAVAILABLE)] * 8
    with Client(address) as client:
        assert client.generate("question").token_ids == COMPLETION


def test_a_budget_fills_with_successes() -> None:
    budget = RetryBudget(tokens=10, share=0.5)
    assert [budget.spend() for _ in range(6)] == [True] * 4 + [False] * 2
    for _ in range(4):
        budget.note_success()
    assert [budget.spend(), budget.spend()] == [False, False]
    for _ in range(100):
        budget.note_success()
    assert [budget.spend() for _ in range(5)] == [True] * 4 + [False]


def test_the_timeout_covers_the_whole_call(address: str, service: ScriptedService) -> None:
    service.failures = [(1, grpc.StatusCode.UNAVAILABLE)] + [(-1, grpc.StatusCode.UNAVAILABLE)] * 50
    with Client(address) as client, pytest.raises(DeadlineExceeded):
        client.generate("question", timeout=0.3)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.DATA_LOSS, DataLoss),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OutOfKV),
    ],
)
def test_an_error_that_trying_again_cannot_mend_is_raised_at_once(
    collect: Collect, address: str, service: ScriptedService, code: grpc.StatusCode, kind: type[Exception]
) -> None:
    service.failures = [(-1, code)]
    with pytest.raises(kind, match="as told"):
        collect(address, "stream", "question")
    assert len(service.requests) == 1


def test_resume_yields_what_the_caller_lacks(collect: Collect, address: str, service: ScriptedService) -> None:
    have = PROMPT + COMPLETION[:6]
    service.failures = [(1, grpc.StatusCode.UNAVAILABLE)]
    parts, generation = collect(address, "resume", "s1", len(have), RunningDigest(have).value)
    assert parts[0].position == len(have)
    assert generation.token_ids == COMPLETION[6:]
    assert service.requests[1].position == len(have) + CHUNK


def test_cancel_and_describe(address: str, service: ScriptedService) -> None:
    async def through_asyncio() -> str:
        async with AsyncClient(address) as client:
            await client.cancel("s1")
            with pytest.raises(NotFound):
                await client.cancel("s2")
            return (await client.describe()).role

    with Client(address) as client:
        client.cancel("s1")
        with pytest.raises(NotFound):
            client.cancel("s2")
        assert client.describe().role == asyncio.run(through_asyncio()) == "orchestrator"
    assert service.cancelled == ["s1", "s1"]


def test_a_stream_that_is_closed_ends(address: str) -> None:
    with Client(address) as client:
        stream = client.stream("question")
        next(stream)
        stream.close()
        with pytest.raises(Cancelled):
            list(stream)


def test_a_client_is_shared_between_threads(address: str) -> None:
    with Client(address) as client:
        texts: list[str] = []
        threads = [threading.Thread(target=lambda: texts.append(client.generate("q").text)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["abcdefghijkl"] * 6


@pytest.mark.parametrize("address", ["localhost", "localhost:0", "localhost:99999", "", "http://localhost:7070"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument, match="address"):
        Client(address)


def test_importing_tandem_loads_neither_grpc_nor_torch() -> None:
    script = "import sys, tandem; print(sorted({'grpc', 'torch', 'numpy', 'tokenizers'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    script = "import sys; from tandem import Client; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
