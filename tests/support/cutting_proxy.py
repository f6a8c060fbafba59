"""A TCP proxy that cuts a connection in the middle of an answer, and lets nobody through until it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttingProxy:
    """Cuts the first answer to a request that begins with ``request``, after so many bytes."""

    def __init__(self, upstream: tuple[str, int], request: bytes, after_bytes: int) -> None:
        self._upstream = upstream
        self._request = request
        self._after_bytes = after_bytes
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.has_cut = threading.Event()
        self.may_pass = threading.Event()
        self.may_pass.set()

    def serve(self) -> None:
        """Until `close`."""
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                if not self.may_pass.is_set():
                    client.close()
                    continue
                server = socket.create_connection(self._upstream)
                watched = threading.Event()
                for pipe in ((self._ask, client, server, watched), (self._answer, server, client, watched)):
                    threading.Thread(target=pipe[0], args=pipe[1:], daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _ask(self, client: socket.socket, server: socket.socket, watched: threading.Event) -> None:
        with suppress(OSError):
            while content := client.recv(65536):
                if not self.may_pass.is_set():  # on a connection that was kept open
                    break
                if content.startswith(self._request) and not self.has_cut.is_set():
                    watched.set()
                server.sendall(content)
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, server: socket.socket, client: socket.socket, watched: threading.Event) -> None:
        num_bytes = 0
        with suppress(OSError):
            while content := server.recv(4096):
                if watched.is_set() and not self.has_cut.is_set():
                    num_bytes += len(content)
                    if num_bytes > self._after_bytes:
                        self.may_pass.clear()
                        self.has_cut.set()
                        break
                client.sendall(content)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def cutting(url: str, request: bytes, after_bytes: int) -> Iterator[CuttingProxy]:
    """A proxy in front of the server at ``url``."""
    host, port = url.removeprefix("http://").rstrip("/").rsplit(":", 1)
    proxy = CuttingProxy((host, int(port)), request, after_bytes)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
