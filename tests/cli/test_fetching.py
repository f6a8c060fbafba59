"""``tandem fetch``: from a folder, and from a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.errors import InvalidArgument, ModelRefused
from tandem.fetching import COMPLETE, fetch
from tests.support.hub import COMMIT, Hub, running_hub

MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model-00001-of-00002.safetensors": b"1" * 70_000,
    "model-00002-of-00002.safetensors": b"2" * 70_000,
    "model.safetensors.index.json": b"{}",
}
OTHERS = {
    "consolidated.safetensors": b"3",
    "pytorch_model.bin": b"4",
    "modeling_other.py": b"raise SystemExit",
    "onnx/model.safetensors": b"5",
    "README.md": b"6",
}


def quiet(line: str) -> None:
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != COMPLETE}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    for name, content in (MODEL | OTHERS).items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    return made


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub(MODEL | OTHERS) as served:
        yield served


def tandem_fetch(hub: Hub, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    """The command as a process: the library reads its environment when it is imported."""
    environ = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "tandem.cli.main", "fetch", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)


def test_a_folder_is_copied_without_what_is_not_served(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    into = tmp_path / "cache" / "models" / "one"
    assert fetch(str(folder), into, None, said.append)
    assert contents(into) == MODEL
    assert said[-1].startswith("5 of 5: ")
    (folder / "tokenizer.json").write_bytes(b"changed")
    assert not fetch(str(folder), into, None, quiet)
    assert contents(into) == MODEL


def test_a_folder_that_is_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (into / "letter.txt").write_text("dear")
    with pytest.raises(InvalidArgument, match="holds something else"):
        fetch(str(folder), into, None, quiet)
    assert [path.name for path in into.iterdir()] == ["letter.txt"]
    (into / "letter.txt").unlink()
    assert fetch(str(folder), into, None, quiet)
    with pytest.raises(InvalidArgument, match=f"holds {folder}"):
        fetch("someone/model", into, None, quiet)


@pytest.mark.parametrize(
    ("model", "missing", "expected"),
    [("", "config.json", "no config.json"), ("", "*.safetensors", "safetensors"), ("no such: model", "", "neither")],
)
def test_what_is_no_model_is_refused_and_leaves_nothing(
    folder: Path, tmp_path: Path, model: str, missing: str, expected: str
) -> None:
    for path in folder.glob(missing) if missing else ():
        path.unlink()
    into = tmp_path / "into"
    with pytest.raises(ModelRefused, match=expected):
        fetch(model or str(folder), into, None, quiet)
    assert not into.exists()


def test_a_model_of_the_hub_is_fetched_once_and_goes_on_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    into = tmp_path / "into"
    hub.token = "hf_secret"
    hub.fails = {"model-00002-of-00002.safetensors"}
    broken = tandem_fetch(hub, "someone/model", "--into", str(into), token="hf_secret")
    assert (broken.returncode, "error: " in broken.stderr) == (1, True)
    assert not into.exists()
    hub.fails, hub.downloads[:] = set(), []
    done = tandem_fetch(hub, "someone/model", "--into", str(into), token="hf_secret")
    assert (done.returncode, f"someone/model is in {into}" in done.stdout) == (0, True), done.stderr
    assert "model-00001-of-00002.safetensors" not in hub.downloads
    assert contents(into) == MODEL
    assert json.loads((into / COMPLETE).read_text()) == {"model": "someone/model", "revision": None, "commit": COMMIT}
    assert "hf_secret" not in done.stdout + done.stderr
    hub.close()
    again = tandem_fetch(hub, "someone/model", "--into", str(into))
    assert (again.returncode, again.stdout) == (0, f"someone/model is in {into} already\n")


def test_a_gated_model_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_secret"
    refused = tandem_fetch(hub, "someone/model", "--into", str(tmp_path / "into"))
    assert (refused.returncode, "HF_TOKEN" in refused.stderr) == (2, True), refused.stderr
