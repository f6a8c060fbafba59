"""Schemathesis makes requests up from /openapi.json, right ones and wrong ones, and holds each answer against it.

``FUZZ_EXAMPLES=7000 make test-clients`` has it make up more: that many of each of the four operations.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.openai.openapi import document
from tests.orchestrator.conftest import Stage
from tests.support.chat_templates import CHATML
from tests.support.http import ask
from tests.support.tiny_pair import make_tokenizer

pytest.importorskip("schemathesis", reason="schemathesis is not installed; make test-clients brings it")

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
EOS = 1
LONGEST = 64
"""Tokens of a text: no request, however it was made up, keeps the server busy for long."""
NOT_CHECKED = "positive_data_acceptance"
"""No schema tells what a model can hold, or which fields exclude each other: a right request may be refused."""

CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 413]
"""
"""How wrong requests may be refused: by itself it would not take a body that is too large for one."""


def described() -> dict[str, Any]:
    """What the server tells of itself, without the headers for deadlines.

    A deadline that nothing can meet is answered by 504, as it must be, which would be taken for a server's failure; and
    where headers are described, any other one would be expected to be refused.
    """
    described = document()
    for operations in described["paths"].values():
        for operation in operations.values():
            operation["parameters"] = [given for given in operation.get("parameters", []) if given["in"] != "header"]
    return described


def next_token(token_ids: Sequence[int]) -> int:
    """Texts that end soon, though not at once."""
    return EOS if len(token_ids) % 6 == 0 else 40 + len(token_ids) % 50


@pytest.mark.timeout(120 + EXAMPLES)
async def test_no_request_breaks_the_server_or_gets_an_answer_that_the_document_does_not_tell(
    stage: Stage, tmp_path: Path
) -> None:
    make_tokenizer(tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(CHATML)
    verify = await stage.verify(next_token, max_positions=LONGEST)
    draft = await stage.draft(next_token, max_positions=LONGEST)
    served = await stage.orchestrator([verify], [draft], tokenizer=str(tmp_path / "model"), max_sessions=8)
    url = served.service.ready_fields()["http"]

    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    (tmp_path / "openapi.json").write_text(json.dumps(described()))
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", url, "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--mode", "all", "--max-examples", str(EXAMPLES)]
    command += ["--seed", "1", "--generation-database", "none", "--exclude-checks", NOT_CHECKED]
    command += ["--report", "json", "--report-json-path", "report.json"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    print(output.decode())

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["operations"]["tested"] == len(document()["paths"])
    for operation in ("POST /v1/completions", "POST /v1/chat/completions"):
        rate = report["valid_rates"][operation]["fuzzing"]
        assert rate["accepted"] > rate["rejected"] / 4  # texts were made, too
    assert served.service._sessions.num_followed == 0
    assert (await ask(f"{url}/v1/completions", {"prompt": "select", "max_tokens": 4})).status == 200
