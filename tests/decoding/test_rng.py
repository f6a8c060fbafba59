"""Draws are functions of their keys: pinned, uniform, and independent of one another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tandem.decoding.rng import DRAWING_VERSION, Purpose, base_keys, gumbel, place_keys, uniform

MASK = (1 << 64) - 1

PINNED_UNIFORM = [
    ["0x1.5c41227999ec5p-1", "0x1.18d1c20ca0c91p-1", "0x1.50f6d600744c2p-2", "0x1.caa9d1ddd9deap-2"],
    ["0x1.bea4a3a9d02d1p-1", "0x1.4cff6e121a744p-3", "0x1.9f9aaec8135ddp-1", "0x1.81a52370cb456p-2"],
    ["0x1.071bdd8bfbc9ep-2", "0x1.48dfa3731d327p-1", "0x1.7b2e74e06e089p-1", "0x1.546db13765402p-2"],
    ["0x1.9631bd9bb22f5p-1", "0x1.3c6e9aa255885p-1", "0x1.dfc04acf3967ap-2", "0x1.4f4013d0a2289p-1"],
]
"""By place, then by purpose."""
PINNED_GUMBEL = [0.7594915935750362, 0.9275938930823286, -1.0815813680900404, 1.3355940599569947, -1.4788698174969808]


def keys_of(seed: int, position: int, depth: int, node: int, purpose: Purpose) -> np.ndarray:
    bases = base_keys(np.array([seed], np.uint64), np.array([position]))
    return place_keys(bases, np.array([depth]), np.array([node]), purpose)


def plain_mix(word: int) -> int:
    """SplitMix64's finaliser, in Python's integers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def unmix(word: int) -> int:
    """The inverse of ``plain_mix``."""
    word ^= (word >> 31) ^ (word >> 62)
    word = (word * pow(0x94D049BB133111EB, -1, 1 << 64)) & MASK
    word ^= (word >> 27) ^ (word >> 54)
    word = (word * pow(0xBF58476D1CE4E5B9, -1, 1 << 64)) & MASK
    return word ^ (word >> 30) ^ (word >> 60)


def test_draws_of_version_1_are_pinned() -> None:
    # A seed promises a text. Whoever changes these numbers raises DRAWING_VERSION.
    assert DRAWING_VERSION == 1
    places = [(0, 0, 0, 0), (1, 0, 0, 0), (2**64 - 1, 1 << 20, 3, 2), (12345, 678, 32, 511)]
    drawn = [
        [float(uniform(keys_of(*place, purpose), np.array([7]))[0]).hex() for purpose in Purpose] for place in places
    ]
    assert drawn == PINNED_UNIFORM
    noise = gumbel(keys_of(3, 14, 0, 0, Purpose.POSITION), np.array([[0, 1, 2, 63, 151_935]]))[0]
    np.testing.assert_allclose(noise, PINNED_GUMBEL, rtol=1e-12)


def test_keys_are_hashed_as_written_down() -> None:
    golden, first, second = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
    for seed, position, depth, node, counter in [(0, 0, 0, 0, 0), (2**64 - 1, 99, 4, 17, 151_935)]:
        base = plain_mix(plain_mix((seed + golden) & MASK) ^ plain_mix((position * golden + first) & MASK))
        words = (int(Purpose.EXTRA) << 56) ^ (depth << 28) ^ node
        key = plain_mix(base ^ plain_mix((words * golden + second) & MASK))
        bits = plain_mix(key ^ plain_mix((counter * golden + first) & MASK)) >> 12
        drawn = uniform(keys_of(seed, position, depth, node, Purpose.EXTRA), np.array([counter]))[0]
        assert drawn == (2 * bits + 1) / 2**53


def test_token_ids_beyond_the_usual_vocabularies_draw_as_those_within() -> None:
    key = keys_of(1, 2, 3, 4, Purpose.DRAFT)
    ids = np.array([[5, (1 << 18) - 1, 1 << 18, 1 << 20]])
    together = gumbel(key, ids)
    for column in range(4):
        assert gumbel(key, ids[:, [column]])[0, 0] == together[0, column]


def test_no_bits_make_a_number_outside_the_open_interval() -> None:
    counter = plain_mix(0xBF58476D1CE4E5B9)  # what counter 0 is mixed to
    for bits in (0, MASK):
        key = np.array([unmix(bits) ^ counter], np.uint64)
        drawn = float(uniform(key, np.zeros(1, np.int64))[0])
        assert 0 < drawn < 1
        assert np.isfinite(gumbel(key, np.zeros((1, 1), np.int64))).all()


def test_a_draw_does_not_depend_on_what_is_drawn_beside_it() -> None:
    seeds = np.arange(50, dtype=np.uint64)
    ids = np.arange(20)[None].repeat(50, axis=0)
    keys = place_keys(base_keys(seeds, np.arange(50)), np.full(50, 2), np.arange(50), Purpose.DRAFT)
    together = gumbel(keys, ids)
    for row in range(50):
        alone = gumbel(keys_of(row, row, 2, row, Purpose.DRAFT), ids[row : row + 1, ::-1])
        np.testing.assert_array_equal(together[row], alone[0, ::-1])


@pytest.mark.parametrize("varied", ["seed", "position", "depth", "node", "counter"])
def test_draws_are_uniform_along_every_part_of_the_key(varied: str) -> None:
    number, ones = np.arange(20_000), np.ones(20_000, np.int64)
    part = {name: number if name == varied else ones for name in ("seed", "position", "depth", "node", "counter")}
    for purpose in Purpose:
        keys = place_keys(
            base_keys(part["seed"].astype(np.uint64), part["position"]), part["depth"], part["node"], purpose
        )
        drawn = uniform(keys, part["counter"])
        assert stats.kstest(drawn, "uniform").pvalue > 1e-4
        # Neighbours in the order of the key are independent: a chi-square of successive pairs on a grid of 8 by 8.
        cells = np.histogram2d(drawn[:-1], drawn[1:], bins=8, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(cells.ravel(), sum_check=False).pvalue > 1e-4


def test_draws_for_different_places_are_independent() -> None:
    seeds = np.arange(20_000, dtype=np.uint64)
    ones = np.ones(20_000, np.int64)
    streams = []
    for purpose in Purpose:
        for position, depth, node, counter in [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)]:
            keys = place_keys(base_keys(seeds, position * ones), depth * ones, node * ones, purpose)
            streams.append(uniform(keys, counter * ones))
    correlations = np.corrcoef(streams)[np.triu_indices(len(streams), 1)]
    # 190 pairs, each normal with deviation 1 / sqrt(20,000).
    assert np.abs(correlations).max() < 4.5 / np.sqrt(20_000)
    assert stats.kstest(correlations * np.sqrt(20_000), "norm").pvalue > 1e-4


def test_gumbel_numbers_have_their_distribution() -> None:
    keys = base_keys(np.arange(400, dtype=np.uint64), np.zeros(400, np.int64))
    noise = gumbel(keys, np.arange(50)[None].repeat(400, axis=0))
    assert stats.kstest(noise.ravel(), "gumbel_r").pvalue > 1e-4
