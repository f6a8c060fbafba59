"""As much of a Kubernetes API server as clients of EndpointSlices and pods meet: lists, watches, patches, and failures.

A real HTTP server on a free port. Watches are answered from a log of changes, as the API's are from etcd; what is
compacted away is answered with 410.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SLICES, PODS = "endpointslices", "pods"


class KubeApi:
    """One namespace, ``models``."""

    namespace = "models"

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        """Queries of the lists and watches that were answered, ``what`` among them."""
        self.patches: list[tuple[str, Any]] = []
        self.refuses: int | None = None
        """A status that every request is answered with."""
        self.num_watches = 0
        self.last_sent = 0
        """Version of the last event that went out to a watch."""
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._log: list[tuple[int, str, str, dict[str, Any]]] = []
        self._version = 100
        self._oldest = 100
        self._dropped = 0
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def start(self) -> None:
        """Serves, on the port that it had before."""
        api = self

        class Handler(_Handler):
            served = api

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def is_away(self) -> bool:
        """Whether nobody is answered, on connections that are open neither."""
        return self._server is None

    def stop(self) -> None:
        """Is away, for those who watch as well."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()
        self.drop_watches()

    def kubeconfig(self, folder: Path) -> Path:
        """A file by which clients find it."""
        path = folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": self.namespace}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {"token": "none"}}],
        }
        path.write_text(json.dumps(content))
        return path

    def put(self, what: str, name: str, labels: dict[str, str], **fields: Any) -> None:
        """Makes or changes an object."""
        with self._changed:
            self._version += 1
            metadata = {"name": name, "labels": labels, "resourceVersion": str(self._version)}
            kind = "MODIFIED" if (what, name) in self._objects else "ADDED"
            self._objects[what, name] = {"metadata": metadata, **fields}
            self._note(what, kind, self._objects[what, name])

    def put_slice(self, service: str, name: str, endpoints: list[dict[str, Any]] | None, **fields: Any) -> None:
        """An EndpointSlice of a service, at port 7070, which is named grpc, unless ``fields`` say otherwise."""
        values: dict[str, Any] = {"addressType": "IPv4", "ports": [{"name": "grpc", "port": 7070, "protocol": "TCP"}]}
        labels = {"kubernetes.io/service-name": service}
        self.put(SLICES, name, labels, endpoints=endpoints, **(values | fields))

    def delete(self, what: str, name: str) -> None:
        """Takes an object away."""
        with self._changed:
            self._version += 1
            found = self._objects.pop((what, name))
            found = found | {"metadata": found["metadata"] | {"resourceVersion": str(self._version)}}
            self._note(what, "DELETED", found)

    def bookmark(self) -> int:
        """Tells all watches how far they have come; returns that."""
        with self._changed:
            self._version += 50
            self._note("", "BOOKMARK", {"metadata": {"resourceVersion": str(self._version)}})
            return self._version

    def compact(self) -> None:
        """Forgets what has changed so far."""
        with self._changed:
            self._oldest = self._version + 1
            self._version += 1

    def drop_watches(self) -> None:
        """Ends every watch under way, as servers and proxies do."""
        with self._changed:
            self._dropped += 1
            self._changed.notify_all()

    def fail_watches(self) -> None:
        """Ends every watch with an error event that says its place is forgotten."""
        with self._changed:
            self.compact()
            self._note("", "ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})

    def object(self, what: str, name: str) -> dict[str, Any]:
        """An object as it is now."""
        with self._changed:
            return self._objects[what, name]

    def _note(self, what: str, kind: str, found: dict[str, Any]) -> None:
        self._log.append((self._version, what, kind, found))
        self._changed.notify_all()

    def list(self, what: str, wanted: str) -> dict[str, Any]:
        with self._changed:
            items = [one for (kind, _), one in self._objects.items() if kind == what and _fits(one, wanted)]
            return {"items": items or None, "metadata": {"resourceVersion": str(self._version)}}

    def watch(self, what: str, wanted: str, version: int, seconds: float) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + seconds
        with self._changed:
            if version < self._oldest - 1:
                yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
                return
            dropped, at = self._dropped, 0
            self.num_watches += 1
        try:
            while True:
                with self._changed:
                    if dropped != self._dropped or time.monotonic() >= until:
                        return
                    news = self._log[at:]
                    at = len(self._log)
                    if not news:
                        self._changed.wait(0.05)
                        continue
                for changed, about, kind, found in news:
                    if changed > version and about in ("", what) and (not about or _fits(found, wanted)):
                        yield {"type": kind, "object": found}
                        self.last_sent = changed
                        if kind == "ERROR":
                            return
        finally:
            self.num_watches -= 1


class _Handler(BaseHTTPRequestHandler):
    served: KubeApi
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        *_, namespace, what = parts.path.split("/")
        if self.served.is_away:
            self.close_connection = True
            return
        if self.served.refuses is not None or namespace != self.served.namespace:
            self._answer(self.served.refuses or 404, {"kind": "Status", "message": "no"})
            return
        self.served.requests.append(query | {"what": what})
        wanted = query.get("labelSelector", "")
        if query.get("watch", "").lower() != "true":
            self._answer(200, self.served.list(what, wanted))
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        version, seconds = int(query["resourceVersion"]), float(query["timeoutSeconds"])
        try:
            for event in self.served.watch(what, wanted, version, seconds):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
            if self.served.is_away:
                raise ConnectionAbortedError
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.rsplit("/", 1)[1].split("?")[0]
        self.served.patches.append((name, body))
        found = self.served.object(PODS, name)
        annotations = found["metadata"].get("annotations", {}) | body["metadata"]["annotations"]
        found["metadata"]["annotations"] = annotations
        self._answer(200, found)

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _fits(found: dict[str, Any], selector: str) -> bool:
    labels = found["metadata"]["labels"]
    for name, several, one in re.findall(r"([\w./-]+)(?: in \(([^)]*)\)|=([\w.-]+))", selector):
        if labels.get(name) not in (several.split(",") if several else [one]):
            return False
    return True


def endpoint(ip: str, *, ready: bool = True, terminating: bool = False) -> dict[str, Any]:
    """An endpoint of a slice."""
    return {"addresses": [ip], "conditions": {"ready": ready, "serving": ready, "terminating": terminating}}


@contextmanager
def running_kube_api() -> Iterator[KubeApi]:
    """An API server, for as long as the block lasts."""
    api = KubeApi()
    api.start()
    try:
        yield api
    finally:
        api.stop()
