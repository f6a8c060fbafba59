"""What drafting and judging ask of a model: rows of tokens and trees in, the best candidates out.

:class:`tandem.engine.engine.Engine` is the one that runs real models; tests enumerate with tabular ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tandem.decoding.adjusting import Adjustment
from tandem.decoding.scored import Scored
from tandem.decoding.values import Ids
from tandem.decoding.warp import Candidates
from tandem.matching import Bitmask


class CachedSequence(Protocol):
    """KV that a model holds for one text: settled positions, then unsettled nodes fed since."""

    @property
    def length(self) -> int:
        """Number of settled positions."""
        ...

    @property
    def num_unsettled(self) -> int:
        """Number of nodes fed and neither settled nor dropped."""
        ...

    def settle(self, path: Sequence[int]) -> None:
        """Settles the unsettled nodes of a path from the root, ascending, and drops all others."""
        ...

    def rollback(self, length: int) -> None:
        """Truncates the settled positions to ``length``, or fewer where blocks are shared, and drops every node."""
        ...

    def adopt(self, text: Sequence[int], stop: int) -> int:
        """Settles what others have computed already of a text, up to ``stop``; settled positions are its beginning.

        Returns:
            How many positions more are settled. Where there are any, unsettled nodes are dropped.
        """
        ...

    def next_key(self, text: Sequence[int]) -> bytes | None:
        """Names the block of KV that reading on in a text would fill next; None for one that is never shared."""
        ...

    def distrust(self) -> None:
        """As a rollback to nothing, of KV that may be wrong: nobody else adopts it from now on."""
        ...


class Resident(Protocol):
    """Whoever has a sequence in a model's KV pool, and can do without it for a while."""

    @property
    def cache(self) -> CachedSequence:
        """The sequence."""
        ...

    def forget_kv(self) -> None:
        """Gives up the KV; it is computed again when next needed."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one sequence for one forward pass."""

    sequence: CachedSequence
    token_ids: Ids  # [n]
    parents: Ids  # [n], among the sequence's unsettled nodes, those of this row last; -1 is the last settled position
    logits_at: Ids  # [k], which of the n tokens' logits are asked for
    adjustment: Adjustment | None = None  # of the k logits, before the highest are chosen
    allowed: Bitmask | None = None  # which tokens may be chosen at each of the k places; None is all


class TreeModel(Protocol):
    """A causal language model that keeps KV by sequence and reads trees."""

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        ...

    def open(self, cache_salt: bytes | None = None) -> CachedSequence:
        """A sequence without any KV yet; it may share that of others with the same salt, unless the salt is None."""
        ...

    def close(self, sequence: CachedSequence) -> None:
        """Frees a sequence's KV. Safe to repeat."""
        ...

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        """Runs one forward pass, and returns the ``width`` highest logits wherever the rows ask, in row order.

        They are chosen once the rows' adjustments have been added, and what they do not allow has become -inf. With
        ``num_top``, the so many most probable tokens of each place come along, as the model gives them.

        Raises:
            OutOfKV: no blocks are free; nothing was changed.
        """
        ...

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        """Runs one forward pass, and returns how probable ``next_ids`` ``[sum k]`` are wherever the rows ask.

        With ``num_top``, the so many most probable tokens of each place come along.

        Raises:
            OutOfKV: no blocks are free; nothing was changed.
        """
        ...

    def check_integrity(self) -> None:
        """Audits the KV pool.

        Raises:
            InvariantBroken: something that must hold does not.
        """
        ...
