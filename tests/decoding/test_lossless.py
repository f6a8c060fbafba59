"""Lossless methods, tested as lossless: every possible text enumerated, and as many decoded as tell a wrong rule.

Texts of several rounds are compared, because a rule can be right within a round and wrong across rounds.
"""

from __future__ import annotations

import numpy as np
import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Speculation
from tests.support.enumerated import LEAST_P, NUM_TOKENS, SAMPLING, TABLES, exact, texts
from tests.support.enumeration import goodness_of_fit, warped_table


def test_the_enumeration_is_worth_comparing_with() -> None:
    # Warping bites (fewer texts than 4^4), and target and draft disagree enough for every rule to refuse.
    assert 200 < len(exact()) < 4**NUM_TOKENS
    assert sum(exact().values()) == pytest.approx(1)
    target, draft = (warped_table(table, SAMPLING) for table in TABLES)
    distances = [
        sum(abs(target[place].get(token, 0) - draft[place].get(token, 0)) for token in range(8)) / 2 for place in target
    ]
    assert 0.15 < float(np.mean(distances)) < 0.6


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "speculation",
    [
        Speculation("speculative", draft_length=2),
        Speculation("block", draft_length=2),
        Speculation("specinfer", draft_length=2, beam_width=3),
    ],
    ids=lambda speculation: speculation.method,
)
def test_decoded_texts_have_exactly_the_targets_distribution(speculation: Speculation) -> None:
    assert METHODS[speculation.method].lossless
    assert goodness_of_fit(texts(speculation, 100_000), exact()) > LEAST_P
