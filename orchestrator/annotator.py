"""``python -m orchestrator.annotator``: tells Kubernetes which replicas to take first when a pool shrinks.

Of a Deployment that shrinks, the pods with the lowest `controller.kubernetes.io/pod-deletion-cost` go first: here,
those with the fewest sessions. Sessions survive the end of their replica in any case; so fewer have to move.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import kubernetes.client
from kubernetes.client import ApiException
from prometheus_client.parser import text_string_to_metric_families
from urllib3.exceptions import HTTPError

from orchestrator.discovery.cluster import namespace_here, reach
from tandem.errors import InvalidArgument
from tandem.telemetry import PREFIX, configure_logging, logger

COST = "controller.kubernetes.io/pod-deletion-cost"
METRIC = f"{PREFIX}num_requests_running"
METRICS_PORT = 9090
CALL_SECONDS = 5.0

CHANGE_SHARE = 0.1
"""By how much a cost must change to be written again: each writing is work for every watcher of pods."""


class Annotator:
    """Looks at the pods, asks each for its sessions, and writes what has changed."""

    def __init__(self, namespace: str, selector: str) -> None:
        """``namespace``: empty for this pod's own. ``selector``: labels of the pods.

        Raises:
            InvalidArgument: Kubernetes cannot be reached from here.
        """
        self._pods = kubernetes.client.CoreV1Api(reach())
        self._namespace = namespace or namespace_here()
        self._selector = selector
        self._log = logger("orchestrator.annotator")

    def look(self) -> None:
        """One round. What fails is logged, and left to the next one."""
        try:
            answer = self._pods.list_namespaced_pod(
                self._namespace,
                label_selector=self._selector,
                _preload_content=False,
                _request_timeout=CALL_SECONDS,
            )
            pods = [pod for pod in json.loads(answer.data)["items"] or () if _runs(pod)]
        except (ApiException, HTTPError, OSError) as error:
            self._log.warning("pods cannot be listed", reason=_why(error))
            return
        with ThreadPoolExecutor(16, "ask") as asking:
            for pod, sessions in zip(pods, asking.map(num_sessions, pods), strict=True):
                if sessions is not None and _differs(_cost(pod), sessions):
                    self._write(pod["metadata"]["name"], sessions)

    def _write(self, name: str, sessions: int) -> None:
        body = {"metadata": {"annotations": {COST: str(sessions)}}}
        try:
            self._pods.patch_namespaced_pod(
                name, self._namespace, body, _preload_content=False, _request_timeout=CALL_SECONDS
            )
        except (ApiException, HTTPError, OSError) as error:
            self._log.warning("a pod cannot be annotated", pod=name, reason=_why(error))


def num_sessions(pod: Mapping[str, Any]) -> int | None:
    """Sessions at a replica now, as its metrics say; None where it does not answer."""
    ip = pod["status"]["podIP"]
    url = f"http://{f'[{ip}]' if ':' in ip else ip}:{_metrics_port(pod)}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=CALL_SECONDS) as answer:
            text = answer.read().decode()
        found = [family for family in text_string_to_metric_families(text) if family.name == METRIC]
        return int(sum(sample.value for family in found for sample in family.samples)) if found else None
    except (OSError, ValueError):
        return None


def _metrics_port(pod: Mapping[str, Any]) -> int:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == "metrics"), METRICS_PORT)


def _runs(pod: Mapping[str, Any]) -> bool:
    """Whether it is there to be asked, and not on its way out already."""
    return bool(pod["status"].get("podIP")) and "deletionTimestamp" not in pod["metadata"]


def _cost(pod: Mapping[str, Any]) -> int | None:
    written = (pod["metadata"].get("annotations") or {}).get(COST, "")
    return int(written) if written.lstrip("-").isdecimal() else None


def _differs(cost: int | None, sessions: int) -> bool:
    if cost is None or 0 in (cost, sessions):
        return cost != sessions
    return abs(sessions - cost) > CHANGE_SHARE * cost


def _why(error: Exception) -> str:
    if isinstance(error, ApiException):
        return f"the API server answers {error.status} {error.reason}"
    return f"the API server does not answer: {error}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM; returns the exit code: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.annotator", description=__doc__)
    parser.add_argument("--selector", required=True, help="labels of the draft and verify pods")
    parser.add_argument("--namespace", default="", help="where they are; this pod's own namespace if not given")
    parser.add_argument("--every-seconds", type=float, default=10.0, help="how often to look (default: 10)")
    options = parser.parse_args(argv)
    configure_logging("annotator", os.environ.get("TANDEM_LOG_LEVEL", "info"))
    try:
        annotator = Annotator(options.namespace, options.selector)
    except InvalidArgument as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    while not stopping.is_set():
        annotator.look()
        stopping.wait(options.every_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
