"""What is left of a long row that was stopped."""

from __future__ import annotations

from pathlib import Path

from tests.faults.evidence import Evidence, Minute
from tests.faults.growing_log import GrowingLog


def test_a_run_that_was_stopped_goes_on_with_what_it_had_found(tmp_path: Path) -> None:
    minute = Minute(faults={"SIGKILL": 3}, trials=3, took_effect=2, failed=["one"], longest_wait_seconds=0.5)
    Evidence(tmp_path / "hour.jsonl").add(minute)
    assert Evidence(tmp_path / "hour.jsonl").unfinished(60) == [minute]


def test_a_run_that_was_finished_is_begun_anew(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "hour.jsonl")
    evidence.add(Minute())
    evidence.add(Minute(is_last=True))
    assert evidence.unfinished(60) == evidence.unfinished(60) == []


def test_a_growing_log_is_counted_line_by_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.log"
    log = GrowingLog(path)
    assert log.times_accepted("a:1") == 0
    line = '{"replica": "a:1", "event": "replica accepted"}\n'
    path.write_text(line + line[:20])
    assert log.times_accepted("a:1") == 1
    path.write_text(line + line)
    assert log.times_accepted("a:1") == 2
