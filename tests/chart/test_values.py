"""Values: what is misspelt, of a wrong type or at odds with itself is refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from helm.schema import SCHEMA, dump, with_settings
from tests.chart.rendering import CHART, render_with_helm_3, render_with_helm_4

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
WHOLE: dict[str, Any] = json.loads(SCHEMA.read_text())


def at(path: str, value: Any) -> dict[str, Any]:
    """``{"a": {"b": value}}`` of a.b."""
    *parents, last = path.split(".")
    made = {last: value}
    for name in reversed(parents):
        made = {name: made}
    return made


@pytest.mark.parametrize("render", [render_with_helm_3, render_with_helm_4])
@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("verfy", {}, "verfy"),
        ("verify.replica", 2, "replica"),
        ("verify.settings.kvBlock", 2, "kvBlock"),
        ("orchestrator.settings.verify", "a:1", "verify"),
        ("draft.replicas", "two", "draft"),
        ("draft.replicas", -1, "draft"),
        ("verify.settings.maxBatch", 1.5, "maxBatch"),
        ("verify.autoscaling.targets.kvUsage", 80, "kvUsage"),
        ("redis.external.url", "http://redis:6379", "url"),
        ("orchestrator.topologySpread", "maybe", "topologySpread"),
        ("verify.model.id", "llama", "id"),
        ("draft.tolerations", [{"key": "gpu", "efect": "NoSchedule"}], "efect"),
        ("verify.resources.limts", {}, "limts"),
        ("networkPolicy.clientsFrom", [{"podSelectr": {}}], "podSelectr"),
        ("monitoring.alerts.enabled", "yes", "enabled"),
    ],
)
def test_a_value_that_is_wrong_is_named(render: Any, path: str, value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        render(at(path, value))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (at("redis.bundled.enabled", False), "redis.external.url or redis.external.existingSecret is needed"),
        (at("redis.external.url", "redis://here:6379/0"), "set redis.bundled.enabled to false"),
        (at("tls.services.enabled", True), "tls.issuer.name is needed"),
        (at("orchestrator.ingress.http.enabled", True), "orchestrator.ingress.http.host is needed"),
        (at("draft.autoscaling", {"enabled": True, "minReplicas": 0}), "set keda.enabled, or 1"),
        (at("draft.autoscaling", {"enabled": True, "minReplicas": 9}), "more than maxReplicas 8"),
        (at("verify.model", {"id": "a/b", "path": "c"}), "verify.model.id and verify.model.path are both set"),
        (at("verify.enabled", False), "verify.enabled is false"),
        (at("orchestrator.jwt.existingSecret", "jwks"), "orchestrator.jwt.audience"),
    ],
)
def test_values_at_odds_are_refused_with_what_to_do(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        render_with_helm_4(values)


def test_the_schema_has_the_settings_there_are() -> None:
    assert SCHEMA.read_text() == dump(with_settings(WHOLE)), "run: python -m helm.schema"


def test_every_value_is_in_the_schema_and_every_key_of_the_schema_is_a_value() -> None:
    assert list(differing(VALUES, WHOLE, "")) == []


def differing(values: dict[str, Any], schema: dict[str, Any], path: str) -> Any:
    """Keys that are on one side only, down to where a map is free or has settings in it."""
    schema = WHOLE["definitions"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if path.endswith((".settings", ".resources", ".affinity")) or "properties" not in schema:
        return
    assert schema["additionalProperties"] is False, path
    known = schema["properties"].keys() - {"global"}
    yield from (f"{path}.{name}" for name in known ^ values.keys())
    for name in known & values.keys():
        if isinstance(values[name], dict):
            yield from differing(values[name], schema["properties"][name], f"{path}.{name}")
