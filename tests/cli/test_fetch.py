"""``tandem fetch`` from a hub of the test's own, over HTTP, with and without a token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tandem.errors import ModelRefused
from tandem.fetching import COMPLETE, fetch_model
from tandem.models import shipped

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"pickled",
    "modeling_own.py": b"import os",
}


class Hub(ThreadingHTTPServer):
    """As much of the Hugging Face hub as a download asks for, with one model that takes a token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token = "hf_test"
        self.sent: list[str] = []
        self.broken: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "not for you"})
        path = self.path.partition("?")[0]
        if path in ("/api/models/owner/name/revision/main", "/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in FILES]
            return self.answer(200, json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode())
        if path == f"/api/models/owner/name/tree/{COMMIT}":
            tree = [{"type": "file", "path": name, "size": len(FILES[name]), "oid": COMMIT} for name in FILES]
            return self.answer(200, json.dumps(tree).encode())
        name = path.removeprefix(f"/owner/name/resolve/{COMMIT}/")
        if name in self.server.broken:
            return self.answer(410, b"")
        if name not in FILES:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        if self.command == "GET":
            self.server.sent.append(name)
        headers = {"ETag": f'"{sha256(FILES[name]).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self.answer(200, FILES[name], headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(hub: Hub, into: Path, token: str = "hf_test", model: str = "owner/name") -> subprocess.CompletedProcess[str]:
    address = f"http://127.0.0.1:{hub.server_address[1]}"
    environ = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": token, "HF_HOME": str(into.parent / "home")}
    command = [sys.executable, "-m", "tandem.cli.main", "fetch", model, "--into", str(into)]
    environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=60)


def test_a_model_is_fetched_once_without_what_could_run(hub: Hub, tmp_path: Path) -> None:
    into = tmp_path / "models" / "owner--name"
    done = fetch(hub, into)
    assert (done.returncode, done.stdout) == (0, f"owner/name is in {into}\n"), done.stderr
    assert {path.name for path in into.iterdir() if path.is_file()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        COMPLETE,
    }
    assert (into / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    sent = len(hub.sent)
    again = fetch(hub, into)
    assert again.stdout == f"owner/name is in {into} already\n"
    assert len(hub.sent) == sent


def test_without_its_token_a_model_is_refused_and_nothing_is_marked(hub: Hub, tmp_path: Path) -> None:
    into = tmp_path / "model"
    done = fetch(hub, into, token="hf_wrong")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the hub does not give owner/name: ")
    assert "HF_TOKEN" in done.stderr
    assert "hf_wrong" not in done.stderr
    assert not (into / COMPLETE).exists()


def test_what_was_begun_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    into = tmp_path / "model"
    hub.broken = {"model.safetensors"}
    done = fetch(hub, into)
    assert done.returncode == 1
    assert "can be tried again" in done.stderr
    assert not (into / COMPLETE).exists()
    hub.broken = set()
    assert fetch(hub, into).returncode == 0
    assert hub.sent.count("config.json") == 1
    assert (into / COMPLETE).read_text() == "owner/name\n"


def test_a_folder_is_copied(tmp_path: Path) -> None:
    target, draft = shipped("target"), shipped("draft")
    fetch_model(str(target), tmp_path / "model")
    for path in target.glob("*.safetensors"):
        assert (tmp_path / "model" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(ModelRefused, match="a folder of its own"):
        fetch_model(str(draft), tmp_path / "model")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(ModelRefused, match=r"\*\.safetensors"):
        fetch_model(str(tmp_path / "empty"), tmp_path / "model")
    assert not (tmp_path / "model" / COMPLETE).exists()
