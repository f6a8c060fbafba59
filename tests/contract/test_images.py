"""The Dockerfile and the compose file against the services they are for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from draft_service.settings import DraftSettings
from orchestrator.settings import OrchestratorSettings
from tandem.settings import ServiceSettings
from verify_service.settings import VerifySettings

FOLDER = Path(__file__).resolve().parents[2] / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SETTINGS: dict[str, type[ServiceSettings]] = {
    "orchestrator": OrchestratorSettings,
    "draft": DraftSettings,
    "verify": VerifySettings,
}


def stage(name: str) -> str:
    """A stage of the Dockerfile, with those it is made from."""
    found = re.search(rf"^FROM (\S+) AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found, f"docker/Dockerfile has no target {name}"
    return found[2] if found[1] == "${BASE}" else stage(found[1]) + found[2]


@pytest.mark.parametrize("role", SETTINGS)
def test_each_role_has_a_target_that_serves_it_on_the_ports_of_all(role: str) -> None:
    text = stage(role)
    environ = dict(re.findall(r"(TANDEM_\w+)=(\S+)", text))
    settings = SETTINGS[role].load(COMPOSE["services"][role].get("command", []), environ)
    assert (settings.host, settings.port, settings.metrics_port) == ("0.0.0.0", 7070, 9090)
    assert f'ENTRYPOINT ["tandem", "serve", "{role}"]' in text
    assert 'CMD ["tandem", "health"]' in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "65532:65532"


@pytest.mark.parametrize("role", SETTINGS)
def test_compose_runs_each_role_from_its_target_with_settings_it_has(role: str) -> None:
    service = COMPOSE["services"][role]
    assert service["build"]["target"] == role
    assert service["image"] == f"${{REGISTRY:-localhost}}/tandem-{role}:${{TAG:-dev}}"
    SETTINGS[role].load(service.get("command", []), {})
    assert service["read_only"]
    assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
