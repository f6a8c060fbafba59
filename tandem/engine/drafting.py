"""Growing token trees with a model, for many sessions at once: one forward pass a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tandem.decoding.beam import draw_layer
from tandem.decoding.methods import Drafting
from tandem.decoding.rng import Keys, Purpose, base_keys, gumbel, place_keys
from tandem.decoding.values import DraftDistributions, Floats, Ids, Sampling, TokenTree
from tandem.decoding.warp import Candidates, Support, Warps, warp
from tandem.engine.residents import Residents
from tandem.engine.text import TextSequence
from tandem.engine.tree_model import Row
from tandem.errors import RowFailed


class Growth:
    """A tree being grown on one text: what to draw by, and what was drawn so far."""

    def __init__(self, text: TextSequence, drafting: Drafting, sampling: Sampling) -> None:
        speculation = text.decoding.speculation
        self.text = text
        self.drafting = drafting
        self.sampling = sampling
        self.greedy = text.decoding.sampling.temperature == 0
        self.depth_wanted = speculation.draft_length
        self.beam_width = speculation.beam_width
        self.failed: RowFailed | None = None
        self.frontier: Ids = np.array([-1])  # the nodes of the last layer
        self._tokens: list[Ids] = []
        self._parents: list[Ids] = []
        self._joint: list[Floats] = []
        self._log_probs: list[Floats] = []
        self._sources: list[tuple[Ids, Support]] = []
        self._num_nodes = 0

    @property
    def frontier_joint(self) -> Floats:
        """Joint log-probabilities of the last layer's nodes."""
        return self._joint[-1] if self._joint else np.zeros(1)

    def add(self, token_ids: Ids, parents: Ids, joint: Floats, log_probs: Floats, support: Support) -> None:
        """Adds a layer that was drawn from ``support``, whose rows are the nodes of the frontier."""
        if self.drafting.with_distributions:
            self._sources.append((self.frontier, support))
        self._tokens.append(token_ids)
        self._parents.append(parents)
        self._joint.append(joint)
        self._log_probs.append(log_probs)
        self.frontier = np.arange(self._num_nodes, self._num_nodes + len(token_ids))
        self._num_nodes += len(token_ids)

    def row(self) -> Row:
        """What the model must read next: the pending text at first, then the last layer."""
        if not self._tokens:
            empty = np.empty(0, np.int64)
            return self.text.feed_text_and_tree(empty, empty)
        return self.text.feed_nodes(self._tokens[-1], self._parents[-1])

    def tree(self) -> Drafted:
        """All that was drawn."""
        tree = TokenTree(np.concatenate(self._tokens), np.concatenate(self._parents), np.concatenate(self._joint))
        return Drafted(tree, np.concatenate(self._log_probs), self.frontier, self._distributions())

    def _distributions(self) -> DraftDistributions | None:
        if not self.drafting.with_distributions:
            return None
        width = max(support.ids.shape[1] for _, support in self._sources)
        nodes = np.concatenate([nodes for nodes, _ in self._sources])
        ids = np.full((len(nodes), width), -1, np.int64)
        log_probs = np.full((len(nodes), width), -np.inf)
        start = 0
        for sources, support in self._sources:
            stop, columns = start + len(sources), support.ids.shape[1]
            ids[start:stop, :columns] = np.where(support.log_probs > -np.inf, support.ids, -1)
            log_probs[start:stop, :columns] = support.log_probs
            start = stop
        return DraftDistributions(nodes, ids, log_probs)


@dataclass(frozen=True, slots=True)
class Drafted:
    """A grown tree."""

    tree: TokenTree
    log_probs: Floats
    """Unwarped log-probability of each node's token under the model that drew it, [nodes]."""
    leaves: Ids
    """Nodes of the last layer."""
    distributions: DraftDistributions | None

    def best_beam(self) -> tuple[int, ...]:
        """Nodes of the leaf of highest joint probability, from the root down."""
        joint = self.tree.draft_joint_log_probs[self.leaves]
        return self.tree.path(int(self.leaves[np.argmax(joint)]))

    def only(self, nodes: tuple[int, ...]) -> TokenTree:
        """The tree reduced to one path."""
        index = np.asarray(nodes)
        chain = np.arange(-1, len(nodes) - 1)
        return TokenTree(self.tree.token_ids[index], chain, self.tree.draft_joint_log_probs[index])


def grow(residents: Residents, growths: Sequence[Growth]) -> None:
    """Grows every tree to its wanted depth; a text whose logits are not finite is marked failed, and no other.

    Raises:
        OutOfKV: the texts do not fit together.
    """
    texts = [growth.text for growth in growths]
    residents.prepare(texts)
    seeds = np.array([text.decoding.sampling.seed for text in texts], dtype=np.uint64)
    positions = np.array([text.position for text in texts])
    bases = base_keys(seeds, positions)
    depth = 0
    active = list(range(len(growths)))
    while active:
        depth += 1
        active = _grow_layer(residents, growths, active, depth, bases, base_keys(seeds, positions + depth - 1))
        active = [index for index in active if growths[index].depth_wanted > depth]


def _grow_layer(
    residents: Residents,
    growths: Sequence[Growth],
    active: Sequence[int],
    depth: int,
    bases: Keys,
    position_bases: Keys,
) -> list[int]:
    """Draws one more layer on each active growth, and returns those that did not fail."""
    working = [growths[index] for index in active]
    sizes = [len(growth.frontier) for growth in working]
    warps = Warps.of([growth.sampling for growth in working], sizes)
    rows = [growth.row() for growth in working]
    candidates = residents.candidates(
        rows, warps.width(residents.model.vocab_size), [growth.text for growth in working]
    )
    failed = _fail_where_not_finite(working, candidates, sizes)
    support = warp(candidates, warps)

    owners = np.repeat(np.arange(len(working)), sizes)  # [beams]
    ranks = np.concatenate([np.arange(size) for size in sizes])
    noise = _noise(working, np.asarray(active)[owners], owners, ranks, depth, bases, position_bases, support.ids)
    joint = np.array([growth.drafting.joint for growth in working])
    # Beams compete within a session when drawing jointly; otherwise each beam is a group of its own.
    groups = np.cumsum((ranks == 0) | ~joint[owners]) - 1
    group_owner = owners[np.searchsorted(groups, np.arange(groups[-1] + 1))]
    counts = np.array([growth.drafting.num_drawn(depth, growth.beam_width) for growth in working])[group_owner]
    layer = draw_layer(support, np.concatenate([growth.frontier_joint for growth in working]), noise, groups, counts)

    log_probs = candidates.logits[layer.beams, layer.columns] - candidates.log_normaliser[layer.beams]
    layer_owner = owners[layer.beams]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for index, growth in enumerate(working):
        if index in failed:
            continue
        mine = slice(*np.searchsorted(layer_owner, [index, index + 1]))
        parents = growth.frontier[layer.beams[mine] - starts[index]]
        part = support.part(starts[index], starts[index + 1])
        growth.add(layer.token_ids[mine], parents, layer.joint_log_probs[mine], log_probs[mine], part)
    return [index for place, index in enumerate(active) if place not in failed]


def _noise(
    working: Sequence[Growth],
    sessions: Ids,
    owners: Ids,
    ranks: Ids,
    depth: int,
    bases: Keys,
    position_bases: Keys,
    ids: Ids,
) -> Floats:
    """Gumbel numbers for every continuation, [beams, width]; zeros where the session is greedy."""
    depths = np.full(len(ranks), depth - 1)
    keys = place_keys(bases[sessions], depths, ranks, Purpose.DRAFT)
    coupled = np.array([growth.drafting.coupled for growth in working])[owners]
    if coupled.any():
        zeros = np.zeros(len(ranks), np.int64)
        keys = np.where(coupled, place_keys(position_bases[sessions], zeros, zeros, Purpose.POSITION), keys)
    greedy = np.array([growth.greedy for growth in working])[owners]
    return np.where(greedy[:, None], 0.0, gumbel(keys, ids))


def _fail_where_not_finite(working: Sequence[Growth], candidates: Candidates, sizes: Sequence[int]) -> set[int]:
    finite = np.isfinite(candidates.log_normaliser)
    if finite.all():
        return set()
    bad = np.repeat(np.arange(len(working)), sizes)[~finite]
    failed = {int(index) for index in bad}
    for index in failed:
        working[index].failed = RowFailed("the model's logits are not finite for this text; it was not drafted")
    return failed
