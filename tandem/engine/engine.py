"""The engine: many sequences of different lengths and trees through one forward pass of an unmodified model."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from tandem.decoding.scored import Scored
from tandem.decoding.values import Ids
from tandem.decoding.warp import Candidates
from tandem.engine.adjusting import Deltas
from tandem.engine.batch import BatchPlan, Feed
from tandem.engine.families import attention_shape
from tandem.engine.forward import run_pass
from tandem.engine.kv_pool import KVPool
from tandem.engine.loading import LoadedModel, ModelIdentity
from tandem.engine.masking import Mask
from tandem.engine.most_probable import candidates_with_top
from tandem.engine.prefix import PrefixCounts
from tandem.engine.ranks import Ranks
from tandem.engine.readout import Select, highest, top_candidates
from tandem.engine.scores import scores_of
from tandem.engine.sequence import Sequence
from tandem.engine.tree_model import CachedSequence, Row
from tandem.errors import InvalidArgument, InvariantBroken, OutOfKV


class Engine:
    """One model and its KV pool. Not safe to share between threads: one thread owns an engine."""

    def __init__(
        self, loaded: LoadedModel, *, num_kv_blocks: int, block_size: int = 16, ranks: Ranks | None = None
    ) -> None:
        """`ranks`: who else runs the model, as rank 0 sees them. Raises: InvalidArgument for a pool without room."""
        if num_kv_blocks < 1 or block_size < 1:
            raise InvalidArgument(f"a pool of {num_kv_blocks} blocks of {block_size} slots holds nothing")
        self.identity: ModelIdentity = loaded.identity
        self._dtype, self._device = loaded.model.dtype, loaded.model.device
        shape = attention_shape(loaded.model.config, ranks.size if ranks is not None else 1)
        pool = KVPool if ranks is None else ranks.pool
        self._kv = pool(shape, num_kv_blocks, block_size, self._dtype, self._device)
        self._run: Callable[[BatchPlan], torch.Tensor] = loaded.compiled or partial(
            run_pass if ranks is None else ranks.lead, loaded.model
        )
        self._select: Select = highest if loaded.compiled is None else loaded.compiled.select
        self._open: set[Sequence] = set()

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return self.identity.vocab_size

    @property
    def num_free_slots(self) -> int:
        """Slots in free blocks; a sequence's own last block may have room besides."""
        return self._kv.blocks.num_free * self._kv.block_size

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks that sequences hold, 0 to 1; one that several share counts once."""
        return 1.0 - self._kv.blocks.num_free / self._kv.blocks.num_blocks

    @property
    def prefix_counts(self) -> PrefixCounts:
        """How much KV was looked for and found, counted on."""
        return self._kv.prefix_counts

    def open(self, cache_salt: bytes | None = None) -> Sequence:
        """A sequence without tokens; it takes no block yet. It shares KV with others of its salt; None: with nobody."""
        sequence = Sequence(self._kv, cache_salt)
        self._open.add(sequence)
        return sequence

    def close(self, sequence: CachedSequence) -> None:
        """Free the sequence's blocks; a second time does nothing."""
        if sequence in self._open and isinstance(sequence, Sequence):
            self._open.discard(sequence)
            sequence.close()

    def candidates(self, rows: abc.Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        """`forward`, and the `width` highest adjusted, allowed logits of each token asked for. Raises: as `forward`."""
        logits, deltas, mask = self.forward(rows), Deltas.of(rows), Mask.of(rows)
        if num_top:
            return candidates_with_top(logits, width, deltas, mask, num_top, self._select)
        return top_candidates(logits, width, deltas, mask, self._select)

    def score(self, rows: abc.Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        """`forward`, and how probable `next_ids` `[sum k]` are where the rows ask. Raises: as `forward` does."""
        return scores_of(self.forward(rows), next_ids, num_top)

    def forward(self, rows: abc.Sequence[Row]) -> torch.Tensor:
        """Feed every row's tokens, write their KV, and return the logits that were asked for, as the model gives them.

        A token attends to the settled positions of its sequence, to its unsettled ancestors and to itself; its
        position is `sequence.length` plus its depth. A failed call leaves every sequence as it was.

        Returns: `[sum k, vocab_size]`, in row order, on the model's device and in its dtype.
        Raises: InvalidArgument, naming the row; OutOfKV if there are not enough free blocks for all rows.
        """
        feeds = [self._checked(index, row) for index, row in enumerate(rows)]
        if len({id(feed.sequence) for feed in feeds}) != len(feeds):
            raise InvalidArgument("a sequence may have one row only in a forward pass")
        num_missing = sum(feed.sequence.num_blocks_missing(len(feed.token_ids)) for feed in feeds)
        if num_missing > self._kv.blocks.num_free:
            raise OutOfKV(
                f"{num_missing} KV blocks are needed and {self._kv.blocks.num_free} of {self._kv.blocks.num_blocks} "
                "are free; close a sequence and try again"
            )
        if not feeds:
            return torch.empty((0, self.vocab_size), dtype=self._dtype, device=self._device)
        try:
            for feed in feeds:
                feed.sequence.reserve(len(feed.token_ids))
            logits = self._run(BatchPlan(self._kv, feeds))
        except BaseException:
            for feed in feeds:
                feed.sequence.trim()
            raise
        for feed in feeds:
            feed.sequence.grow(feed.tree, feed.token_ids)
        return logits

    def check_integrity(self) -> None:
        """Audit: every block is held as often as sequences own it, and every block table fits its sequence.

        Raises: InvariantBroken.
        """
        for sequence in self._open:
            if not sequence.is_open:
                raise InvariantBroken("a sequence was closed behind the engine's back")
            sequence.check()
        tables = [sequence.block_table for sequence in self._open]
        self._kv.blocks.check(np.concatenate(tables) if tables else np.empty(0, dtype=np.int64))

    def _checked(self, index: int, row: Row) -> Feed:
        """The row with its grown tree. Raises: InvalidArgument for anything that cannot be fed."""
        sequence, num_new = row.sequence, len(row.token_ids)
        if not isinstance(sequence, Sequence) or sequence not in self._open:
            raise InvalidArgument(f"row {index}: its sequence is not open in this engine")
        if num_new == 0 or len(row.parents) != num_new:
            raise InvalidArgument(
                f"row {index}: {num_new} tokens and {len(row.parents)} parents; expected as many, and one at least"
            )
        # Of a handful of numbers, which most rows are, lists are looked through many times as fast as arrays.
        token_ids, logits_at = row.token_ids.tolist(), row.logits_at.tolist()
        for token_id in (min(token_ids), max(token_ids)):
            if not 0 <= token_id < self.vocab_size:
                raise InvalidArgument(
                    f"row {index}: token id {token_id} is outside the vocabulary of {self.vocab_size}"
                )
        if logits_at and not (min(logits_at) >= 0 and max(logits_at) < num_new):
            raise InvalidArgument(f"row {index}: logits_at {logits_at} leaves its {num_new} tokens")
        if row.adjustment is not None:
            adjusted = row.adjustment.token_ids
            if row.adjustment.deltas.shape != (len(row.logits_at), len(adjusted)):
                raise InvalidArgument(f"row {index}: its adjustment is not of the logits that it asks for")
            if len(adjusted) and not (adjusted.min() >= 0 and adjusted.max() < self.vocab_size):
                raise InvalidArgument(f"row {index}: an adjusted id is outside the vocabulary of {self.vocab_size}")
        if row.allowed is not None and len(row.allowed) != len(row.logits_at):
            raise InvalidArgument(f"row {index}: it does not say what is allowed at each of the logits it asks for")
        try:
            tree = sequence.tree.extended(row.parents.tolist())
        except InvalidArgument as error:
            raise InvalidArgument(f"row {index}: {error}") from error
        num_positions = sequence.length + max(tree.depths) + 1
        if num_positions > self.identity.max_positions:
            raise InvalidArgument(
                f"row {index}: {num_positions} positions are needed and the model has {self.identity.max_positions}"
            )
        return Feed(sequence, row.token_ids, row.logits_at, tree)
