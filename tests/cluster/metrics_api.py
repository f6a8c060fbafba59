"""What Prometheus and its adapter are to an HPA: the API of custom metrics, scraped from the pods as it is asked.

A metric's name there is the exported one with `_` for `:`, as the chart's rules for the adapter have it.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import urllib.parse
import urllib.request
from collections import defaultdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from kubernetes import client

GROUP_VERSION = "custom.metrics.k8s.io/v1beta1"
REGISTRATION = "v1beta1.custom.metrics.k8s.io"
METRICS_PORT = 9090


class MetricsApi:
    """Serves the API, registered with the API server until `close`."""

    def __init__(self, api: client.ApiClient, namespace: str, names: set[str], folder: Path) -> None:
        """``names``: the metrics that are known, as an HPA calls them."""
        self.names = names
        self.seen: dict[str, float] = defaultdict(float)
        """The highest sum over a pool that was answered, by metric."""
        self._core = client.CoreV1Api(api)
        self._registrations = client.ApiregistrationV1Api(api)
        self._namespace = namespace
        self._folder = folder
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost", "127.0.0.1").configure_cert(context)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers that gave up waiting
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        port = self._server.server_address[1]
        outside = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        self._core.create_namespaced_service(self._namespace, {"metadata": {"name": "metrics"}, "spec": outside})
        spec = {
            "group": "custom.metrics.k8s.io",
            "version": "v1beta1",
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": "metrics", "namespace": self._namespace, "port": port},
        }
        self._registrations.create_api_service({"metadata": {"name": REGISTRATION}, "spec": spec})

    def close(self) -> None:
        if self._server is not None:
            self._registrations.delete_api_service(REGISTRATION)
            self._server.shutdown()
            self._server.server_close()

    def answer(self, path: str, query: dict[str, list[str]]) -> dict[str, Any] | None:
        """The object at a path; None where there is none."""
        if path == f"/apis/{GROUP_VERSION}":
            known = [
                {
                    "name": f"pods/{name}",
                    "namespaced": True,
                    "kind": "MetricValueList",
                    "singularName": "",
                    "verbs": ["get"],
                }
                for name in sorted(self.names)
            ]
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": known}
        found = re.fullmatch(rf"/apis/{GROUP_VERSION}/namespaces/([^/]+)/pods/\*/([^/]+)", path)
        if found is None or found[2] not in self.names:
            return None
        pods = self._core.list_namespaced_pod(found[1], label_selector=query.get("labelSelector", [""])[0]).items
        values = {pod.metadata.name: scrape(pod.status.pod_ip).get(found[2]) for pod in pods if pod.status.pod_ip}
        self.seen[found[2]] = max(self.seen[found[2]], sum(value or 0.0 for value in values.values()))
        return {
            "kind": "MetricValueList",
            "apiVersion": GROUP_VERSION,
            "metadata": {},
            "items": [
                {
                    "describedObject": {"kind": "Pod", "namespace": found[1], "name": name, "apiVersion": "/v1"},
                    "metricName": found[2],
                    "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "value": f"{int(value * 1000)}m",
                }
                for name, value in values.items()
                if value is not None
            ],
        }


def scrape(ip: str) -> dict[str, float]:
    """What a pod exports now, summed over labels, by the adapter's names; nothing where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{ip}:{METRICS_PORT}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    sums: dict[str, float] = defaultdict(float)
    for line in lines:
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            sums[name.partition("{")[0].replace(":", "_")] += float(value)
    return sums


def _handler(served: MetricsApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            path = urllib.parse.unquote(url.path).rstrip("/")
            found = served.answer(path, urllib.parse.parse_qs(url.query))
            body = json.dumps(
                found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
