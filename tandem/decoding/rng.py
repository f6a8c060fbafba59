"""Counter-based draws: every number is a function of its key, never of a generator's state.

A key is hashed from a seed and the place of the draw (SplitMix64's finaliser, Steele, Lea and Flood 2014, applied to
each word in turn), so a round that is computed again, on any replica, draws the same numbers. Bump
``DRAWING_VERSION`` with any change that alters a single draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from tandem.decoding.values import Floats, Ids

DRAWING_VERSION = 1

Keys = npt.NDArray[np.uint64]

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
    words = (words ^ (words >> _SHIFT_30)) * _FIRST
    words = (words ^ (words >> _SHIFT_27)) * _SECOND
    return words ^ (words >> _SHIFT_31)


def base_keys(seeds: Keys, positions: Ids) -> Keys:
    """Keys of (seed, position) pairs, [n]."""
    return _mix(_mix(seeds + _GOLDEN) ^ _mix(positions.astype(np.uint64) * _GOLDEN + _FIRST))


def place_keys(bases: Keys, depths: Ids, nodes: Ids, purpose: Purpose) -> Keys:
    """Keys of places within rounds: (base, depth, node, purpose), [n]. Depths and nodes lie below 2**24."""
    words = (
        (np.uint64(purpose) << np.uint64(56)) ^ (depths.astype(np.uint64) << np.uint64(28)) ^ nodes.astype(np.uint64)
    )
    return _mix(bases ^ _mix(words * _GOLDEN + _SECOND))


def uniform(keys: Keys, counters: Ids) -> Floats:
    """Uniform numbers in the open interval (0, 1), one per (key, counter); the arguments broadcast."""
    bits = _mix(keys ^ _mix(counters.astype(np.uint64) * _GOLDEN + _FIRST)) >> _SHIFT_12
    return (bits.astype(np.float64) + 0.5) * 2.0**-52  # 52 bits and a half fill the mantissa: nothing rounds up to 1


def gumbel(keys: Keys, ids: Ids) -> Floats:
    """Standard Gumbel numbers, one per (row's key, token id).

    Args:
        keys: [rows]
        ids: [rows, width]; the padding id -1 draws a number too, which callers mask by its log-probability.

    Returns:
        [rows, width]. ``argmax(log_probs + gumbel)`` is a draw from the distribution (Gumbel-max), and the k largest
        are k draws without replacement (Kool, van Hoof and Welling 2019).
    """
    noise: Floats = -np.log(-np.log(uniform(keys[:, None], ids)))
    return noise


@dataclass(frozen=True, slots=True)
class RoundDraws:
    """The draws of one round: keyed by the seed and the position where the round begins.

    ``greedy`` silences the Gumbel noise, so that every choice is the most probable one (temperature 0).
    """

    seed: int
    position: int
    greedy: bool

    def _base(self, position: int) -> Keys:
        return base_keys(np.array([self.seed], dtype=np.uint64), np.array([position]))

    def accepts(self, depth: int, node: int) -> float:
        """A uniform number in (0, 1) that decides on one node."""
        keys = place_keys(self._base(self.position), np.array([depth]), np.array([node]), Purpose.ACCEPT)
        return float(uniform(keys, np.zeros(1, np.int64))[0])

    def choose(self, ids: Ids, log_probs: Floats, depth: int, node: int) -> int:
        """Draws one of ``ids`` [width] by ``log_probs`` [width] after ``node``; any constant factor is ignored."""
        if self.greedy:
            return int(ids[np.argmax(log_probs)])
        keys = place_keys(self._base(self.position), np.array([depth]), np.array([node + 1]), Purpose.EXTRA)
        return int(ids[np.argmax(log_probs + gumbel(keys, ids[None])[0])])

    def choose_at_position(self, ids: Ids, log_probs: Floats, depth: int) -> int:
        """The target's own token, ``depth`` tokens after the round's position: the same in every method that asks."""
        if self.greedy:
            return int(ids[np.argmax(log_probs)])
        return int(ids[np.argmax(log_probs + gumbel(position_keys(self.seed, self.position + depth), ids[None])[0])])


def position_keys(seed: int, position: int) -> Keys:
    """The key of the noise that ``autoregressive`` and ``coupled`` share at an absolute position, [1]."""
    bases = base_keys(np.array([seed], dtype=np.uint64), np.array([position]))
    zero = np.zeros(1, np.int64)
    return place_keys(bases, zero, zero, Purpose.POSITION)
