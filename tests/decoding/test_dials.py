"""Each method's rounds depend on the dials that it says it reads, and on no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Sampling, Speculation
from tests.support.decode import decode_rounds, decoding_of
from tests.support.tabular import random_tables

TABLES = random_tables(seed=5, closeness=0.6, spread=4.0)
OTHER = {"draft_length": 5, "beam_width": 2, "threshold": 0.6}


def rounds_of(speculation: Speculation) -> list[tuple[object, ...]]:
    decodings = [decoding_of(Sampling(1.0, 6, 0.95), speculation, seed, trace=True) for seed in range(30)]
    return [
        (proposal and proposal.digest, outcome.token_ids, outcome.trace)
        for rounds in decode_rounds(TABLES, (3, 5), 20, decodings)
        for proposal, outcome in rounds
    ]


@pytest.mark.parametrize("name", METHODS)
def test_a_dial_is_one_that_changes_rounds(name: str) -> None:
    speculation = Speculation(name, draft_length=3, beam_width=4, threshold=0.1)
    base = rounds_of(speculation)
    turned = {dial for dial, value in OTHER.items() if rounds_of(replace(speculation, **{dial: value})) != base}  # type: ignore[arg-type]
    assert turned == METHODS[name].dials
