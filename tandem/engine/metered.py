"""A model whose energy is measured: it notes what it reads for which text, so that each pays its share of a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tandem.decoding.scored import Scored
from tandem.decoding.values import Ids
from tandem.decoding.warp import Candidates
from tandem.energy.meter import EnergyMeter
from tandem.engine.text import TextSequence
from tandem.engine.tree_model import CachedSequence, Resident, Row, TreeModel


class MeteredModel:
    """A `TreeModel` around another one."""

    def __init__(self, model: TreeModel, meter: EnergyMeter) -> None:
        self._model = model
        self._meter = meter
        self._num_read: Counter[int] = Counter()  # tokens since the last charge, by identity of the KV

    @property
    def vocab_size(self) -> int:
        """As the model's."""
        return self._model.vocab_size

    def open(self, cache_salt: bytes | None = None) -> CachedSequence:
        """As the model's."""
        return self._model.open(cache_salt)

    def close(self, sequence: CachedSequence) -> None:
        """As the model's."""
        self._model.close(sequence)

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        """As the model's. Raises: OutOfKV."""
        self._meter.begin()
        found = self._model.candidates(rows, width, num_top)
        self._note_read(rows)
        return found

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        """As the model's. Raises: OutOfKV."""
        self._meter.begin()
        scored = self._model.score(rows, next_ids, num_top)
        self._note_read(rows)
        return scored

    def check_integrity(self) -> None:
        """As the model's."""
        self._model.check_integrity()

    def _note_read(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._num_read[id(row.sequence)] += len(row.token_ids)

    def charge_later(self, text: TextSequence) -> None:
        """Ends a pass that read a part of a text, which pays for it with its next round."""
        joules = self.charge([text])
        if joules is not None:
            text.joules_owed += joules[0]

    def charge(self, texts: Sequence[Resident]) -> list[float] | None:
        """Ends a pass over ``texts``: joules of each, or None where they are not measured (any more)."""
        num_read = [self._num_read[id(text.cache)] for text in texts]
        self._num_read.clear()
        return self._meter.charge(num_read)
