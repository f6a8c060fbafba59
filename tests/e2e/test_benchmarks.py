"""The benchmark of quality decodes, and compares what it decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_quality_is_decoded_once_and_compared(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "benchmarks.quality"]
    asked = ["--limit", "4", "--seeds", "1", "--methods", "autoregressive,coupled,mtad", "--folder", str(tmp_path)]
    subprocess.run([*run, "run", *asked], cwd=ROOT, check=True, capture_output=True, timeout=120)
    texts = {path.stem: [json.loads(line)["text"] for line in path.open()] for path in sorted(tmp_path.glob("*.jsonl"))}
    assert set(texts) == {"autoregressive-1", "coupled-1", "mtad-1"}
    assert texts["coupled-1"] == texts["autoregressive-1"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    subprocess.run([*run, "run", *asked], cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    told = subprocess.run(
        [*run, "report", "--folder", str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert "mtad" in told.stdout
    assert "McNemar" in told.stdout
