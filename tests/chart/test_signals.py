"""Metrics that autoscalers, alerts and the dashboard go by: the services have them, and their queries are right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, RELEASE, ROOT, SCALING, TOOLS, merged, of_kind, render_with_helm_4, values_of
from tests.contract.test_operators_doc import exported

ALERTS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
ADAPTER = yaml.safe_load((CHART / "files" / "prometheus-adapter.yaml").read_text())
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
TRIED = ROOT / "tests" / "chart" / "alerts.yaml"

VARIABLES = {"$__rate_interval": "5m", "$namespace": "n", "$stack": "s"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def adapter_queries() -> Iterator[str]:
    """The adapter's queries, with what it fills in filled in."""
    for rule in [*ADAPTER["rules"], *ADAPTER["externalRules"]]:
        named = re.search(r"\((.*)\)", rule["seriesQuery"])
        for name in named[1].split("|") if named else [""]:
            filled = rule["metricsQuery"].replace("<<.Series>>", f"tandem:{name}")
            yield filled.replace("<<.LabelMatchers>>", 'namespace="n"').replace("<<.GroupBy>>", "pod")


def triggers() -> dict[str, list[dict[str, Any]]]:
    """KEDA's triggers by component."""
    return {
        found["metadata"]["labels"]["app.kubernetes.io/component"]: found["spec"]["triggers"]
        for found in of_kind("keda", "ScaledObject")
    }


def queries() -> list[str]:
    """Every query of the chart."""
    found = [rule["expr"] for rule in RULES]
    found += adapter_queries()
    found += [one["metadata"]["query"] for all_of_it in triggers().values() for one in all_of_it]
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            found.append(query)
    return found


def metrics_of(query: str) -> set[str]:
    """Names of Tandem's metrics in a query, without what histograms add to theirs."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"tandem:[a-z_]+", query)}


def test_every_metric_there_is() -> None:
    used = {name for query in queries() for name in metrics_of(query)}
    assert used
    assert used - exported().keys() == set()


def test_pools_scale_on_metrics_of_their_own() -> None:
    roles = exported()
    for case, kind in (("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
        assert len(of_kind(case, kind)) == 3
    for found in of_kind("hpa", "HorizontalPodAutoscaler"):
        component = found["metadata"]["labels"]["app.kubernetes.io/component"]
        assert found["spec"]["scaleTargetRef"]["name"] == f"{RELEASE}-tandem-{component}"
        for metric in found["spec"]["metrics"]:
            name = metric["pods"]["metric"]["name"]
            assert component in roles[name.replace("tandem_", "tandem:", 1)]
    for component, own in triggers().items():
        pods = [one["metadata"]["query"] for one in own if "pod=~" in one["metadata"]["query"]]
        assert pods
        for query in pods:
            (name,) = metrics_of(query)
            assert component in roles[name]


def test_the_adapter_serves_what_autoscalers_ask_for() -> None:
    (rule,) = ADAPTER["rules"]
    pattern = re.search(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    assert pattern is not None
    served = {
        re.sub(rule["name"]["matches"], rule["name"]["as"].replace("${1}", r"\1"), name)
        for name in exported()
        if re.search(pattern[1], name)
    }
    values = merged(values_of("hpa"), {"draft": {"autoscaling": {"followAdvisor": True}}})
    asked: dict[str, set[str]] = {"Pods": set(), "External": set()}
    for found in render_with_helm_4(values):
        if found["kind"] == "HorizontalPodAutoscaler":
            for metric in found["spec"]["metrics"]:
                asked[metric["type"]].add(metric[metric["type"].lower()]["metric"]["name"])
    assert asked["Pods"] == served
    assert asked["External"] == {rule["name"]["as"] for rule in ADAPTER["externalRules"]}
    (shipped,) = [one for one in of_kind("hpa", "ConfigMap") if "config.yaml" in one["data"]]
    assert yaml.safe_load(shipped["data"]["config.yaml"]) == ADAPTER


def test_targets_come_through_and_scaling_down_is_slow() -> None:
    values = merged(SCALING, {"verify": {"autoscaling": {"targets": {"kvUsage": 0.65, "roundsWaiting": 3}}}})
    found = {
        one["metadata"]["name"]: one["spec"]
        for one in render_with_helm_4(values)
        if one["kind"] == "HorizontalPodAutoscaler"
    }
    spec = found["t-tandem-verify"]
    targets = {one["pods"]["metric"]["name"]: one["pods"]["target"]["averageValue"] for one in spec["metrics"]}
    assert targets == {"tandem_num_rounds_waiting": "3000m", "tandem_kv_cache_usage_perc": "650m"}
    for one in found.values():
        down, up = one["behavior"]["scaleDown"], one["behavior"]["scaleUp"]
        assert down["stabilizationWindowSeconds"] >= 10 * up["stabilizationWindowSeconds"]
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_a_draft_pool_of_none_wakes_when_somebody_generates() -> None:
    (draft,) = [one["spec"] for one in of_kind("keda", "ScaledObject") if one["metadata"]["name"] == "t-tandem-draft"]
    assert draft["minReplicaCount"] == 0
    awake = [one["metadata"] for one in draft["triggers"] if 'component="orchestrator"' in one["metadata"]["query"]]
    assert [one["activationThreshold"] for one in awake] == ["0"]


def test_every_alert_is_tried_and_has_its_runbook() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    tried = json.dumps(yaml.safe_load(TRIED.read_text()))
    runbooks = (ROOT / "docs" / "operations.md").read_text()
    for rule in RULES:
        name = rule["alert"]
        assert any(re.search(pattern, name) for pattern in re.findall(r'alertname=~?\\"([^\\]+)\\"', tried)), name
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert f"\n### {name}\n" in runbooks
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
    told = re.findall(r"^### (Tandem\w+)$", runbooks, re.MULTILINE)
    assert told == names, "a runbook for each alert, in the order of the alerts"


def test_alerts_ship_as_they_are_with_links_of_ones_own() -> None:
    (rule,) = of_kind("hpa", "PrometheusRule")
    assert rule["spec"] == ALERTS
    values = merged(values_of("hpa"), {"monitoring": {"alerts": {"runbooks": "https://example.com/run"}}})
    (rule,) = [found for found in render_with_helm_4(values) if found["kind"] == "PrometheusRule"]
    links = [one["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for one in group["rules"]]
    assert all(link.startswith("https://example.com/run#tandem") for link in links)


def test_labels_that_queries_go_by_are_given_by_the_monitor() -> None:
    (monitor,) = of_kind("hpa", "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    given = {one["targetLabel"] for one in endpoint["relabelings"]}
    assert given == {"component", "stack"}
    used = {label for query in queries() for label in re.findall(r"\b(component|stack)\b", query)}
    assert used == given


def test_the_dashboard_has_titles_units_and_words_for_every_panel() -> None:
    (shipped,) = [one for one in of_kind("hpa", "ConfigMap") if "tandem.json" in one["data"]]
    assert json.loads(shipped["data"]["tandem.json"]) == DASHBOARD
    assert shipped["metadata"]["labels"]["grafana_dashboard"] == "1"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def promtool() -> str:
    unpacked = TOOLS / "prometheus" / "usr" / "bin" / "promtool"
    found = shutil.which("promtool") or (str(unpacked) if unpacked.exists() else None)
    if found is None:
        pytest.skip("there is no promtool, which comes with Prometheus: alerts and queries are not tried")
    return found


def test_queries_are_what_prometheus_takes(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [promtool(), "check", "rules", str(tmp_path / "queries.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_alerts_fire_when_they_must_and_only_then() -> None:
    for arguments in (["check", "rules", str(CHART / "files" / "alerts.yaml")], ["test", "rules", str(TRIED)]):
        done = subprocess.run([promtool(), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
