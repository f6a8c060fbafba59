"""Scoring given texts, a chunk of tokens at a time, beside whatever else the model does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tandem.decoding.scored import Scored
from tandem.decoding.values import Ids, TextScores, TopLogProbs
from tandem.engine.metered import MeteredModel
from tandem.engine.residents import Residents
from tandem.engine.tree_model import CachedSequence, Row
from tandem.errors import OutOfKV, RowFailed, TandemError


@dataclass(frozen=True, slots=True)
class _Feed:
    """What one pass reads of a text."""

    row: Row
    next_ids: Ids
    """[k], the tokens that follow where the row asks for logits."""


class ScoredText:
    """A text that is being scored.

    KV that is taken from it meanwhile is computed again, its scores are not: they are known for a leading part of the
    text that only grows.
    """

    def __init__(self, cache: CachedSequence, token_ids: Sequence[int], num_top: int) -> None:
        self.cache = cache
        self.num_top = num_top
        self.num_evicted = 0
        """How often its KV was taken."""
        self._token_ids = np.asarray(token_ids, np.int64)
        self._log_probs: list[float] = []
        self._ranks: list[int] = []
        self._tops: list[TopLogProbs] = []

    @property
    def num_pending(self) -> int:
        """How many tokens are still to be read; the last one of a text is not."""
        return 0 if self.finished else len(self._token_ids) - 1 - self.cache.length

    @property
    def finished(self) -> bool:
        """Whether every token from the second on has its score."""
        return len(self._log_probs) == len(self._token_ids) - 1

    @property
    def scores(self) -> TextScores:
        """Of the tokens scored so far."""
        return TextScores(tuple(self._log_probs), tuple(self._ranks), tuple(self._tops))

    def feed(self, count: int) -> _Feed:
        """The next ``count`` tokens, asking for logits where the next token has no score yet."""
        start = self.cache.length
        stop, first = start + count, max(start, len(self._log_probs))
        row = Row(
            self.cache, self._token_ids[start:stop], np.arange(-1, count - 1), np.arange(first - start, stop - start)
        )
        return _Feed(row, self._token_ids[first + 1 : stop + 1])

    def take(self, feed: _Feed, scored: Scored, first: int) -> None:
        """Takes in what a pass that read ``feed`` found, from place ``first`` on.

        Raises:
            RowFailed: the logits are not finite.
        """
        places = range(first, first + len(feed.next_ids))
        mine = slice(first, first + len(feed.next_ids))
        if not scored.finite[mine].all():
            raise RowFailed("the target model's logits are not finite for this text; it was not scored")
        self.cache.settle(range(len(feed.row.token_ids)))
        self._log_probs += scored.log_probs[mine].tolist()
        self._ranks += scored.ranks[mine].tolist()
        if self.num_top and scored.top is not None:
            self._tops += scored.top.at(places, self.num_top)

    def forget_kv(self) -> None:
        """Gives up the KV; it is computed again when next needed."""
        self.cache.rollback(0)
        self.num_evicted += 1


class Scorer:
    """Scores with a model, whose KV it shares with the texts that are decoded. One thread owns both."""

    def __init__(self, residents: Residents, metered: MeteredModel | None) -> None:
        self._residents = residents
        self._metered = metered

    def open(self, token_ids: Sequence[int], num_top: int) -> ScoredText:
        """Begins a text."""
        text = ScoredText(self._residents.model.open(), token_ids, num_top)
        self._residents.admit(text)
        return text

    def close(self, text: ScoredText) -> None:
        """Ends a text and frees its KV. Safe to repeat."""
        self._residents.close(text)

    def advance(self, work: Sequence[tuple[ScoredText, int]]) -> list[TandemError | None]:
        """Reads so many further tokens of each text, in one forward pass; what went wrong with each, in order.

        A text with which something went wrong is to be closed.
        """
        if not work:
            return []
        texts = [text for text, _ in work]
        feeds = [text.feed(count) for text, count in work]
        next_ids = np.concatenate([feed.next_ids for feed in feeds])
        num_top = max(text.num_top for text in texts)
        try:
            scored = self._residents.score([feed.row for feed in feeds], next_ids, num_top, texts)
        except OutOfKV as error:
            if len(work) == 1:
                return [error]
            half = len(work) // 2
            return self.advance(work[:half]) + self.advance(work[half:])
        if self._metered is not None:
            self._metered.charge(texts)
        results: list[TandemError | None] = []
        first = 0
        for text, feed in zip(texts, feeds, strict=True):
            try:
                text.take(feed, scored, first)
            except TandemError as error:
                results.append(error)
            else:
                results.append(None)
            first += len(feed.next_ids)
        return results
