"""The best candidates against a stable sort, above all where logits are equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tandem.engine.readout import log_probs_of, top_candidates
from tandem.errors import InvalidArgument


def by_stable_sort(logits: torch.Tensor, width: int) -> tuple[np.ndarray, np.ndarray]:
    exact = logits.double().numpy()
    ids = np.argsort(-exact, axis=1, kind="stable")[:, :width]
    return ids, np.take_along_axis(exact, ids, axis=1)


@pytest.mark.parametrize("width", [1, 2, 7, 99, 100])
@pytest.mark.parametrize(
    "logits",
    [
        torch.randn(6, 100, generator=torch.Generator().manual_seed(1)),
        torch.randn(6, 100, generator=torch.Generator().manual_seed(2)).bfloat16(),
        torch.randint(0, 4, (6, 100), generator=torch.Generator().manual_seed(3)).float(),
        torch.zeros(2, 100, dtype=torch.bfloat16),
        torch.full((1, 100), -torch.inf).index_fill(1, torch.tensor([5, 70]), 1.0),
    ],
    ids=["distinct", "bfloat16", "few-values", "all-equal", "mostly-impossible"],
)
def test_like_a_stable_sort(logits: torch.Tensor, width: int) -> None:
    found = top_candidates(logits, width)
    ids, values = by_stable_sort(logits, width)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.logits, values)
    expected = torch.logsumexp(logits.double(), dim=1).numpy()
    np.testing.assert_allclose(found.log_normaliser, expected, atol=1e-5)
    assert found.ids.dtype == np.int64
    assert found.logits.dtype == found.log_normaliser.dtype == np.float64


def test_no_rows() -> None:
    found = top_candidates(torch.empty(0, 10), 4)
    assert found.ids.shape == found.logits.shape == (0, 4)
    assert found.log_normaliser.shape == (0,)


@pytest.mark.parametrize("width", [0, 11])
def test_widths_that_cannot_be(width: int) -> None:
    with pytest.raises(InvalidArgument, match="expected 1 to 10"):
        top_candidates(torch.zeros(1, 10), width)


def test_log_probabilities_of_pairs() -> None:
    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(4)).bfloat16()
    rows, ids = np.array([4, 0, 0, 2]), np.array([29, 0, 1, 7])
    normaliser = top_candidates(logits, 1).log_normaliser
    expected = torch.log_softmax(logits.double(), dim=1).numpy()[rows, ids]
    actual = log_probs_of(logits, normaliser, rows, ids)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, atol=1e-5)
