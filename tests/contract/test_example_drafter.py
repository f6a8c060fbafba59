"""The example drafter against a real verify process: the public contract is all that a drafter needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.decoding.values import Decoding, Outcome, Sampling, Speculation
from tandem.engine.hosting import host_model
from tandem.engine.verifier import Verifier
from tests.support.processes import Process, started

DRAFTER = Path(__file__).parents[2] / "examples" / "drafter.py"
PROMPT = [0, 40, 41, 42, 43, 40, 41]


def test_it_needs_nothing_but_grpc_and_the_contract() -> None:
    imported = set()
    for node in ast.walk(ast.parse(DRAFTER.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"grpc", "tandem.v1"}


def text_of_the_target_alone(target: Path, seed: int, num_tokens: int) -> list[int]:
    hosted = host_model(str(target), num_threads=1, num_kv_blocks=64)
    verifier = Verifier(hosted.model)
    sampling = Sampling(temperature=1.0, top_k=10, top_p=0.9, seed=seed)
    end = len(PROMPT) + num_tokens
    sequence = verifier.open(PROMPT, Decoding(sampling, Speculation("autoregressive"), end, hosted.eos_token_ids))
    while not sequence.finished:
        [outcome] = verifier.judge([(sequence, None)])
        assert isinstance(outcome, Outcome), outcome
    return sequence.token_ids[len(PROMPT) :]


@pytest.fixture(scope="module")
def verify(tiny_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with started("verify_service", tmp_path_factory.mktemp("verify"), "--target", str(tiny_pair[0])) as process:
        yield process


def run_drafter(verify: Process, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DRAFTER), verify.address, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_it_proposes_the_text_is_the_targets_own(
    verify: Process, tiny_pair: tuple[Path, Path], seed: int
) -> None:
    prompt = ",".join(map(str, PROMPT))
    ran = run_drafter(verify, "--tokens", prompt, "--max-tokens", "40", "--seed", str(seed))
    assert ran.returncode == 0, ran.stderr
    tokens = [int(token) for token in ran.stdout.splitlines()[0].split(",")]
    assert tokens == text_of_the_target_alone(tiny_pair[0], seed, 40)


def test_a_refusal_reaches_whoever_asked(verify: Process) -> None:
    ran = run_drafter(verify, "--tokens", "999999")
    assert ran.returncode != 0
    assert "code 3" in ran.stderr


def test_the_page_about_drafting_quotes_the_file() -> None:
    page = (DRAFTER.parents[1] / "docs" / "drafting.md").read_text()
    quoted = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(quoted) == 10
    source = DRAFTER.read_text()
    # The formatter sets a quoted block as if it stood alone: further left, on fewer lines.
    assert [block for block in quoted if unspaced(block) not in unspaced(source)] == []
    walked = source[source.index("def look_up") : source.index("def main")]
    assert sum(map(len, map(unspaced, quoted))) > 0.8 * len(unspaced(walked))  # a walk through the file, not past it


def unspaced(code: str) -> str:
    """Code without what a formatter may change."""
    return re.sub(r"\s+|,(?=\s*[)\]}])", "", code)
