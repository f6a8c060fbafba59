"""The wire contract: generated code is current, and every part of it is explained."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTOS = sorted((ROOT / "protos" / "tandem" / "v1").glob("*.proto"))


def test_the_generated_code_is_what_the_protos_generate(tmp_path: Path) -> None:
    out = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    names = [str(path.relative_to(ROOT / "protos")) for path in PROTOS]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'protos'}", *out, *names]
    subprocess.run(command, check=True, cwd=ROOT)
    generated = sorted((tmp_path / "tandem" / "v1").iterdir())
    assert len(generated) == 3 * len(PROTOS)
    changed = [path.name for path in generated if path.read_text() != (ROOT / "tandem" / "v1" / path.name).read_text()]
    assert changed == [], "run `make protos`"


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.name)
def test_every_message_field_and_call_is_commented(proto: Path) -> None:
    lines = [line.strip() for line in proto.read_text().splitlines()]
    declaration = re.compile(r"(message|enum|service|oneof|rpc) |.*= \d+;")
    silent = [
        line
        for above, line in pairwise(lines)
        if declaration.match(line) and not above.startswith("//") and not line.startswith("//")
    ]
    assert silent == []
