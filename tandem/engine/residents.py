"""The texts that share one model's KV pool, and who gives way when it is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

from tandem.decoding.scored import Scored
from tandem.decoding.values import Decoding, Ids, Sampling
from tandem.decoding.warp import Candidates
from tandem.engine.text import TextSequence, prefill
from tandem.engine.tree_model import Resident, Row, TreeModel
from tandem.errors import InvalidArgument, OutOfKV
from tandem.matching import Grammars, Matcher

_Result = TypeVar("_Result")


class Residents:
    """Open texts, least recently used first. A text that loses its KV loses time, never its place."""

    def __init__(self, model: TreeModel, grammars: Grammars | None = None) -> None:
        """Without ``grammars``, texts with a constraint are refused."""
        self.model = model
        self._grammars = grammars
        self._texts: OrderedDict[int, Resident] = OrderedDict()

    def open(self, token_ids: Sequence[int], decoding: Decoding, warped: Sampling) -> TextSequence:
        """Admits a text, without any KV yet; ``warped`` is how this model's distributions are warped for it.

        Raises:
            InvalidArgument: its constraint cannot be served.
        """
        matcher = self._matcher(decoding)
        text = TextSequence(self.model.open(decoding.cache_salt), token_ids, decoding, warped, matcher)
        self.admit(text)
        return text

    def admit(self, text: Resident) -> None:
        """Admits a text that was opened in the model."""
        self._texts[id(text)] = text

    def close(self, text: Resident) -> None:
        """Dismisses a text and frees its KV. Safe to repeat."""
        if self._texts.pop(id(text), None) is not None:
            self.model.close(text.cache)

    def prepare(self, texts: Sequence[TextSequence]) -> None:
        """Marks texts as in use and computes all of their pending ends but the last chunk.

        Raises:
            OutOfKV: these texts do not fit together, even alone.
        """
        self._making_room(texts, lambda: prefill(self.model, texts))

    def read(self, text: TextSequence, count: int) -> None:
        """Marks a text as in use and computes the next ``count`` tokens of its pending end.

        Raises:
            OutOfKV: the text does not fit, even alone.
        """
        self._making_room([text], lambda: self.model.candidates([text.feed_text(count)], 1))
        text.adopt()  # settles what was read: others find it from now on

    def candidates(
        self, rows: Sequence[Row], width: int, texts: Sequence[TextSequence], num_top: int = 0
    ) -> Candidates:
        """One forward pass over ``rows``, which belong to ``texts``; other texts' KV is evicted where it must be.

        Raises:
            OutOfKV: these texts do not fit together, even alone.
        """
        return self._making_room(texts, lambda: self.model.candidates(rows, width, num_top))

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int, texts: Sequence[Resident]) -> Scored:
        """As `candidates`, of a pass that scores.

        Raises:
            OutOfKV: these texts do not fit together, even alone.
        """
        return self._making_room(texts, lambda: self.model.score(rows, next_ids, num_top))

    def _making_room(self, texts: Sequence[Resident], step: Callable[[], _Result]) -> _Result:
        """What ``step`` for ``texts``, which are in use now, comes to, once enough KV of others is given up."""
        for text in texts:
            self._texts.move_to_end(id(text))
        while True:
            try:
                return step()
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

    def _evict(self, needed: Sequence[Resident]) -> bool:
        """Takes the KV of the text that was used least recently and is not needed now; False when there is none."""
        keep = {id(text) for text in needed}
        for key, text in self._texts.items():
            if key not in keep and text.cache.length + text.cache.num_unsettled > 0:
                text.forget_kv()
                return True
        return False
