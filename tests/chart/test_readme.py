"""The chart's README: its tables are those of the values, and its commands are right."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from tandem.cli.main import app
from tests.chart.rendering import CHART, ROOT, TOOLS, pods, render_with_helm_3, rendered, values_of

README = (CHART / "README.md").read_text()
VALUES = (CHART / "values.yaml").read_text()
COMMANDS = [
    command
    for block in re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    for command in block.replace("\\\n", " ").splitlines()
]


def test_every_parameter_is_told_in_the_words_of_the_values() -> None:
    told = dict(re.findall(r"^\| `([\w.]+)` +\| (.*?) +\| `", README.split("## Parameters")[1], re.MULTILINE))
    written = dict(re.findall(r"^ *## @param ([\w.]+) (?:\[[^\]]*\] )?(.*)$", VALUES, re.MULTILINE))
    assert told == written, "run: make chart"


def test_the_tables_are_what_their_generator_makes(tmp_path: Path) -> None:
    generator = TOOLS / "node_modules" / "@bitnami" / "readme-generator-for-helm" / "bin" / "index.js"
    if shutil.which("node") is None or not generator.exists():
        pytest.skip("there is no generator of the README's tables: `make chart-tools` installs it where npm is")
    made = tmp_path / "README.md"
    made.write_text(README)
    command = ["node", str(generator), "--values", str(CHART / "values.yaml"), "--readme", str(made)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.read_text() == README, "run: make chart"


def test_commands_of_tandem_and_make_exist() -> None:
    tandem = typer.main.get_command(app)
    makefile = (ROOT / "Makefile").read_text()
    for command in COMMANDS:
        words = [word for word in shlex.split(command) if "=" not in word]
        if words[0] == "tandem":
            assert words[1] in tandem.commands  # type: ignore[attr-defined]
        elif words[0] == "make":
            assert f"\n{words[1]}:" in makefile
        else:
            assert words[0] in ("helm", "kubectl", "curl", "-d"), command


def test_the_install_command_renders_and_its_names_are_there() -> None:
    (install,) = [shlex.split(command) for command in COMMANDS if command.startswith("helm install")]
    values = yaml.safe_load((ROOT / install[install.index("--values") + 1]).read_text())
    assert ROOT / install[3] == CHART
    registry = install[install.index("--set") + 1]
    assert registry == "image.registry=localhost"
    (forward,) = [command for command in COMMANDS if "port-forward" in command]
    name = install[2]
    made = render_with_helm_3({**values, "image": {"registry": "localhost"}}, name)
    services = {f"service/{one['metadata']['name']}" for one in made if one["kind"] == "Service"}
    assert services & set(forward.split())
    images = {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in made if one["kind"] == "Deployment"}
    (build,) = [command for command in COMMANDS if command.endswith("make images")]
    tag = shlex.split(build)[1].removeprefix("TAG=")
    ours = {image for image in images if "redis" not in image}
    assert ours == {f"localhost/tandem-{role}:{tag}" for role in ("orchestrator", "draft", "verify")}


def test_secrets_that_two_pools_need_are_made_under_their_names_and_keys() -> None:
    made = {}
    for command in COMMANDS:
        if command.startswith("kubectl --namespace tandem create secret generic"):
            _, name, source = shlex.split(command)[-3:]
            made[name] = re.sub(r"^--from-(file|literal)=", "", source).partition("=")[0]
    assert made == {
        "tandem-api-keys": "api-keys",
        "tandem-test-key": "key",
        "tandem-redis": "url",
        "hugging-face": "token",
    }
    named: dict[str, set[str]] = {}
    for found in pods("two-pools").values():
        for volume in found["spec"]["volumes"]:
            named.setdefault(volume.get("secret", {}).get("secretName"), set())
        for one in found["spec"]["containers"]:
            for variable in one["env"]:
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    assert made[reference["name"]] == reference["key"]
                    named.setdefault(reference["name"], set())
    certificates = {one["spec"]["secretName"] for one in rendered("two-pools") if one["kind"] == "Certificate"}
    assert named.keys() - {None} - certificates == made.keys()


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert os.path.exists(CHART / link), link


def test_notes_name_what_is_there() -> None:
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        notes = {
            case: chart.render(values_of(case), name="tandem", namespace="models")["tandem/templates/NOTES.txt"]
            for case in ("laptop", "secrets", "replicas-alone")
        }
    names = {one["metadata"]["name"].replace("t-", "", 1) for one in rendered("laptop")}
    for name in re.findall(r"(?:deployment|service)/([\w-]+)", notes["laptop"]):
        assert name in names
    assert "helm -n models test tandem --logs" in notes["laptop"]
    assert "Nobody is asked for a key" in notes["laptop"]
    assert "Authorization: Bearer" in notes["secrets"]
    assert "test.apiKeySecret" in notes["secrets"]
    assert "Nobody is asked for a key" not in notes["secrets"]
    assert "kubernetes:///tandem-verify:grpc" in notes["replicas-alone"]
