"""A model on two ranks, this process and another one, against the library's own forward of the whole model."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from transformers import AutoConfig

from tandem.decoding.values import Decoding, Sampling, Speculation
from tandem.engine.engine import Engine
from tandem.engine.families import attention_shape
from tandem.engine.hosting import HostedModel, host_model
from tandem.engine.loading import load_model
from tandem.engine.packing import PackedLinear
from tandem.engine.place import Place
from tandem.engine.proposer import Proposer
from tandem.engine.ranks import Ranks
from tandem.engine.tree_model import Row
from tandem.engine.verifier import Verifier
from tandem.errors import InvalidArgument, InvariantBroken, ModelRefused, Unavailable
from tests.engine.mirror import Mirror, chain, feed, ints
from tests.engine.tiny_models import TINY, VOCAB_SIZE, Tiny, tiny
from tests.support.decode import rounds_of
from tests.support.tiny_pair import make_tokenizer

FAMILIES = [
    name
    for name, settings in TINY.items()
    if name in (settings["model_type"], "qwen2-windows-in-some-layers")
    and AutoConfig.for_model(settings["model_type"]).base_model_tp_plan
]
ALL_HEADS_ON_EACH = {"olmo2", "phi3"}
"""Families whose heads are mixed before they attend: the library's plan splits their weights only."""


class TwoRanks:
    """This process is rank 0, of one model after another, and a process that lasts is rank 1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = folder / "tokenizer"
        make_tokenizer(self._tokenizer)
        self.other = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.following"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            text=True,
        )

    def saved(self, name: str) -> tuple[Tiny, Path]:
        """A model whose KV heads two can share, and its folder."""
        model, folder = (
            tiny(name, **({"num_key_value_heads": 2} if "num_key_value_heads" in TINY[name] else {})),
            self._folder / name,
        )
        model.plain.save_pretrained(folder)
        for file in self._tokenizer.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return model, folder

    def place(self, folder: Path, dtype: str = "float32") -> Place:
        """Rank 0's, once rank 1 was told to run the model."""
        listener = socket.create_server(("127.0.0.1", 0))
        assert self.other.stdin is not None
        print(listener.getsockname()[1], dtype, folder, file=self.other.stdin, flush=True)
        return Place(size=2, local_size=2, listener=listener, check_others=self._check)

    def _check(self) -> None:
        if (code := self.other.poll()) is not None:
            raise InvariantBroken(f"rank 1 ended with {code}")

    def close(self) -> None:
        self.other.kill()
        self.other.wait()
        assert self.other.stdin is not None
        self.other.stdin.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRanks]:
    with pytest.MonkeyPatch.context() as patch:
        if any(name == "lo" for _, name in socket.if_nameindex()):
            patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        ranks = TwoRanks(tmp_path_factory.mktemp("ranks"))
        yield ranks
        ranks.close()


def test_most_families_can_be_split() -> None:
    assert {"llama", "qwen2", "qwen3", "mistral", "gemma"} <= set(FAMILIES)
    assert not {"gpt2", "opt"} & set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_two_ranks_compute_what_one_does(name: str, two: TwoRanks) -> None:
    model, folder = two.saved(name)
    hosted = host_model(
        str(folder), dtype="float32", device="cpu", num_threads=1, num_kv_blocks=64, place=two.place(folder)
    )
    try:
        _pieces_trees_moves_and_rollbacks(model, hosted)
        _same_tokens(model, hosted)
        _same_model(folder, hosted, everything_on_each=name in ALL_HEADS_ON_EACH)
        hosted.check()
    finally:
        dist.destroy_process_group()


def _pieces_trees_moves_and_rollbacks(model: Tiny, hosted: HostedModel) -> None:
    engine = hosted.model
    assert isinstance(engine, Engine)
    rng = np.random.default_rng(3)
    first, second = Mirror(engine), Mirror(engine)
    feed(model, engine, [(first, first.row(rng.integers(0, VOCAB_SIZE, 19), chain(0, 19)))])
    first.settle(list(range(19)))
    feed(
        model,
        engine,
        [
            (first, first.row(ints(3, 4, 5, 6, 7), ints(-1, -1, 0, 1, 3))),
            (second, second.row(rng.integers(0, VOCAB_SIZE, 5), chain(0, 5))),
        ],
    )
    feed(model, engine, [(first, first.row(ints(8, 9), ints(4, 2)))])
    first.settle([1, 3, 4, 5])  # none of them lies where it will be
    second.settle([0, 1, 2, 3, 4])
    feed(model, engine, [(mirror, mirror.row(ints(1, 2), ints(-1, 0))) for mirror in (second, first)])
    first.settle([0])
    second.rollback(2)
    feed(model, engine, [(mirror, mirror.row(ints(7), ints(-1))) for mirror in (first, second)])
    long = Mirror(engine)
    row = long.row(rng.integers(0, VOCAB_SIZE, 90), chain(0, 90), ints(89))
    feed(model, engine, [(long, row)])
    for mirror in (first, second, long):
        engine.close(mirror.sequence)
    engine.check_integrity()


def _same_tokens(model: Tiny, hosted: HostedModel) -> None:
    decodings = [
        Decoding(Sampling(temperature, 8, 0.95, seed=seed), Speculation(method, 3, 3), 1 << 20)
        for seed, method in enumerate(["autoregressive", "speculative", "mtjd", "mtad", "mmtad"])
        for temperature in (0.0, 1.0)
    ]
    texts = []
    for target in (hosted.model, model.engine(64, 16)):
        rounds = rounds_of(Verifier(target), Proposer(model.engine(64, 16)), [3, 1, 4, 1, 5], 16, decodings)
        texts.append([[token for _, outcome in mine for token in outcome.token_ids] for mine in rounds])
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts[0]}) > 2


def _run_by(engine: Engine) -> nn.Module:
    assert isinstance(engine._run, partial)
    model = engine._run.args[0]
    assert isinstance(model, nn.Module)
    return model


def _same_model(folder: Path, hosted: HostedModel, *, everything_on_each: bool) -> None:
    whole = load_model(str(folder), dtype="float32", device="cpu")
    engine = hosted.model
    assert isinstance(engine, Engine)
    assert engine.identity == whole.identity
    assert hosted.weights_digest == whole.identity.weights_digest
    assert any(isinstance(layer, PackedLinear) for layer in whole.model.modules())
    assert not any(
        isinstance(layer, PackedLinear) for layer in _run_by(engine).modules()
    )  # each of its layers is split
    num_kv_heads = attention_shape(whole.model.config).num_kv_heads
    assert engine._kv.shape.num_kv_heads == (num_kv_heads if everything_on_each else num_kv_heads // 2)


@pytest.mark.parametrize(
    ("name", "size", "expected"), [("gpt2", 2, "no plan"), ("llama", 3, "1 or 2$"), ("llama", 4, "2 KV heads")]
)
def test_what_cannot_be_split_is_refused_before_anybody_is_met(
    name: str, size: int, expected: str, tmp_path: Path
) -> None:
    tiny(name).plain.save_pretrained(tmp_path)
    with pytest.raises(ModelRefused, match=expected):
        load_model(str(tmp_path), device="cpu", ranks=Ranks(Place(size=size, local_size=size)))


def test_another_device_or_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks(Place(size=2, local_size=2))
    with pytest.raises(
        InvalidArgument, match=r"--device cuda:1 does not go with --parallelism 2.*expected auto or cpu"
    ):
        ranks.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InvalidArgument, match=r"needs 2 GPUs here.*there are 1"):
        ranks.device("auto")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InvalidArgument, match="needs the package accelerate"):
        ranks.device("auto")


def test_bfloat16_stays_close(two: TwoRanks) -> None:
    model, folder = two.saved("llama")
    place = two.place(folder, "bfloat16")
    hosted = host_model(str(folder), dtype="bfloat16", device="cpu", num_threads=1, num_kv_blocks=64, place=place)
    try:
        engine = hosted.model
        assert isinstance(engine, Engine)
        prompt = np.random.default_rng(5).integers(0, VOCAB_SIZE, 12)
        actual = engine.forward([Row(engine.open(), prompt, chain(0, 12), np.arange(12))])
    finally:
        dist.destroy_process_group()
    expected = model.plain_logits(prompt)
    assert actual.dtype == torch.bfloat16
    assert (actual.float() - expected).abs().max() < 0.15 * expected.std()


def test_a_place_is_told_as_torchrun_tells_it() -> None:
    assert Place.told(2, {"PATH": "/bin"}) is None
    told = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    place = Place.told(4, told)
    assert place is not None
    assert (place.rank, place.size, place.local_rank, place.local_size) == (3, 4, 1, 2)
    with pytest.raises(InvalidArgument, match=r"one of 4 processes.*--parallelism is 2"):
        Place.told(2, told)


def test_a_rank_that_hangs_is_told_by_the_clock_and_one_that_ends_by_its_connections(two: TwoRanks) -> None:
    _, folder = two.saved("llama")
    ranks = Ranks(two.place(folder), pass_seconds=1.0)
    loaded = load_model(str(folder), dtype="float32", device="cpu", ranks=ranks)
    try:
        assert (ranks.least(0), ranks.least(1000)) == (0, 64)  # the other has loaded; what it has room for
        engine = Engine(loaded, num_kv_blocks=64, ranks=ranks)
        sequence = engine.open()

        def ask() -> None:
            engine.forward([Row(sequence, ints(1, 2), ints(-1, 0), ints(1))])

        def keep_checking(seconds: float) -> None:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                ranks.check()
                time.sleep(0.05)

        ask()
        sequence.settle([0, 1])
        ranks.check()

        os.kill(two.other.pid, signal.SIGSTOP)
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        with pytest.raises(InvariantBroken, match="not ended within 1 s"):
            keep_checking(30)
        os.kill(two.other.pid, signal.SIGCONT)
        asking.join(60)
        sequence.settle([0, 1])
        ranks.check()

        two.other.kill()
        two.other.wait()
        for _ in range(2):  # of the first, the second knows
            with pytest.raises(Unavailable, match="ask another"):
                ask()
        assert (sequence.length, sequence.num_unsettled) == (4, 0)
        engine.check_integrity()
        with pytest.raises(InvariantBroken, match="rank 1 ended with -9"):
            ranks.check()
    finally:
        dist.destroy_process_group()
