"""A replica whose target runs on two processes: the same texts as on one, and all of them end together."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tandem.decoding.values import Decoding, Proposal, Sampling, Speculation
from tandem.engine.engine import Engine
from tandem.engine.loading import LoadedModel, load_model
from tandem.engine.proposer import Proposer
from tandem.engine.verifier import Verifier
from tandem.rpc.channel import open_channel
from tandem.rpc.codec import Description, decode_description
from tandem.v1 import types_pb2, verify_pb2_grpc
from tests.support.decode import rounds_of
from tests.support.judging import JudgeClient
from tests.support.processes import Process, started

PROMPT = [5, 17, 101, 9, 33]
NUM_TOKENS = 24
DECODINGS = [
    Decoding(Sampling(temperature, 8, 0.95, seed=seed), Speculation(method, 3, 3), 1 << 8, ignore_eos=True)
    for seed, method in enumerate(["coupled", "speculative", "mtad", "mmtad"])
    for temperature in (0.0, 1.0)
]
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
GONE_SECONDS = 30.0


@pytest.fixture(scope="module")
def pair(tiny_pair: tuple[Path, Path]) -> tuple[LoadedModel, LoadedModel]:
    """The tiny pair, in this process."""
    target, draft = (load_model(str(folder), dtype="float32", device="cpu") for folder in tiny_pair)
    return target, draft


@pytest.fixture(scope="module")
def expected(pair: tuple[LoadedModel, LoadedModel]) -> list[list[int]]:
    """The texts as one process writes them."""
    verifier, proposer = Verifier(Engine(pair[0], num_kv_blocks=64)), Proposer(Engine(pair[1], num_kv_blocks=64))
    rounds = rounds_of(verifier, proposer, PROMPT, NUM_TOKENS, DECODINGS)
    return [[token for _, outcome in mine for token in outcome.token_ids][:NUM_TOKENS] for mine in rounds]


async def texts_of(process: Process, draft: LoadedModel) -> list[list[int]]:
    """The texts as the replica's verdicts make them."""
    texts = []
    async with open_channel(process.address) as channel:
        client = JudgeClient(verify_pb2_grpc.VerifyServiceStub(channel).Judge())  # type: ignore[no-untyped-call]
        for number, decoding in enumerate(DECODINGS):
            proposer = Proposer(Engine(draft, num_kv_blocks=64))
            drafted, text = proposer.open(PROMPT, decoding), list(PROMPT)
            await client.open(PROMPT, decoding, session_id=str(number))
            await client.opened()
            while len(text) < len(PROMPT) + NUM_TOKENS:
                [proposal] = proposer.propose([drafted])
                assert isinstance(proposal, Proposal)
                await client.ask(text, proposal, session_id=str(number))
                tokens = list((await client.verdict()).outcome.token_ids)
                drafted.extend(tokens)
                text += tokens
            texts.append(text[len(PROMPT) :][:NUM_TOKENS])
        client.call.cancel()
    return texts


async def describe(process: Process) -> Description:
    async with open_channel(process.address) as channel:
        stub = verify_pb2_grpc.VerifyServiceStub(channel)  # type: ignore[no-untyped-call]
        return decode_description(await stub.Describe(types_pb2.DescribeRequest()))


def ranks_of(process: Process) -> list[psutil.Process]:
    """All processes of a replica but the one that was started, rank 0 first where it is among them."""
    children = psutil.Process(process.popen.pid).children(recursive=True)
    return sorted(children, key=lambda child: child.pid != process.ready["pid"])


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, GONE_SECONDS)
    assert not alive


async def test_two_processes_write_the_texts_of_one_and_a_killed_rank_ends_the_replica(
    tiny_pair: tuple[Path, Path],
    pair: tuple[LoadedModel, LoadedModel],
    expected: list[list[int]],
    tmp_path: Path,
) -> None:
    flags = ("--target", str(tiny_pair[0]), "--parallelism", "2", "--kv-blocks", "64", "--dtype", "float32")
    with started("verify_service", tmp_path, *flags) as process:
        described = await describe(process)
        identity = pair[0].identity
        assert (described.weights_digest, described.vocab_size) == (identity.weights_digest, identity.vocab_size)
        assert described.num_kv_slots == 64 * 16
        assert await texts_of(process, pair[1]) == expected
        assert process.ready["pid"] == process.popen.pid
        [other] = ranks_of(process)
        other.kill()
        assert process.popen.wait(GONE_SECONDS) == 1
        [said] = [line for line in process.stderr().splitlines() if line.startswith("error: ")]
        assert f"rank 1 of the 2 that run the model (pid {other.pid}) was killed by SIGKILL" in said
        assert_gone([other])


async def test_torchrun_starts_the_ranks_as_well_and_nothing_of_a_drained_replica_is_left(
    tiny_pair: tuple[Path, Path],
    pair: tuple[LoadedModel, LoadedModel],
    expected: list[list[int]],
    tmp_path: Path,
) -> None:
    flags = ("--target", str(tiny_pair[0]), "--parallelism", "2", "--kv-blocks", "64", "--dtype", "float32")
    folders = [tmp_path / name for name in ("torchrun", "alone")]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        under_torchrun, alone = (
            stack.enter_context(started("verify_service", folder, *flags, launcher=launcher))
            for folder, launcher in zip(folders, (TORCHRUN, ()), strict=True)
        )
        assert await texts_of(under_torchrun, pair[1]) == expected
        ranks = ranks_of(under_torchrun)
        assert len(ranks) == 2
        assert ranks[0].pid == under_torchrun.ready["pid"]
        under_torchrun.popen.send_signal(signal.SIGTERM)
        assert_gone(ranks)
        under_torchrun.popen.wait(GONE_SECONDS)
        assert '"event": "stopped"' in under_torchrun.stderr()

        ranks, began = ranks_of(alone), time.monotonic()
        assert len(ranks) == 1
        alone.popen.send_signal(signal.SIGTERM)
        assert alone.popen.wait(GONE_SECONDS) == 0
        assert time.monotonic() - began < 5
        assert_gone(ranks)


def test_the_other_ranks_do_not_outlive_a_killed_one_that_started_them(tiny_pair: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "verify_service", "--target", str(tiny_pair[0]), "--parallelism", "3"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as rank_0:
        process, deadline = psutil.Process(rank_0.pid), time.monotonic() + GONE_SECONDS
        while len(others := process.children()) < 2:
            assert rank_0.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        rank_0.kill()
        assert_gone(others)


def test_a_number_of_ranks_that_cannot_be_is_refused(tiny_pair: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "verify_service", "--target", str(tiny_pair[0]), "--parallelism", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    assert "2 KV heads, which 3 ranks cannot share evenly; expected a --parallelism of 1 or 2\n" in ended.stderr
    assert "Traceback" not in ended.stderr
