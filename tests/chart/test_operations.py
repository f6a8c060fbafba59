"""docs/operations.md: its commands are ones that helm takes, what they set is there, and its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT, helm_binary, of_kind, pods

DOC = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = [found for found in re.findall(r"`(helm (?:install|upgrade) [^`]+)`", DOC) if "…" not in found]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def objects_of(command: str) -> dict[tuple[str, str], Any]:
    """What an install or upgrade would make."""
    _, _, release, chart, *flags = shlex.split(command)
    assert ROOT / chart == CHART
    flags = [flag for flag in flags if flag != "--reuse-values"]
    done = subprocess.run(
        [helm_binary(), "template", release, str(CHART), *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout) if one}


def test_a_second_pool_as_the_page_adds_it() -> None:
    added, told = (objects_of(command) for command in COMMANDS)
    assert {name for kind, name in added if kind == "Deployment"} == {"tandem-b-verify"}
    orchestrator = told["Deployment", "tandem-orchestrator"]["spec"]["template"]
    addresses = {"kubernetes:///tandem-verify:grpc", "kubernetes:///tandem-b-verify:grpc"}
    (flag,) = [one for one in orchestrator["spec"]["containers"][0]["args"] if one.startswith("--verify=")]
    assert set(flag.removeprefix("--verify=").split(",")) == addresses
    assert ("Service", "tandem-b-verify") in added
    policy = added["NetworkPolicy", "tandem-b-verify"]["spec"]["ingress"][0]["from"]
    labels = orchestrator["metadata"]["labels"].items()
    assert any(one["podSelector"]["matchLabels"].items() <= labels for one in policy)


def test_values_that_are_named_exist() -> None:
    roots = "|".join(VALUES)
    named = re.findall(rf"`((?:{roots})(?:\.\w+)+)(?::[^`]*)?`", DOC)
    assert len(named) > 15
    for name in named:
        at: Any = VALUES
        for part in name.split("."):
            assert part in at, name
            at = at[part]


def test_targets_that_are_told_are_the_defaults() -> None:
    rows = re.findall(r"^\| (\w*) ?\| `tandem:(\w+)` \| ([\d.]+) \|$", DOC, re.MULTILINE)
    told = {metric: float(value) for _, metric, value in rows}
    targets = {role: VALUES[role]["autoscaling"]["targets"] for role in ("verify", "draft", "orchestrator")}
    assert told == {
        "num_rounds_waiting": targets["verify"]["roundsWaiting"],
        "kv_cache_usage_perc": targets["verify"]["kvUsage"],
        "busy_share": targets["draft"]["busyShare"],
        "queue_wait_seconds": targets["draft"]["queueWaitSeconds"],
        "speculation_deficit": targets["draft"]["speculationDeficit"],
        "num_requests_running": targets["orchestrator"]["streams"],
    }


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/decisions/0019-the-chart.md", "helm/tandem/README.md"])
def test_links_lead_to_headings(page: str) -> None:
    path = ROOT / page
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", path.read_text()):
        target = (path.parent / link) if link else path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, anchor


def test_the_annotator_takes_its_flags_and_looks_at_replicas_only() -> None:
    made = pods("two-pools")["annotator"]["spec"]["containers"][0]
    assert made["command"] == ["python", "-m", "orchestrator.annotator"]
    command = [sys.executable, *made["command"][1:], *made["args"]]
    environment = {**os.environ, "KUBECONFIG": "/nowhere"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "Kubernetes cannot be reached" in ran.stderr
    (selector,) = [one.removeprefix("--selector=") for one in made["args"]]
    stack, components = re.fullmatch(
        r"app\.kubernetes\.io/part-of=(\w+),app\.kubernetes\.io/component in \(([\w,]+)\)", selector
    ).groups()  # type: ignore[union-attr]
    labels = {name: pod["metadata"]["labels"] for name, pod in pods("two-pools").items()}
    assert {own["app.kubernetes.io/part-of"] for own in labels.values()} == {stack}
    assert set(components.split(",")) == {"verify", "draft"}
    source = (ROOT / "orchestrator" / "annotator.py").read_text()
    (role,) = [one for one in of_kind("two-pools", "Role") if one["metadata"]["name"].endswith("-annotator")]
    calls = set(re.findall(r"\.(list|patch|read|watch|delete|create|replace)_namespaced_pod\b", source))
    assert calls == set(role["rules"][0]["verbs"]), json.dumps(role)
