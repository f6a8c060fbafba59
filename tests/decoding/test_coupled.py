"""Plain and coupled decoding: lossless by enumeration, and the same text from the same seed."""

from __future__ import annotations

import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Speculation
from tests.support.enumerated import LEAST_P, exact, texts
from tests.support.enumeration import goodness_of_fit


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "speculation",
    [
        Speculation("autoregressive"),
        Speculation("coupled", draft_length=2),
    ],
    ids=lambda speculation: speculation.method,
)
def test_decoded_texts_have_exactly_the_targets_distribution(speculation: Speculation) -> None:
    assert METHODS[speculation.method].lossless
    assert goodness_of_fit(texts(speculation, 100_000), exact()) > LEAST_P


def test_coupled_is_autoregressive_token_by_token_whatever_is_drafted() -> None:
    alone = texts(Speculation("autoregressive"), 500)
    for draft_length in range(1, 9):
        assert texts(Speculation("coupled", draft_length=draft_length), 500) == alone
