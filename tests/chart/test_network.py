"""Network policies, read as a network would: who reaches whom, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import Object, of_kind, pods, rendered

OUTSIDE: Object = {}
"""A pod of another namespace."""


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def policies_for(case: str, labels: dict[str, str]) -> list[Object]:
    return [one["spec"] for one in of_kind(case, "NetworkPolicy") if selects(one["spec"]["podSelector"], labels)]


def allows(rules: list[Object], side: str, peer: Object, port: Any, names: dict[int, str]) -> bool:
    """Whether a rule lets ``peer`` (labels; none of a pod elsewhere) through to a port, by number or name."""
    for rule in rules:
        ports = [one["port"] for one in rule.get("ports", [])]
        if ports and port not in ports and names.get(port) not in ports:
            continue
        peers = rule.get(side)
        if peers is None:
            return True
        for one in peers:
            if "namespaceSelector" in one and peer is OUTSIDE:
                return True
            is_near = "podSelector" in one and "namespaceSelector" not in one and peer is not OUTSIDE
            if is_near and selects(one["podSelector"], peer):
                return True
    return False


def reaches(case: str, source: str, target: str, port: int) -> bool:
    """Whether one component of the stack reaches another; ``outside`` is a pod of another namespace."""
    templates = pods(case)
    labels = {name: pod["metadata"]["labels"] for name, pod in templates.items()}
    own = labels.get(source, OUTSIDE)
    names = {one["containerPort"]: one["name"] for one in templates[target]["spec"]["containers"][0].get("ports", [])}
    if source != "outside":
        rules = [rule for policy in policies_for(case, own) for rule in policy.get("egress", [])]
        if not allows(rules, "to", labels[target], port, names):
            return False
    rules = [rule for policy in policies_for(case, labels[target]) for rule in policy.get("ingress", [])]
    return allows(rules, "from", own, port, names)


PORTS = {
    **dict.fromkeys(("verify", "draft"), (7070, 9090)),
    "orchestrator": (7070, 8080, 9090),
    "redis": (6379,),
}

EXPECTED = {
    *(("orchestrator", role, 7070) for role in ("verify", "draft")),
    ("draft", "verify", 7070),
    ("orchestrator", "redis", 6379),
    ("test", "orchestrator", 7070),
    ("test", "orchestrator", 8080),
    *(("annotator", role, 9090) for role in ("verify", "draft")),
    *(("outside", role, 9090) for role in ("verify", "draft", "orchestrator")),
    ("outside", "orchestrator", 7070),
    ("outside", "orchestrator", 8080),
}


def test_everybody_reaches_what_it_needs_and_nobody_more() -> None:
    case = "all-components"
    sources = {*pods(case), "outside"}
    fetch = next(name for name in sources if "-fetch-" in name)
    found = {
        (source, target, port)
        for source in sources
        for target, ports in PORTS.items()
        for port in ports
        if reaches(case, source, target, port)
    }
    assert found == EXPECTED
    assert fetch not in {source for source, _, _ in found}


def egress(case: str, component: str) -> list[Object]:
    """What a component may reach outside of the stack: egress rules whose peers are no pods of it."""
    labels = next(pod for name, pod in pods(case).items() if component in name)["metadata"]["labels"]
    rules = [rule for policy in policies_for(case, labels) for rule in policy.get("egress", [])]
    return [rule for rule in rules if not any("podSelector" in peer for peer in rule.get("to", []))]


def ports(rules: list[Object]) -> list[Any]:
    return sorted(port["port"] for rule in rules for port in rule["ports"])


def test_what_leaves_the_stack() -> None:
    dns = [53, 53]
    case = "all-components"
    assert ports(egress(case, "verify")) == dns
    assert ports(egress(case, "draft")) == dns
    assert ports(egress(case, "orchestrator")) == [*dns, 443, 6443]  # EndpointSlices
    assert ports(egress(case, "annotator")) == [*dns, 443, 6443]
    assert ports(egress(case, "fetch")) == [*dns, 443]
    assert ports(egress(case, "test")) == dns
    assert egress(case, "redis") == []
    assert ports(egress("two-pools", "orchestrator")) == [*dns, 443, 6379, 6443]


def test_what_is_narrowed_is_narrow() -> None:
    case = "narrow-network"
    assert ports(egress(case, "verify")) == [53, 53, 4317]
    by_port = {port["port"]: rule.get("to") for rule in egress(case, "orchestrator") for port in rule["ports"]}
    assert by_port[6380] == [{"ipBlock": {"cidr": "10.8.0.1/32"}}]
    assert by_port[443] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    labels = pods(case)["orchestrator"]["metadata"]["labels"]
    doors = [rule for policy in policies_for(case, labels) for rule in policy.get("ingress", [])]
    assert all("from" in rule for rule in doors)
    assert reaches(case, "test", "orchestrator", 8080)


@pytest.mark.parametrize("case", ["laptop", "two-pools", "replicas-alone"])
def test_every_pod_is_denied_by_default(case: str) -> None:
    for pod in pods(case).values():
        found = policies_for(case, pod["metadata"]["labels"])
        assert {"policyTypes": ["Ingress", "Egress"]}.items() <= found[0].items()
        assert len(found) == 2  # the default, and its own


def test_releases_of_one_stack_reach_each_other() -> None:
    """Orchestrators of one release, replicas of another: policies go by the stack."""
    orchestrator = pods("other-replicas-too")["orchestrator"]["metadata"]["labels"]
    verify = pods("replicas-alone")["verify"]["metadata"]["labels"]
    rules = [rule for policy in policies_for("replicas-alone", verify) for rule in policy.get("ingress", [])]
    assert allows(rules, "from", orchestrator, 7070, {7070: "grpc"})
    stranger = pods("laptop")["orchestrator"]["metadata"]["labels"]
    assert not allows(rules, "from", stranger, 7070, {7070: "grpc"})


def test_without_policies_there_are_none() -> None:
    assert not [found for found in rendered("settings") if found["kind"] == "NetworkPolicy"]
