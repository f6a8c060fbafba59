"""The texts that share one model's KV pool, and who gives way when it is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from tandem.decoding.values import Decoding, Sampling
from tandem.decoding.warp import Candidates
from tandem.engine.text import TextSequence, prefill
from tandem.engine.tree_model import Row, TreeModel
from tandem.errors import InvalidArgument, OutOfKV
from tandem.matching import Grammars, Matcher


class Residents:
    """Open texts, least recently used first. A text that loses its KV loses time, never its place."""

    def __init__(self, model: TreeModel, grammars: Grammars | None = None) -> None:
        """Without ``grammars``, texts with a constraint are refused."""
        self.model = model
        self._grammars = grammars
        self._texts: OrderedDict[int, TextSequence] = OrderedDict()

    def open(self, token_ids: Sequence[int], decoding: Decoding, warped: Sampling) -> TextSequence:
        """Admits a text, without any KV yet; ``warped`` is how this model's distributions are warped for it.

        Raises:
            InvalidArgument: its constraint cannot be served.
        """
        matcher = self._matcher(decoding)
        text = TextSequence(self.model.open(), token_ids, decoding, warped, matcher)
        self._texts[id(text)] = text
        return text

    def close(self, text: TextSequence) -> None:
        """Dismisses a text and frees its KV. Safe to repeat."""
        if self._texts.pop(id(text), None) is not None:
            self.model.close(text.cache)

    def prepare(self, texts: Sequence[TextSequence]) -> None:
        """Marks texts as in use and computes all of their pending ends but the last chunk.

        Raises:
            OutOfKV: these texts do not fit together, even alone.
        """
        for text in texts:
            self._texts.move_to_end(id(text))
        while True:
            try:
                return prefill(self.model, texts)
            except OutOfKV:
                if not self._evict(texts):
                    raise

    def candidates(self, rows: Sequence[Row], width: int, texts: Sequence[TextSequence]) -> Candidates:
        """One forward pass over ``rows``, which belong to ``texts``; other texts' KV is evicted where it must be.

        Raises:
            OutOfKV: these texts do not fit together, even alone.
        """
        while True:
            try:
                return self.model.candidates(rows, width)
            except OutOfKV:
                if not self._evict(texts):
                    raise

    def _matcher(self, decoding: Decoding) -> Matcher | None:
        constraint = decoding.sampling.constraint
        if constraint is None:
            return None
        if self._grammars is None:
            raise InvalidArgument(f"{constraint.kind} cannot be served: the model has no tokenizer", constraint.kind)
        return self._grammars.matcher(constraint, decoding.eos_token_ids)

    def _evict(self, needed: Sequence[TextSequence]) -> bool:
        """Takes the KV of the text that was used least recently and is not needed now; False when there is none."""
        keep = {id(text) for text in needed}
        for key, text in self._texts.items():
            if key not in keep and text.cache.length + text.cache.num_unsettled > 0:
                text.forget_kv()
                return True
        return False
