"""What the matrix takes for right and wrong."""

from __future__ import annotations

from typing import cast

import pytest

from tandem.generation import Generation
from tests.faults.figures import Figures, Row
from tests.faults.load import Ask, Followed, Load

TEXT = (4, 7, 1, 9, 2)
CHANGES = {
    "a token twice": (4, 7, 7, 1, 9, 2),
    "a token missing": (4, 7, 9, 2),
    "the end missing": TEXT[:-1],
    "another token": (4, 7, 1, 8, 2),
    "tokens in another order": (4, 1, 7, 9, 2),
}


class _Made:
    """As much of a generation as is compared."""

    def __init__(self, token_ids: tuple[int, ...]) -> None:
        self.token_ids, self.text, self.finish_reason, self.session_id = token_ids, "", "length", "s"


def _compared(token_ids: tuple[int, ...], may_differ_from: int | None = None) -> list[str]:
    ask = Ask("mtad", 1, 3, num_tokens=len(TEXT))
    load = Load(["127.0.0.1:1"], [ask])
    load.expected = {ask: cast(Generation, _Made(TEXT))}
    followed = Followed(ask, 0.0, token_ids=list(token_ids), may_differ_from=may_differ_from)
    load.compare(followed, cast(Generation, _Made(token_ids)))
    return load.tally.wrong


def test_the_same_text_is_right() -> None:
    assert _compared(TEXT) == []


@pytest.mark.parametrize("token_ids", CHANGES.values(), ids=CHANGES)
def test_any_other_text_is_wrong(token_ids: tuple[int, ...]) -> None:
    assert len(_compared(token_ids)) == 1


def test_without_drafters_a_text_may_go_on_otherwise_but_must_be_whole() -> None:
    assert _compared((4, 7, 3, 3, 3), may_differ_from=2) == []
    assert len(_compared((4, 8, 3, 3, 3), may_differ_from=2)) == 1
    assert len(_compared((4, 7, 3, 3), may_differ_from=2)) == 1


def test_a_fault_that_did_not_happen_breaks_its_row() -> None:
    async def run(*_: object) -> Figures:
        return Figures()

    row = Row("name", "fault", "promise", run, short=1, longest_stall=1.0)
    assert row.problems(Figures(trials=2, took_effect=2, stalls=[0.5, 0.9])) == []
    assert len(row.problems(Figures(trials=2, took_effect=1))) == 1
    assert len(row.problems(Figures(trials=2, took_effect=2, stalls=[0.5, 1.1]))) == 1
