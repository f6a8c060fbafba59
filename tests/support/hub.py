"""As much of the Hugging Face hub as a download meets: a model's description, and its files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """One model, ``someone/model``."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.token = ""
        """What is asked for, if anything."""
        self.downloads: list[str] = []
        self.fails: set[str] = set()
        """Files that cannot be had."""
        hub = self

        class Handler(_Handler):
            served = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub = self.served
        if "/someone/model" not in path:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path in (
            "/api/models/someone/model",
            *(f"/api/models/someone/model/revision/{r}" for r in ("main", COMMIT)),
        ):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in hub.files.items()]
            about = {"id": "someone/model", "modelId": "someone/model", "sha": COMMIT, "siblings": siblings}
            self._answer(200, json.dumps(about | {"private": False, "tags": [], "downloads": 0}).encode())
        elif path.startswith(f"/api/models/someone/model/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in hub.files.items()
            ]
            self._answer(200, json.dumps(tree).encode())
        elif path.startswith("/api/models/someone/model/revision/"):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._file(path.removeprefix(f"/someone/model/resolve/{COMMIT}/"))

    def _file(self, name: str) -> None:
        content = self.served.files[name]
        if name in self.served.fails:
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        etag = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if self.command == "GET":
            self.served.downloads.append(name)
        self._answer(206 if begin else 200, content[begin:], etag)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in (headers or {}).items():
            self.send_header(header, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running_hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """A hub, for as long as the block lasts."""
    hub = Hub(files)
    try:
        yield hub
    finally:
        hub.close()
