"""Packed linear layers compute what the library's compute, whatever number of rows they are computed with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tandem.engine.packing import EXACT_ROWS, PackedLinear, pack, padded_rows


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, EXACT_ROWS), (1, EXACT_ROWS + 1), (3, 29), (200,), (1, 0)])
def test_a_packed_layer_is_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40, bias=bias)).requires_grad_(False)
    x = torch.randn(*shape, 24)
    expected = model(x)
    pack(model)
    assert isinstance(model[0], PackedLinear)
    found = model(x)
    assert found.shape == (*shape, 40)
    torch.testing.assert_close(found, expected)


def test_rows_come_in_few_sizes_and_cost_at_most_a_quarter_more() -> None:
    assert [padded_rows(count) for count in (1, 31, 32, 33, 40, 41, 64, 65, 512, 513)] == [
        *(1, 31, 32, 40, 40, 48, 64, 80, 512, 640)
    ]
    sizes = {count: padded_rows(count) for count in range(1, 1025)}
    assert all(count <= size <= 1.25 * count for count, size in sizes.items())
    assert len({size for size in sizes.values() if size > EXACT_ROWS}) == 20  # five doublings, four each


def test_a_size_of_a_batch_that_is_new_is_one_that_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What oneDNN sees, of a layer that is given every number of rows."""
    seen: set[int] = set()
    layer = nn.Sequential(nn.Linear(8, 8)).requires_grad_(False)
    pack(layer)
    product = PackedLinear._product

    def noted(self: PackedLinear, x: torch.Tensor) -> torch.Tensor:
        seen.add(x.numel() // 8)
        return product(self, x)

    monkeypatch.setattr(PackedLinear, "_product", noted)
    for count in range(33, 257):
        layer(torch.zeros(1, count, 8))
    assert len(seen) == 12
