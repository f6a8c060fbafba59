"""The shipped pair through ``tandem demo``, which starts the stack without naming models."""

from __future__ import annotations

import json

import pytest

from tests.e2e.running import tandem

METHODS = ("autoregressive", "coupled", "mtad")


def test_the_shipped_pair_is_demonstrated() -> None:
    done = tandem("demo", "--limit", "6", "--methods", ",".join(METHODS), "--json")
    assert done.returncode == 0, done.stderr
    reports = {report["method"]: report for report in json.loads(done.stdout)}
    assert tuple(reports) == METHODS
    autoregressive, coupled, mtad = reports.values()
    assert coupled["execution_accuracy"] == autoregressive["execution_accuracy"]
    assert coupled["output_perplexity"] == pytest.approx(autoregressive["output_perplexity"], rel=1e-3)
    assert autoregressive["block_efficiency"] == 1
    assert autoregressive["acceptance_rate"] is None
    assert min(coupled["block_efficiency"], mtad["block_efficiency"]) > 2
    assert all(report["tokens_per_second"] > 0 for report in reports.values())


def test_an_unknown_method_is_refused_before_anything_starts() -> None:
    done = tandem("demo", "--limit", "2", "--methods", "magic")
    assert done.returncode == 2
    assert "magic" in done.stderr
