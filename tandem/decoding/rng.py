"""Counter-based draws: every number is a function of its key, never of a generator's state.

A key is hashed from a seed and the place of the draw (SplitMix64's finaliser, Steele, Lea and Flood 2014, applied to
each word in turn), so a round that is computed again, on any replica, draws the same numbers. Bump
``DRAWING_VERSION`` with any change that alters a single draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Self

import numpy as np
import numpy.typing as npt

from tandem.decoding.values import Floats, Ids

DRAWING_VERSION = 1

Keys = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

_ZERO = np.zeros(1, np.int64)
_NUM_TABLED = 1 << 18

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_12 = (np.uint64(shift) for shift in (30, 27, 31, 12))


class Purpose(IntEnum):
    """What a draw is for: draws for different purposes are independent."""

    POSITION = 0
    """The target's token at an absolute position: autoregressive and coupled."""
    DRAFT = 1
    """Which continuations are drafted."""
    ACCEPT = 2
    """Whether a drafted token is accepted."""
    EXTRA = 3
    """The token after the accepted ones."""


def _mix(words: Keys) -> Keys:
    """The finaliser, applied in place."""
    words ^= words >> _SHIFT_30
    words *= _FIRST
    words ^= words >> _SHIFT_27
    words *= _SECOND
    words ^= words >> _SHIFT_31
    return words


def base_keys(seeds: Keys, positions: Ids) -> Keys:
    """Keys of (seed, position) pairs, [n]."""
    return _mix(_mix(seeds + _GOLDEN) ^ _mix(positions.astype(np.uint64) * _GOLDEN + _FIRST))


def place_keys(bases: Keys, depths: Ids, nodes: Ids, purpose: Purpose) -> Keys:
    """Keys of places within rounds: (base, depth, node, purpose), [n]; the arguments broadcast.

    A depth counts tokens after the round's position. Depths and nodes lie below 2**24.
    """
    words = (
        (np.uint64(purpose) << np.uint64(56)) ^ (depths.astype(np.uint64) << np.uint64(28)) ^ nodes.astype(np.uint64)
    )
    return _mix(bases ^ _mix(words * _GOLDEN + _SECOND))


def _counter_words(counters: Ids) -> Keys:
    if counters.max(initial=0) < _NUM_TABLED:
        return _tabled_counter_words()[counters]
    return _mix(counters.astype(np.uint64) * _GOLDEN + _FIRST)


@cache
def _tabled_counter_words() -> Keys:
    """The counters' part of the hash for all token ids of the usual vocabularies, 2 MB: half the cost of a draw."""
    return _mix(np.arange(_NUM_TABLED, dtype=np.uint64) * _GOLDEN + _FIRST)


def uniform(keys: Keys, counters: Ids) -> Floats:
    """Uniform numbers in the open interval (0, 1), one per (key, counter); the arguments broadcast."""
    bits = _mix(keys ^ _counter_words(counters)) >> _SHIFT_12
    return (bits.astype(np.float64) + 0.5) * 2.0**-52  # 52 bits and a half fill the mantissa: nothing rounds up to 1


def gumbel(keys: Keys, ids: Ids) -> Floats:
    """Standard Gumbel numbers, one per (row's key, token id).

    Args:
        keys: [rows]
        ids: [rows, width], not negative

    Returns:
        [rows, width]. ``argmax(log_probs + gumbel)`` is a draw from the distribution (Gumbel-max), and the k largest
        are k draws without replacement (Kool, van Hoof and Welling 2019).
    """
    noise = uniform(keys[:, None], ids)
    for _ in range(2):
        np.negative(np.log(noise, out=noise), out=noise)
    return noise


@dataclass(frozen=True, slots=True)
class RoundKeys:
    """What fixes the draws of some rounds, one a row, so that many rounds draw in one step; each array [rows]."""

    seeds: Keys
    positions: Ids
    """Where each round begins."""
    bases: Keys
    coupled: Flags | None
    """Which draw tokens by absolute position, with the noise that ``autoregressive`` uses there; None: none does."""
    greedy: Flags | None
    """Which have temperature 0, where Gumbel noise is silenced so that the most probable is chosen; None: none has."""

    @classmethod
    def of(
        cls, seeds: Sequence[int], positions: Sequence[int], coupled: Sequence[bool], greedy: Sequence[bool]
    ) -> Self:
        """Rounds by their seed and position."""
        words, places = np.array(seeds, np.uint64), np.array(positions, np.int64)
        flags = [np.array(given, np.bool_) if any(given) else None for given in (coupled, greedy)]
        return cls(words, places, base_keys(words, places), *flags)

    def take(self, rows: Ids) -> RoundKeys:
        """Some of the rows, in the order given."""
        flags = [given if given is None else given[rows] for given in (self.coupled, self.greedy)]
        return RoundKeys(self.seeds[rows], self.positions[rows], self.bases[rows], *flags)

    def places(self, depths: Ids, nodes: Ids, purpose: Purpose) -> Keys:
        """Keys for drawing tokens at a place in each round; [rows], or [..., rows] for depths [..., 1]."""
        keys = place_keys(self.bases, depths, nodes, purpose)
        if self.coupled is None:
            return keys
        by_position = place_keys(base_keys(self.seeds, self.positions + depths), _ZERO, _ZERO, Purpose.POSITION)
        return np.where(self.coupled, by_position, keys)

    def noise(self, places: Keys, ids: Ids) -> Floats:
        """Gumbel numbers for each of ``ids`` [rows, width] at ``places`` [rows], [rows, width]."""
        if self.greedy is None:
            return gumbel(places, ids)
        noise = np.zeros(ids.shape)
        if not self.greedy.all():
            drawn = ~self.greedy
            noise[drawn] = gumbel(places[drawn], ids[drawn])
        return noise

    def accepts(self, depths: Ids, nodes: Ids) -> Floats:
        """A uniform number in (0, 1) that decides on a node in each round, [rows]."""
        return uniform(place_keys(self.bases, depths, nodes, Purpose.ACCEPT), _ZERO)
