"""What compiling needs, where it keeps what it made, and how it says that it cannot."""

from __future__ import annotations

import copy
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tandem.engine import readout
from tandem.engine.compiled import selecting
from tandem.engine.compiled.compiling import LIBRARY, compiled_package
from tandem.engine.compiled.native import cache_folder, kept, load_native
from tandem.engine.hosting import host_model
from tandem.engine.tree_model import Row
from tandem.errors import InvalidArgument
from tests.engine.conftest import COMPILED, built, need_a_compiler
from tests.engine.mirror import chain
from tests.engine.tiny_models import VOCAB_SIZE, compiled
from tests.support.tiny_pair import make_tokenizer
from verify_service.settings import VerifySettings


def assert_nothing_is_kept() -> None:
    assert [path for path in cache_folder().iterdir() if path.suffix != ".lock"] == []


@pytest.fixture
def _not_built_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("tandem.engine.compiled.compiling.load_operator", load_native.__wrapped__)


@pytest.mark.usefixtures("_not_built_yet")
def test_no_compiler_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InvalidArgument, match=r"no-such-compiler cannot be run.*install one"):
        compiled_package(copy.deepcopy(built("llama").plain))
    assert_nothing_is_kept()


@pytest.mark.usefixtures("_not_built_yet")
def test_a_compiler_that_fails_is_told_with_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "old-compiler"
    old.write_text("#!/bin/sh\necho 'error: unrecognized option -std=c++20' >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("CXX", str(old))
    with pytest.raises(InvalidArgument, match=r"unrecognized option -std=c\+\+20; expected g\+\+ 12"):
        compiled_package(copy.deepcopy(built("llama").plain))


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InvalidArgument, match=r"file/tandem, which cannot be written to.*XDG_CACHE_HOME"):
        kept("anything", Path.touch)


def test_what_fails_half_way_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(path: Path) -> None:
        path.write_text("half")
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        kept("thing", fail)
    assert_nothing_is_kept()
    assert kept("thing", lambda path: path.write_text("whole") and None).read_text() == "whole"
    assert kept("thing", fail).read_text() == "whole"


def test_of_two_that_start_together_one_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    begun, builds = threading.Barrier(2), list[Path]()

    def build(path: Path) -> None:
        builds.append(path)
        time.sleep(0.2)  # long enough for the other one to find nothing
        path.write_text("whole")

    def start(_: int) -> str:
        begun.wait()
        return kept("thing", build).read_text()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, range(2))) == ["whole", "whole"]
    assert len(builds) == 1


def test_a_model_is_compiled_once_and_other_weights_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built(f"{COMPILED}:compiled").plain.save_pretrained(tmp_path)
    calls: list[Path] = []

    def compile(model: PreTrainedModel, path: Path) -> None:
        path.touch()
        calls.append(path)

    monkeypatch.setattr("tandem.engine.compiled.compiling._compile", compile)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    other = copy.deepcopy(again)
    assert (compiled_package(again) / LIBRARY).stat().st_size > 0
    assert calls == []
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    package = compiled_package(other)
    package.unlink()
    assert [path.name for path in calls] == [package.name]


def test_the_models_own_weights_are_given_up() -> None:
    need_a_compiler()
    model = compiled(built(COMPILED)).loaded
    assert sum(parameter.nbytes for parameter in model.model.parameters()) == 0
    assert model.num_weight_bytes > 0


@torch.no_grad()
def test_a_host_serves_a_compiled_model(tmp_path: Path) -> None:
    plain = built(COMPILED).plain
    need_a_compiler()
    make_tokenizer(tmp_path)
    plain.save_pretrained(tmp_path)
    hosted = host_model(str(tmp_path), dtype="float32", device="cpu", num_threads=1, num_kv_blocks=8, compile=True)
    tokens = np.arange(20)
    found = hosted.model.candidates([Row(hosted.model.open(), tokens, chain(0, 20), np.arange(20))], 5)
    logits = plain(input_ids=torch.from_numpy(tokens)[None]).logits[0]
    expected = readout.highest(logits, logits, 5)
    np.testing.assert_array_equal(found.ids, expected[1])
    np.testing.assert_allclose(found.logits, expected[0], atol=1e-4)
    hosted.model.check_integrity()


def test_a_start_leaves_nothing_in_the_temporary_folder() -> None:
    """Torch unpacks its own packages there, and leaves them where a process is killed."""
    built(f"{COMPILED}:compiled")
    temporary = set(Path(tempfile.gettempdir()).glob("aotinductor_*"))
    compiled(built(COMPILED))
    assert set(Path(tempfile.gettempdir()).glob("aotinductor_*")) == temporary


def test_other_devices_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="--compile is for CPUs, and the model is on meta"):
        compiled_package(copy.deepcopy(built("llama").plain).to("meta"))


def test_ranks_are_refused() -> None:
    with pytest.raises(
        InvalidArgument, match=r"^--compile is for a target that one process runs, and --parallelism asks for several$"
    ):
        VerifySettings.load(["--compile", "--parallelism", "2"], {})
    assert VerifySettings.load(["--compile"], {}).compile


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("vocab_size", "width"), [(5, 5), (17, 4), (64, 64), (1003, 10), (1003, 300), (50257, 64)])
def test_the_operator_finds_the_same_as_torch(vocab_size: int, width: int, dtype: torch.dtype) -> None:
    need_a_compiler()
    load_native()
    generator = torch.Generator().manual_seed(vocab_size)
    logits = (torch.randn((5, vocab_size), generator=generator) * 3).to(dtype)
    logits[0] = 1.0  # all equal
    logits[1, 1:] = -torch.inf
    logits[2].round_()  # many equal
    expected, found = readout.highest(logits, logits, width), selecting.highest(logits, logits, width)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    exact = torch.logsumexp(logits.double(), dim=1).numpy()
    np.testing.assert_allclose(found[2], exact, rtol=0, atol=2e-6)


def test_the_operator_chooses_from_what_is_ranked_and_normalises_the_rest() -> None:
    need_a_compiler()
    load_native()
    logits = torch.randn((3, 100), generator=torch.Generator().manual_seed(1))
    ranked = torch.full_like(logits, -torch.inf)
    ranked[:, [7, 3]] = torch.tensor([1.0, 2.0])
    values, ids, normaliser = selecting.highest(ranked, logits, 4)
    np.testing.assert_array_equal(ids[:, :2], [[3, 7]] * 3)
    assert (values[:, 2:] == -np.inf).all()
    assert all(len(set(row)) == 4 for row in ids.tolist())
    np.testing.assert_allclose(normaliser, torch.logsumexp(logits.double(), dim=1).numpy(), atol=1e-6)


@pytest.mark.parametrize("strange", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_is_told_by_its_normaliser(strange: float) -> None:
    need_a_compiler()
    load_native()
    logits = torch.randn((3, 50), generator=torch.Generator().manual_seed(1))
    logits[1, 40] = strange
    normaliser = selecting.highest(logits, logits, 5)[2]
    assert np.isfinite(normaliser).tolist() == [True, False, True]


def test_a_tree_of_more_nodes_than_a_word_has_bits() -> None:
    model = built("llama:operator")
    engine = model.engine(num_kv_blocks=64)
    sequence = engine.open()
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, VOCAB_SIZE, 90)
    parents = np.array([*range(-1, 2), *(rng.integers(max(0, node - 9), node) for node in range(3, 90))])
    actual = engine.forward([Row(sequence, tokens, parents, np.arange(90))])
    for node in (2, 63, 64, 65, 89):
        path = [node]
        while parents[path[0]] >= 0:
            path.insert(0, int(parents[path[0]]))
        expected = model.plain_logits(tokens[path])[-1]
        torch.testing.assert_close(actual[node], expected, rtol=0, atol=1e-4)


def test_one_thread_and_two_say_the_same() -> None:
    model = built("llama:operator")
    tokens = np.arange(40) % VOCAB_SIZE
    logits = []
    for num_threads in (1, 2):
        torch.set_num_threads(num_threads)
        try:
            engine = model.engine()
            rows = [Row(engine.open(), tokens + shift, chain(0, 40), np.arange(40)) for shift in range(3)]
            logits.append(engine.forward(rows))
        finally:
            torch.set_num_threads(1)
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-5)
