"""``tandem bench`` against a stack that runs already, and with one of its own: the command, called in this process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tandem.bench import records
from tandem.cli.bench import bench
from tandem.errors import InvalidArgument, TandemError, Unavailable
from tests.e2e.running import Up

STAGES = ["draft", "serialise", "wire", "queue", "forward", "judge", "commit", "emit", "period", "outside"]
Options = dict[str, Any]


@pytest.fixture
def named(tiny_pair: tuple[Path, Path]) -> Options:
    """The pair that the stack serves."""
    target, draft = tiny_pair
    return {"target": str(target), "draft": str(draft), "dtype": "float32"}


def measured(out: Path, **options: Any) -> dict[str, Any]:
    """A short run's ``bench.json``."""
    num_threads = torch.get_num_threads()
    try:
        bench(out=out, methods="speculative", max_tokens="6-9", requests=2, quiet=True, **options)
    finally:
        torch.set_num_threads(num_threads)
    return json.loads((out / "bench.json").read_text())


def test_everybody_does_the_same_work_and_a_run_goes_on(stack: Up, named: Options, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = named | {
        "address": stack.told["grpc"][0],
        "peers": "generate,static-batch,assisted",
        "concurrency": "1,2",
    }
    found = measured(out, **asked, repetitions=1)
    rows = {(row["contender"], row["concurrency"]): row for row in found["figures"]}
    ours = {(f"{place}:speculative", level) for place in ("services", "local") for level in (1, 2)}
    assert set(rows) == ours | {("generate", 1), ("assisted", 1), ("static-batch", 2)}
    for level in (1, 2):
        work = {(row["num_requests"], row["num_tokens"]) for (_, at), row in rows.items() if at == level}
        assert len(work) == 1
        ((num_requests, num_tokens),) = work
        assert num_requests == 2
        assert 12 <= num_tokens <= 18
    assert [agreement["share"] for agreement in found["agreement"]] == [1.0] * 4  # greedy, and lossless
    for rounds in found["rounds"]:
        assert list(rounds["stages"]) == STAGES
        medians = {name: spread["p50"] for name, spread in rounds["stages"].items()}
        assert min(medians[name] for name in ("draft", "serialise", "forward", "judge", "commit", "emit")) > 0
        assert medians["period"] > medians["outside"]
    assert {path.name for path in out.glob("*.png")} == {"bench-speed.png", "bench-rounds.png"}

    first = (out / records.FILE_NAME).read_bytes()
    longer = measured(out, **asked, repetitions=2)
    assert (out / records.FILE_NAME).read_bytes().startswith(first)
    assert longer["figures"][0]["num_requests"] == 4
    with pytest.raises(InvalidArgument, match=re.escape("another draft_length (4, now 2)")):
        measured(out, **asked, repetitions=2, draft_length=2)


def test_it_starts_a_stack_of_its_own_and_reads_its_memory(named: Options, tmp_path: Path) -> None:
    found = measured(tmp_path / "run", **named, places="services", peers="none", concurrency="1", repetitions=2)
    sizes = found["resident_bytes"]
    assert set(sizes) == {"draft", "verify", "orchestrator", "store"}
    assert all(len(each) == 2 and each[0] > 2**20 for each in sizes.values())


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"peers": "vllm"}, InvalidArgument, "peer 'vllm' is not known; expected generate, static-batch"),
        ({"dtype": "int4"}, InvalidArgument, "dtype 'int4' is not known"),
        ({"max_tokens": "0"}, InvalidArgument, "max-tokens is '0'"),
        ({"concurrency": "many"}, InvalidArgument, "--concurrency is 'many'; expected whole numbers"),
        ({"widen": 3}, InvalidArgument, "64 wide already"),
        ({"address": "127.0.0.1:1"}, Unavailable, "127.0.0.1:1"),
        ({"address": "127.0.0.1:1", "places": "local"}, InvalidArgument, "--places leaves services out"),
    ],
)
def test_what_cannot_be_measured_is_told(named: Options, options: Options, error: type[TandemError], told: str) -> None:
    with pytest.raises(error, match=re.escape(told)):
        bench(**({"peers": "none", "quiet": True} | named | options))


def test_peers_run_the_pair_that_is_served(stack: Up, named: Options) -> None:
    asked = {"address": stack.told["grpc"][0], "quiet": True}
    with pytest.raises(InvalidArgument, match="its files must be on this machine"):
        bench(**asked, dtype="float32")  # the shipped pair, which is not the one served
    with pytest.raises(InvalidArgument, match="give --dtype float32"):
        bench(**asked | named | {"dtype": "bfloat16"})
