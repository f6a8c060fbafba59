"""Every values file and switch: two helm versions make the same of it, and every Kubernetes from 1.25 on takes it."""

from __future__ import annotations

import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest

from tests.chart.rendering import (
    CASES,
    CHART,
    NAMESPACE,
    Object,
    helm_binary,
    key,
    of_kind,
    render_with_helm_3,
    rendered,
    values_of,
)

KUBERNETES = ("1.25", "1.30", "1.37")

OTHERS_KINDS = {"Certificate", "PodMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds that others define: Kubernetes has no schemas of them."""


def test_lint() -> None:
    for values in sorted(CHART.glob("values*.yaml")):
        done = subprocess.run(
            [helm_binary(), "lint", "--strict", str(CHART), "--values", str(values)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_helm_4_lints_as_well() -> None:
    import helm_python

    report = helm_python.lint(CHART, strict=True)
    assert report["total_charts_linted"] == 1
    assert [found for found in report["messages"] if found["severity"] > 1] == []


@pytest.mark.parametrize("case", CASES)
def test_two_versions_of_helm_make_the_same_objects(case: str) -> None:
    old = {key(found): found for found in render_with_helm_3(values_of(case))}
    new = {key(found): found for found in rendered(case)}
    assert old == new


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_are_of_kubernetes_schemas(version: str) -> None:
    for found in _distinct():
        if found["kind"] not in OTHERS_KINDS:
            kubernetes_validate.validate(found, version, strict=True)


def test_a_wrong_object_is_seen() -> None:
    (service, *_) = of_kind("laptop", "Service")
    wrong = {**service, "spec": {**service["spec"], "prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError, match="prots"):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


@pytest.mark.parametrize("case", CASES)
def test_names_are_unique_and_namespaced(case: str) -> None:
    names = [key(found) for found in rendered(case)]
    assert len(names) == len(set(names))
    namespaces = {found["metadata"].get("namespace") for found in rendered(case)}
    assert namespaces <= {NAMESPACE, "monitoring"}
    assert all(len(name) <= 63 for _, name in names)


@cache
def _distinct() -> tuple[Object, ...]:
    """What differs between the cases is validated once."""
    seen: list[Any] = []
    for case in CASES:
        seen.extend(found for found in rendered(case) if found not in seen)
    return tuple(seen)


def test_no_values_file_is_forgotten() -> None:
    files = {path.stem.removeprefix("values-") for path in CHART.glob("values-*.yaml")}
    assert files <= {name for name, _ in CASES.values()}
