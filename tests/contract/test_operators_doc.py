"""docs/operators.md lists the metrics that are exported, and the settings that there are; no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic_core import PydanticUndefined

from draft_service.settings import DraftSettings
from orchestrator.metrics import Metrics
from orchestrator.settings import OrchestratorSettings
from tandem.energy.meter import EnergyMeter
from tandem.energy.metrics import EnergyMetrics
from tandem.settings import ModelSettings, ServiceSettings
from tests.support.energy import HandCounter
from tests.support.model_services import draft_service, verify_service
from verify_service.settings import VerifySettings

DOC = (Path(__file__).resolve().parents[2] / "docs" / "operators.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its own head."""
    section = DOC.split(f"# {heading}\n", 1)[1]
    table = re.findall(r"^\|.*\|$", section.split("\n#", 1)[0], re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]]


def exported() -> dict[str, set[str]]:
    """Metrics by the roles that have them, as their /metrics would show them where energy is measured."""
    registries = {role: CollectorRegistry() for role in ("orchestrator", "draft", "verify")}
    Metrics(registries["orchestrator"])
    draft_service(registries["draft"])
    verify_service(registries["verify"])
    for role in ("draft", "verify"):
        EnergyMetrics(EnergyMeter(HandCounter()), registries[role])
    found: dict[str, set[str]] = {}
    for role, registry in registries.items():
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            if not family.name.endswith("_created"):
                found.setdefault(family.name + ("_total" if family.type == "counter" else ""), set()).add(role)
    return found


def test_the_metrics_told_are_those_exported() -> None:
    told = {row[0].strip("`"): set(row[2].split(", ")) for row in rows("Metrics")}
    assert told == exported()


@pytest.mark.parametrize(
    ("heading", "settings", "shared"),
    [
        ("Of every service", ServiceSettings, None),
        ("Of both that run a model", ModelSettings, ServiceSettings),
        ("Of the verify service", VerifySettings, ModelSettings),
        ("Of the draft service", DraftSettings, ModelSettings),
        ("Of the orchestrator", OrchestratorSettings, ServiceSettings),
    ],
)
def test_the_settings_told_are_those_there_are(
    heading: str, settings: type[ServiceSettings], shared: type[ServiceSettings] | None
) -> None:
    told = {row[0].strip("`"): (row[1].strip("`"), row[2]) for row in rows(heading)}
    own = {
        name: field for name, field in settings.model_fields.items() if not shared or name not in shared.model_fields
    }
    assert told == {
        "--" + name.replace("_", "-"): (
            "" if field.default in (None, "", (), PydanticUndefined) else str(field.default),
            field.description,
        )
        for name, field in own.items()
    }


def test_metrics_that_are_mentioned_exist() -> None:
    names = {name.removeprefix("tandem:") for name in exported()}
    prose = re.sub(r"^\|.*$", "", DOC, flags=re.MULTILINE)
    mentioned = set(re.findall(r"\b([a-z_]+(?:_total|_seconds|_perc|_waiting))\b", prose))
    assert mentioned
    assert mentioned <= names
