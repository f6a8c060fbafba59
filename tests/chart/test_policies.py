"""checkov finds nothing wrong with any rendering of the chart; what it is told to pass over has a reason."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CASES, TOOLS, rendered

PASSED_OVER = {
    "CKV_K8S_8": "the test's pod and the annotator serve nobody; test_pods.py sees to the services' liveness",
    "CKV_K8S_9": "the same of readiness",
    "CKV_K8S_11": "no limit of processors: throttled passes of a model would be slow for every session",
    "CKV_K8S_15": "images are pulled where they are absent: their tags are versions, which do not move",
    "CKV_K8S_35": "the URL of Redis is a variable of one process: files are for secrets that change while it runs",
    "CKV_K8S_43": "images are named by tag; a digest is the user's to give (image.digest)",
    "CKV_K8S_38": "two services speak with the Kubernetes API, and only they get a token: tests/chart/test_pods.py",
}
"""Checks that are skipped, and why."""


def checkov() -> str:
    installed = TOOLS / "checkov" / "bin" / "checkov"
    found = str(installed) if os.access(installed, os.X_OK) else shutil.which("checkov")
    if found is None:
        pytest.skip("there is no checkov: `make chart-tools` installs it")
    return found


def findings(folder: Path) -> dict[str, set[str]]:
    """What checkov finds wrong in a folder: the objects, by the check."""
    command = [checkov(), "--directory", str(folder), "--framework", "kubernetes", "--output", "json"]
    done = subprocess.run([*command, "--compact", "--quiet", "--skip-download"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    if "results" not in report:
        return {}
    found: dict[str, set[str]] = {}
    for one in report["results"]["failed_checks"]:
        found.setdefault(one["check_id"], set()).add(one["resource"])
    assert report["summary"]["parsing_errors"] == 0
    return found


def test_nothing_is_found_but_what_is_passed_over_with_a_reason(tmp_path: Path) -> None:
    for case in CASES:
        (tmp_path / f"{case}.yaml").write_text(yaml.safe_dump_all(rendered(case)))
    found = findings(tmp_path)
    assert {check: names for check, names in found.items() if check not in PASSED_OVER} == {}
    assert PASSED_OVER.keys() - found.keys() == set(), "passed over without need"
