"""A text and how much of it a model holds in KV."""

from __future__ import annotations

from collections.abc import Sequence as Tokens

import numpy as np

from tandem.decoding.adjusting import NOTHING_SAID, Adjuster, Adjustment, Tally
from tandem.decoding.values import Decoding, Ids, RunningDigest, Sampling
from tandem.engine.tree_model import CachedSequence, Row, TreeModel
from tandem.errors import InvalidArgument
from tandem.matching import Bitmask, Matcher

CHUNK_TOKENS = 512
"""Of a long text, read in one pass."""
_WORTH_LOOKING_FOR = 16
"""Pending tokens from which on KV is looked for: what a round leaves pending is computed sooner than found."""

_NO_TOKENS: Ids = np.empty(0, np.int64)


class TextSequence:
    """A session's text on the side of one model.

    The text is always longer than the settled KV: the last token at least is fed again, because what follows it is
    what a round asks for. Nodes that were fed and not yet settled are the pending end of the text, then a token tree.
    """

    def __init__(
        self,
        cache: CachedSequence,
        token_ids: Tokens[int],
        decoding: Decoding,
        warped: Sampling,
        matcher: Matcher | None = None,
    ) -> None:
        """``matcher``: of the text's constraint, where it has one."""
        self.cache = cache
        self.broken: InvalidArgument | None = None
        """Why nothing may be drawn from what was fed last: the text breaks its constraint, or that is too complex."""
        self.decoding = decoding
        self.warped = warped  # how this model's distributions are warped for this text
        self.token_ids: list[int] = list(token_ids)
        self._running = RunningDigest(self.token_ids)
        self._ended = self._ends(0)
        self._num_fed_of_text = 0
        self._is_being_read = False
        self._tree_tokens: list[int] = []
        self._tree_parents: list[int] = []
        self._adjuster = Adjuster.of(decoding.sampling)
        self._tally = NOTHING_SAID  # of the text that the tree stands on
        self._matcher = matcher
        self.num_setbacks = 0
        """How often KV was taken while the text was being read; 0 again once a round is run."""
        self.joules_owed = 0.0
        """Of reading parts of the text, to be paid with the next round."""

    @property
    def position(self) -> int:
        """Number of tokens."""
        return len(self.token_ids)

    @property
    def digest(self) -> bytes:
        """Running digest of the text."""
        return self._running.value

    @property
    def cached_position(self) -> int:
        """Number of leading tokens whose KV is held."""
        return self.cache.length

    @property
    def finished(self) -> bool:
        """Whether generation has appended an end token or reached ``max_position``."""
        return self._ended or self.position >= self.decoding.max_position

    def extend(self, token_ids: Tokens[int]) -> None:
        """Appends tokens; KV that was computed for them as candidates is kept."""
        start = self.position
        self.token_ids.extend(token_ids)
        self._running.extend(token_ids)
        # An end token in a prompt is part of the prompt: only what is generated can end the text.
        self._ended = self._ended or self._ends(start)
        self._settle(start)

    def replace_text(self, token_ids: Tokens[int]) -> None:
        """Takes another text; the KV of the common prefix is kept."""
        old, new = np.asarray(self.token_ids, np.int64), np.asarray(token_ids, np.int64)
        shared = min(len(old), len(new))
        differing = np.flatnonzero(old[:shared] != new[:shared])
        common = int(differing[0]) if len(differing) else shared
        self.token_ids = list(token_ids)
        self._running = RunningDigest(self.token_ids)
        self._ended = False
        self._settle(common)

    @property
    def num_pending(self) -> int:
        """How many tokens at the end of the text have no settled KV, at least one. What was fed is settled first."""
        if self._num_fed_of_text or self._tree_tokens:
            self._settle(self.position)
        if self.cache.length >= self.position:
            self.cache.rollback(self.position - 1)
        return self.position - self.cache.length

    @property
    def is_begun(self) -> bool:
        """Whether a part of the text was read for a round that is still to come."""
        return self._is_being_read and self.cache.length + self.cache.num_unsettled > 0

    def pending(self) -> list[int]:
        """The tokens that `num_pending` counts."""
        return self.token_ids[-self.num_pending :]

    def adopt(self) -> None:
        """Shares what others have computed already of the pending text; its last token is left."""
        if self.num_pending > _WORTH_LOOKING_FOR:
            self.cache.adopt(self.token_ids, self.position - 1)

    def next_key(self) -> bytes | None:
        """Names the block that would be filled next; None where the text does not fill it, or it is never shared."""
        return self.cache.next_key(self.token_ids)

    def feed_text(self, count: int) -> Row:
        """A row of the first ``count`` tokens of the pending text, asking for no logits."""
        tokens = np.array(self.pending()[:count], np.int64)
        self._num_fed_of_text = len(tokens)
        self._is_being_read = True
        return Row(self.cache, tokens, np.arange(-1, len(tokens) - 1), _NO_TOKENS)

    def feed_text_and_tree(self, token_ids: Ids = _NO_TOKENS, parents: Ids = _NO_TOKENS) -> Row:
        """A row of the pending text with a tree on its end, asking for logits at the end and at every node."""
        text = self.pending()
        count = self._num_fed_of_text = len(text)
        self._is_being_read, self.num_setbacks = False, 0
        self._tree_tokens, self._tree_parents = token_ids.tolist(), parents.tolist()
        tree_parents = [parent + count if parent >= 0 else count - 1 for parent in self._tree_parents]
        return Row(
            self.cache,
            np.array(text + self._tree_tokens, np.int64),
            np.array([*range(-1, count - 1), *tree_parents], np.int64),
            np.arange(count - 1, count + len(tree_parents)),
            self._adjustment(-1),
            self._allowed(-1),
        )

    def feed_nodes(self, token_ids: Ids, parents: Ids) -> Row:
        """A row of further nodes of the tree that is being grown, asking for logits at each."""
        base, first = self._num_fed_of_text, len(self._tree_tokens)
        self._tree_tokens += token_ids.tolist()
        self._tree_parents += parents.tolist()
        placed = np.where(parents < 0, base - 1, parents + base)
        places = np.arange(len(token_ids))
        return Row(self.cache, token_ids, placed, places, self._adjustment(first), self._allowed(first))

    def forget_kv(self) -> None:
        """Gives up the KV; it is computed again when next needed."""
        self.num_setbacks += self.is_begun
        self.cache.rollback(0)
        self._num_fed_of_text, self._tree_tokens, self._tree_parents = 0, [], []

    def distrust_kv(self) -> None:
        """As `forget_kv`, of KV that may be wrong: nobody else adopts it."""
        self.cache.distrust()
        self._num_fed_of_text, self._tree_tokens, self._tree_parents = 0, [], []

    def pay(self, joules: float) -> float:
        """What a round costs for which ``joules`` were used: what was owed is paid with it."""
        owed, self.joules_owed = self.joules_owed, 0.0
        return owed + joules

    def _adjustment(self, first: int) -> Adjustment | None:
        """Of the logits after the tree's nodes from ``first`` on; -1 is the end of the text."""
        if self._adjuster is None:
            return None
        if first < 0:
            self._tally = Tally.of(self.token_ids[self.decoding.prompt_length :])
        return self._adjuster.after(self._tally, *self._tree(), np.arange(first, len(self._tree_tokens)))

    def _allowed(self, first: int) -> Bitmask | None:
        """What the constraint allows after the tree's nodes from ``first`` on; -1 is the end of the text."""
        if self._matcher is None:
            return None
        try:
            if first < 0:
                self.broken = None
                self._matcher.follow(self.token_ids[self.decoding.prompt_length :])
            return self._matcher.allowed(*self._tree(), np.arange(first, len(self._tree_tokens)))
        except InvalidArgument as error:
            self.broken = error
            return None

    def _tree(self) -> tuple[Ids, Ids]:
        """Tokens and parents of the tree, [tree] each."""
        return np.array(self._tree_tokens, np.int64), np.array(self._tree_parents, np.int64)

    def _settle(self, common: int) -> None:
        """Keeps the fed nodes that lie on the text, of which the first ``common`` tokens are those that were fed."""
        # A pass that failed for want of blocks fed nothing, whatever rows had been made for it.
        length, fed = self.cache.length, min(self._num_fed_of_text, self.cache.num_unsettled)
        num_nodes = self.cache.num_unsettled - fed
        if common < length + fed:
            kept = max(0, common - length)
            if kept:
                self.cache.settle(range(kept))
            else:
                self.cache.rollback(min(length, common))
        elif fed:
            path = list(range(fed))
            node, wanted = -1, iter(self.token_ids[length + fed :])
            token = next(wanted, None)
            # Nodes stand after their parents, so one walk through them meets the whole path.
            for index in range(num_nodes):
                if self._tree_parents[index] == node and self._tree_tokens[index] == token:
                    node, token = index, next(wanted, None)
                    path.append(fed + index)
            self.cache.settle(path)
        self._num_fed_of_text, self._tree_tokens, self._tree_parents = 0, [], []

    def _ends(self, start: int) -> bool:
        return start > 0 and self.decoding.end_index(self.token_ids[start:]) is not None


def prefill(model: TreeModel, sequences: Tokens[TextSequence]) -> None:
    """Feeds long pending texts in chunks until every sequence has at most one chunk pending."""
    while True:
        for sequence in sequences:
            sequence.adopt()
        long = [sequence for sequence in sequences if sequence.num_pending > CHUNK_TOKENS]
        if not long:
            return
        model.candidates([sequence.feed_text(CHUNK_TOKENS) for sequence in long], 1)
        # Settled, and so found by others, when `num_pending` is next asked.
