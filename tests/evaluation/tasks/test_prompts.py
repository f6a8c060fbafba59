"""Prompts of one's own, with and without references."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tandem.errors import InvalidArgument
from tandem.evaluation.tasks import Prompts, data_files


def made(tmp_path: Path, text: str) -> Prompts:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    return Prompts(path)


def test_answers_are_held_against_the_nearest_reference(tmp_path: Path) -> None:
    task = made(
        tmp_path,
        '{"prompt": "a", "references": ["The cat sat on the mat", "A dog"]}\n\n'
        '{"prompt": "b", "id": 7, "reference": "x"}',
    )
    first, second = task.samples(None)
    assert (first.id, second.id) == ("1", "7")
    assert task.primary == "exact_match"
    assert task.score(first, [" a\n dog "]) == {"exact_match": 0.0, "rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    assert task.score(first, [" A \n dog "])["exact_match"] == 1.0
    scores = task.score(first, ["the cat lay on the mat"])
    assert scores["rouge1"] == pytest.approx(5 / 6)
    assert scores["rouge2"] == pytest.approx(3 / 5)
    assert scores["rougeL"] == pytest.approx(5 / 6)
    assert set(task.score(second, [""]).values()) == {0.0}


def test_without_references_nothing_is_scored(tmp_path: Path) -> None:
    task = made(tmp_path, '{"prompt": "a", "reference": null}\n{"prompt": "b"}\n')
    assert task.primary is None
    assert task.score(task.samples(1)[0], ["x"]) == {}
    assert Prompts.primary is None


def test_some_may_have_references(tmp_path: Path) -> None:
    task = made(tmp_path, '{"prompt": "a"}\n{"prompt": "b", "reference": "x"}\n')
    assert task.score(task.samples(None)[0], ["x"]) == {}
    assert task.primary == "exact_match"


def test_the_extra_is_asked_for_where_it_is_needed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    monkeypatch.delitem(sys.modules, "rouge_score.rouge_scorer", raising=False)
    made(tmp_path, '{"prompt": "a"}')
    with pytest.raises(InvalidArgument, match=r"pip install 'tandem\[eval\]'"):
        made(tmp_path, '{"prompt": "a", "reference": "x"}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no records"),
        ('{"prompt": "a"}\n{"prompt": ', r"prompts\.jsonl, line 2: not JSON"),
        ("[1]", "line 1: expected a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"text": "a"}', "expected text in the field 'prompt', which is missing; the record has text"),
        ('{"prompt": ""}', "expected text in the field 'prompt', found \"\""),
        ('{"prompt": "a", "id": "1"}\n{"prompt": "b", "id": 1}', "the id '1' is taken by"),
        ('{"prompt": "a", "id": true}', "expected text or a whole number in the field 'id', found true"),
        ('{"prompt": "a", "references": "x"}', "expected a list of texts in the field 'references'"),
        ('{"prompt": "a", "references": ["x"], "reference": "y"}', "both 'reference' and 'references'"),
        ('{"prompt": "a", "reference": 3}', "expected text in the field 'reference', found 3"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        made(tmp_path, text)


def test_what_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}')
    with pytest.raises(InvalidArgument, match=r"latin\.jsonl, line 1: not JSON"):
        Prompts(tmp_path / "latin.jsonl")


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = '{"prompt": "a"}\n'
    monkeypatch.setattr(data_files, "_MAX_RECORDS", 2)
    assert len(made(tmp_path, line * 2).samples(None)) == 2
    with pytest.raises(InvalidArgument, match="more than 2 records"):
        made(tmp_path, line * 3)
    monkeypatch.setattr(data_files, "_MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(InvalidArgument, match="more than 1 MiB"):
        made(tmp_path, " " * (1 << 20) + line)
