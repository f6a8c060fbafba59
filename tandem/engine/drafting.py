"""Growing token trees with a model, for many sessions at once: one forward pass a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tandem.decoding.beam import Groups, draw_layer
from tandem.decoding.methods import Drafting
from tandem.decoding.most_probable import MostProbable
from tandem.decoding.rng import Purpose, RoundKeys
from tandem.decoding.values import EMPTY_TREE, DraftDistributions, Floats, Ids, TokenTree, TopLogProbs
from tandem.decoding.warp import Candidates, Support, Warps, warp
from tandem.engine.residents import Residents
from tandem.engine.text import TextSequence
from tandem.engine.tree_model import Row
from tandem.errors import RowFailed, TandemError

_ROOT = np.array([-1])
_ROOT_JOINT = np.zeros(1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn on one text."""

    tree: TokenTree
    log_probs: Floats
    """Unwarped log-probability of each node's token under the model that drew it, [nodes]."""
    distributions: DraftDistributions | None
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """What could have stood in the place of each token of a best beam; empty where it was not asked for."""


class Growth:
    """A tree being grown on one text."""

    def __init__(self, text: TextSequence, drafting: Drafting, num_top: int = 0) -> None:
        """``num_top``: how many of the most probable tokens are told with each of a best beam."""
        self.text = text
        self.drafting = drafting
        self.num_top = num_top
        self.depth_wanted = text.decoding.speculation.draft_length  # less once drafting has stopped early
        self.failed: TandemError | None = None
        self.frontier: Ids = _ROOT  # the nodes of the last layer
        self.frontier_joint: Floats = _ROOT_JOINT
        self._tokens: list[Ids] = []
        self._parents: list[Ids] = []
        self._joint: list[Floats] = []
        self._log_probs: list[Floats] = []
        self._tops: list[MostProbable] = []
        self._sources: list[tuple[Ids, Support]] = []
        self._num_nodes = 0

    def num_drawn(self, depth: int) -> int:
        """How many continuations are drawn at ``depth`` (from 1): in all when joint, else of each node."""
        return self.drafting.num_drawn(depth, self.text.decoding.speculation.beam_width)

    def add(self, token_ids: Ids, parents: Ids, joint: Floats, log_probs: Floats, support: Support) -> None:
        """Adds a layer that was drawn from ``support``, whose rows are the nodes of the frontier."""
        if self.drafting.with_distributions:
            self._sources.append((self.frontier, support))
        self._tokens.append(token_ids)
        self._parents.append(parents)
        self._joint.append(joint)
        self._log_probs.append(log_probs)
        self.frontier = np.arange(self._num_nodes, self._num_nodes + len(token_ids))
        self.frontier_joint = joint
        self._num_nodes += len(token_ids)

    def note_top(self, top: MostProbable) -> None:
        """What could have stood in the place of each node of the layer just added."""
        self._tops.append(top)

    def row(self) -> Row:
        """What the model must read next: the pending text at first, then the last layer."""
        if not self._tokens:
            return self.text.feed_text_and_tree()
        return self.text.feed_nodes(self._tokens[-1], self._parents[-1])

    def drawn(self) -> Drawn:
        """All that was drawn, or of it the beam of highest joint probability, as the drafting asks."""
        if not self._tokens:
            return Drawn(EMPTY_TREE, EMPTY_TREE.draft_joint_log_probs, None)
        token_ids, parents = np.concatenate(self._tokens), np.concatenate(self._parents)
        joint, log_probs = np.concatenate(self._joint), np.concatenate(self._log_probs)
        if not self.drafting.best_beam:
            return Drawn(TokenTree(token_ids, parents, joint), log_probs, self._distributions())
        node, path = int(self.frontier[np.argmax(self.frontier_joint)]), list[int]()
        while node >= 0:
            path.append(node)
            node = int(parents[node])
        nodes = np.array(path[::-1])
        chain = TokenTree(token_ids[nodes], np.arange(-1, len(nodes) - 1), joint[nodes])
        return Drawn(chain, log_probs[nodes], None, self._top_log_probs(nodes))

    def _top_log_probs(self, path: Ids) -> tuple[TopLogProbs, ...]:
        """Of a path from the root that has a node in every layer."""
        if not self._tops:
            return ()
        firsts = [0, *accumulate(len(layer) for layer in self._tokens)]
        return tuple(
            top.at([node - first], self.num_top)[0]
            for node, first, top in zip(path.tolist(), firsts, self._tops, strict=False)
        )

    def _distributions(self) -> DraftDistributions | None:
        if not self.drafting.with_distributions:
            return None
        nodes = np.concatenate([nodes for nodes, _ in self._sources])
        # As wide as this text's own supports, whatever is drafted beside it: a proposal's digest reads every column.
        width = max(max(support.sizes.tolist()) for _, support in self._sources)
        ids, log_probs = np.full((len(nodes), width), -1), np.full((len(nodes), width), -np.inf)
        start = 0
        for sources, support in self._sources:
            stop = start + len(sources)
            for row, size in zip(range(start, stop), support.sizes.tolist(), strict=True):
                ids[row, :size], log_probs[row, :size] = (
                    support.ids[row - start, :size],
                    support.log_probs[row - start, :size],
                )
            start = stop
        return DraftDistributions(nodes, ids, log_probs)


@dataclass(frozen=True, slots=True)
class _Round:
    """What holds for all layers of one drafting."""

    growths: Sequence[Growth]
    warps: Warps  # [growths]
    keys: RoundKeys  # [growths]


class _Layout:
    """Whose beam each row of a layer is and how it is drawn from: the same while no text's number of beams changes."""

    def __init__(self, whole: _Round, active: Sequence[int], sizes: Sequence[int], depths: range) -> None:
        self.active, self.sizes, self.depths = active, sizes, depths
        self.growths = [whole.growths[index] for index in active]
        self.owners = np.repeat(np.arange(len(active)), sizes)
        self.starts = [0, *accumulate(sizes)]
        rows = np.array(active)[self.owners]
        self.warps, self.keys = whole.warps.take(rows), whole.keys.take(rows)
        ranks = np.array([rank for size in sizes for rank in range(size)])
        # A draw's depth is the number of tokens after the round's position: one less than that of the layer.
        self.places = self.keys.places(np.array(depths)[:, None] - 1, ranks, Purpose.DRAFT)  # [depths, rows]
        # Beams compete within a text when drawn jointly; otherwise each beam is a group of its own.
        group_sizes: list[int] = []
        counts: list[int] = []
        for growth, size in zip(self.growths, sizes, strict=True):
            own = [size] if growth.drafting.joint else [1] * size
            group_sizes += own
            counts += [growth.num_drawn(depths.start)] * len(own)
        self.groups = Groups(group_sizes, counts)
        fallbacks = [growth.drafting.fallback_threshold for growth in self.growths]
        self.fallbacks: Floats | None = np.array(fallbacks) if any(fallbacks) else None


def grow(residents: Residents, growths: Sequence[Growth]) -> None:
    """Grows every tree to its wanted depth, or to where its drafting stops early, which may be before the first layer.

    A text whose logits are not finite, or whose constraint cannot be followed, is marked failed, and no other.

    Raises:
        OutOfKV: the texts do not fit together.
    """
    if not growths:
        return
    texts = [growth.text for growth in growths]
    residents.prepare(texts)
    keys = RoundKeys.of(
        [text.decoding.sampling.seed for text in texts],
        [text.position for text in texts],
        [growth.drafting.coupled for growth in growths],
        [text.decoding.sampling.temperature == 0 for text in texts],
    )
    whole = _Round(growths, Warps.of([text.warped for text in texts], residents.model.vocab_size), keys)
    end = max(growth.depth_wanted for growth in growths) + 1
    layout: _Layout | None = None
    for depth in range(1, end):
        active = [i for i, growth in enumerate(growths) if growth.failed is None and growth.depth_wanted >= depth]
        sizes = [len(growths[index].frontier) for index in active]
        if not active:
            return
        if layout is None or depth not in layout.depths or (layout.active, layout.sizes) != (active, sizes):
            # The first layer stands alone: it may draw another number than all those after it.
            layout = _Layout(whole, active, sizes, range(depth, 2 if depth == 1 else end))
        _grow_layer(residents, layout, depth)


def _grow_layer(residents: Residents, layout: _Layout, depth: int) -> None:
    """Draws one more layer on each growth of the layout, or marks it failed, or done."""
    growths, starts = layout.growths, layout.starts
    rows = [growth.row() for growth in growths]
    num_top = max(growth.num_top for growth in growths)
    candidates = residents.candidates(rows, layout.warps.width, [growth.text for growth in growths], num_top)
    _fail_where_not_finite(layout, candidates)
    for growth in growths:
        growth.failed = growth.failed or growth.text.broken
    support = warp(candidates, layout.warps)
    _stop_where_unsure(layout, support, depth)
    noise = layout.keys.noise(layout.places[layout.depths.index(depth)], support.ids)
    joint = np.concatenate([growth.frontier_joint for growth in growths])
    layer = draw_layer(support, joint, noise, layout.groups)

    log_probs = candidates.model_logits[layer.beams, layer.columns] - candidates.log_normaliser[layer.beams]
    parents = np.concatenate([growth.frontier for growth in growths])[layer.beams]
    bounds = np.searchsorted(layout.owners[layer.beams], np.arange(len(growths) + 1)).tolist()
    for index, growth in enumerate(growths):
        if growth.failed is None and growth.depth_wanted >= depth:
            mine = slice(bounds[index], bounds[index + 1])
            part = support.part(starts[index], starts[index + 1])
            growth.add(layer.token_ids[mine], parents[mine], layer.joint_log_probs[mine], log_probs[mine], part)
            if growth.num_top and candidates.top is not None:
                growth.note_top(candidates.top.take(layer.beams[mine]))


def _fail_where_not_finite(layout: _Layout, candidates: Candidates) -> None:
    finite = np.isfinite(candidates.log_normaliser)
    if not finite.all():
        for index in np.unique(layout.owners[~finite]).tolist():
            layout.growths[index].failed = RowFailed(
                "the model's logits are not finite for this text; it was not drafted"
            )
            layout.growths[index].text.distrust_kv()


def _stop_where_unsure(layout: _Layout, support: Support, depth: int) -> None:
    """Ends the growths whose model is nowhere sure enough of what comes at ``depth``."""
    if layout.fallbacks is not None:
        confidence = np.exp(np.maximum.reduceat(support.log_probs[:, 0], layout.starts[:-1]))  # [growths]
        for index in np.flatnonzero(confidence < layout.fallbacks).tolist():
            layout.growths[index].depth_wanted = depth - 1
