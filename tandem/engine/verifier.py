"""Judging proposals of many sessions in one forward pass of the target model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from tandem.decoding.judgement import target_joint_log_probs
from tandem.decoding.methods import Method, method
from tandem.decoding.rng import Flags, RoundKeys
from tandem.decoding.rounds import Judged, Rounds
from tandem.decoding.values import (
    EMPTY_TREE,
    Decoding,
    Floats,
    Outcome,
    Proposal,
    RoundTrace,
    StageTimings,
    TokenTree,
    TopLogProbs,
)
from tandem.decoding.warp import Candidates, Warps, unsharpened, warp
from tandem.energy.meter import EnergyMeter
from tandem.engine.drafting import Growth, grow
from tandem.engine.metered import MeteredModel
from tandem.engine.residents import Residents
from tandem.engine.scoring import Scorer
from tandem.engine.text import TextSequence
from tandem.engine.tree_model import TreeModel
from tandem.errors import OutOfKV, RowFailed, TandemError
from tandem.matching import Grammars

VerifySequence = TextSequence

_NOTHING_PROPOSED = Proposal(EMPTY_TREE)


@dataclass(frozen=True, slots=True)
class _Work:
    """One session's part of a pass."""

    text: VerifySequence
    proposal: Proposal
    method: Method


class Verifier:
    """Judges with a model. All calls come from the thread that owns the model."""

    def __init__(self, model: TreeModel, meter: EnergyMeter | None = None, grammars: Grammars | None = None) -> None:
        """Without a meter nothing is measured; without grammars, constraints are refused."""
        self.model = model
        self._metered = MeteredModel(model, meter) if meter is not None else None
        self._residents = Residents(self._metered or model, grammars)

    def scorer(self) -> Scorer:
        """Scores given texts with the same model and KV."""
        return Scorer(self._residents, self._metered)

    def open(self, token_ids: Sequence[int], decoding: Decoding) -> VerifySequence:
        """Begins a text.

        Raises:
            InvalidArgument: the method is unknown, or the constraint cannot be served.
        """
        chosen, sampling = method(decoding.speculation.method), decoding.sampling
        return self._residents.open(token_ids, decoding, unsharpened(sampling) if chosen.unsharpened else sampling)

    def close(self, sequence: VerifySequence) -> None:
        """Ends a text. Safe to repeat."""
        self._residents.close(sequence)

    def read(self, text: TextSequence, count: int) -> None:
        """Computes the KV of the next ``count`` pending tokens of a text whose round is still to come, in one pass.

        Raises:
            OutOfKV: the text does not fit, even alone.
        """
        self._residents.read(text, count)
        if self._metered is not None:
            self._metered.charge_later(text)

    def judge(self, work: Sequence[tuple[VerifySequence, Proposal | None]]) -> list[Outcome | TandemError]:
        """One round for each text, in one forward pass; the outcomes are applied to the texts.

        Args:
            work: texts, each at most once, and what is proposed for them; None asks the target to decode alone: one
                token, or a block where the method lets the target draft for itself.

        Returns:
            In order; an error concerns its own text only, and leaves it as it was.
        """
        works = [
            _Work(text, proposal or _NOTHING_PROPOSED, method(text.decoding.speculation.method))
            for text, proposal in work
        ]
        blocks = [i for i, item in enumerate(works) if item.method.target_drafts]
        rounds = [i for i, item in enumerate(works) if not item.method.target_drafts]
        results: dict[int, Outcome | TandemError] = {}
        results.update(zip(blocks, self._draw_blocks([works[i] for i in blocks]), strict=True))
        results.update(zip(rounds, self._judge_rounds([works[i] for i in rounds]), strict=True))
        return [results[i] for i in range(len(works))]

    def check_integrity(self) -> None:
        """Audits the KV pool; see :meth:`TreeModel.check_integrity`."""
        self.model.check_integrity()

    def _judge_rounds(self, works: Sequence[_Work]) -> list[Outcome | TandemError]:
        if not works:
            return []
        started = time.perf_counter()
        texts = [item.text for item in works]
        trees = [item.proposal.tree for item in works]
        warps = Warps.of([text.warped for text in texts], self.model.vocab_size)
        try:
            self._residents.prepare(texts)
            rows = [
                text.feed_text_and_tree(tree.token_ids, tree.parents) for text, tree in zip(texts, trees, strict=True)
            ]
            num_top = max(text.decoding.num_top_log_probs for text in texts)
            candidates = self._residents.candidates(rows, warps.width, texts, num_top)
        except OutOfKV as error:
            if len(works) == 1:
                return [error]
            half = len(works) // 2
            return self._judge_rounds(works[:half]) + self._judge_rounds(works[half:])
        forward_seconds = time.perf_counter() - started
        rows_of = np.repeat(np.arange(len(works)), [len(tree.token_ids) + 1 for tree in trees])
        target = warp(candidates, warps.take(rows_of))
        rounds = Rounds(self._keys(works).take(rows_of), trees, target)
        finite = np.isfinite(candidates.log_normaliser)
        judged: dict[int, Judged] = {}
        results: dict[int, Outcome | TandemError] = {}
        for index, item in enumerate(works):
            try:
                judged[index] = self._judge_one(item, finite[rounds.rows[index]], rounds, index)
            except TandemError as error:
                results[index] = error
                if isinstance(error, RowFailed):
                    item.text.distrust_kv()
        emitted = rounds.emit(judged, candidates)
        judge_seconds = time.perf_counter() - started - forward_seconds
        joules = self._metered.charge(texts) if self._metered is not None else None
        for index, added in emitted.items():
            item, tree = works[index], trees[index]
            traced = item.text.decoding.trace
            item.text.extend(added.token_ids)
            results[index] = Outcome(
                added.token_ids,
                num_accepted=len(judged[index].path),
                num_drafted=tree.depth,
                log_probs=added.log_probs,
                next_digest=item.text.digest,
                proposal_digest=item.proposal.digest,
                trace=self._trace(tree, target_joint_log_probs(tree, rounds.target(index))) if traced else None,
                timings=StageTimings(
                    item.proposal.draft_seconds, forward_seconds=forward_seconds, judge_seconds=judge_seconds
                ),
                draft_joules=item.proposal.draft_joules,
                verify_joules=item.text.pay(joules[index]) if joules is not None else None,
                top_log_probs=self._top(candidates, added.rows, item.text),
            )
        return [results[index] for index in range(len(works))]

    @staticmethod
    def _top(candidates: Candidates, rows: Sequence[int], text: VerifySequence) -> tuple[TopLogProbs, ...]:
        count = text.decoding.num_top_log_probs
        return candidates.top.at(rows, count) if count and candidates.top is not None else ()

    @staticmethod
    def _judge_one(item: _Work, finite: Flags, rounds: Rounds, index: int) -> Judged:
        if not finite.all():
            raise RowFailed("the target model's logits are not finite for this text; it was not judged")
        if item.text.broken is not None:
            raise item.text.broken
        judgement = item.method.judgement(item.text.decoding.speculation)
        return judgement.judge(item.proposal, rounds.target(index), rounds.draws(index))

    @staticmethod
    def _keys(works: Sequence[_Work]) -> RoundKeys:
        return RoundKeys.of(
            [item.text.decoding.sampling.seed for item in works],
            [item.text.position for item in works],
            [item.method.drafting.coupled for item in works],
            [item.text.decoding.sampling.temperature == 0 for item in works],
        )

    def _draw_blocks(self, works: Sequence[_Work]) -> list[Outcome | TandemError]:
        """The target draws whole blocks for itself: beam sampling, the best beam kept, nothing judged (``mtjd``)."""
        if not works:
            return []
        started = time.perf_counter()
        growths = [Growth(item.text, item.method.drafting, item.text.decoding.num_top_log_probs) for item in works]
        try:
            grow(self._residents, growths)
        except OutOfKV as error:
            if len(works) == 1:
                return [error]
            half = len(works) // 2
            return self._draw_blocks(works[:half]) + self._draw_blocks(works[half:])
        timings = StageTimings(forward_seconds=time.perf_counter() - started)
        joules = self._metered.charge([item.text for item in works]) if self._metered is not None else None
        return [
            growth.failed or self._keep_best_beam(growth, timings, share)
            for growth, share in zip(growths, repeat(None) if joules is None else joules, strict=False)
        ]

    def _keep_best_beam(self, growth: Growth, timings: StageTimings, joules: float | None) -> Outcome:
        drawn = growth.drawn()
        tokens = tuple(drawn.tree.token_ids.tolist())
        traced = growth.text.decoding.trace
        growth.text.extend(tokens)
        return Outcome(
            tokens,
            num_accepted=0,
            num_drafted=0,
            log_probs=tuple(drawn.log_probs.tolist()),
            next_digest=growth.text.digest,
            num_target_passes=len(tokens),
            trace=self._trace(drawn.tree, drawn.tree.draft_joint_log_probs) if traced else None,
            timings=timings,
            verify_joules=None if joules is None else growth.text.pay(joules),
            top_log_probs=drawn.top_log_probs,
        )

    @staticmethod
    def _trace(tree: TokenTree, target_joint: Floats) -> RoundTrace:
        return RoundTrace(
            tuple(tree.token_ids.tolist()),
            tuple(tree.parents.tolist()),
            tuple(tree.draft_joint_log_probs.tolist()),
            tuple(target_joint.tolist()),
        )
