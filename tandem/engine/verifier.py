"""Judging proposals of many sessions in one forward pass of the target model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tandem.decoding.judgement import Judged, target_joint_log_probs
from tandem.decoding.methods import Method, method
from tandem.decoding.rng import RoundDraws
from tandem.decoding.values import (
    EMPTY_TREE,
    Decoding,
    Floats,
    Outcome,
    Proposal,
    RoundTrace,
    Sampling,
    StageTimings,
    TokenTree,
)
from tandem.decoding.warp import Candidates, Support, Warps, unsharpened, warp
from tandem.engine.drafting import Growth, grow
from tandem.engine.residents import Residents
from tandem.engine.text import TextSequence
from tandem.engine.tree_model import TreeModel
from tandem.errors import OutOfKV, RowFailed, TandemError

VerifySequence = TextSequence

_NOTHING_PROPOSED = Proposal(EMPTY_TREE)


@dataclass(frozen=True, slots=True)
class _Work:
    """One session's part of a pass."""

    text: VerifySequence
    proposal: Proposal

    @property
    def method(self) -> Method:
        return method(self.text.decoding.speculation.method)


class Verifier:
    """Judges with a model. All calls come from the thread that owns the model."""

    def __init__(self, model: TreeModel) -> None:
        self.model = model
        self._residents = Residents(model)

    def open(self, token_ids: Sequence[int], decoding: Decoding) -> VerifySequence:
        """Begins a text.

        Raises:
            InvalidArgument: the method is unknown.
        """
        method(decoding.speculation.method)
        return self._residents.open(token_ids, decoding)

    def close(self, sequence: VerifySequence) -> None:
        """Ends a text. Safe to repeat."""
        self._residents.close(sequence)

    def judge(self, work: Sequence[tuple[VerifySequence, Proposal | None]]) -> list[Outcome | TandemError]:
        """One round for each text, in one forward pass; the outcomes are applied to the texts.

        Args:
            work: texts, each at most once, and what is proposed for them; None asks the target to decode alone: one
                token, or a block where the method lets the target draft for itself.

        Returns:
            In order; an error concerns its own text only, and leaves it as it was.
        """
        works = [_Work(text, proposal or _NOTHING_PROPOSED) for text, proposal in work]
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
        counts = [len(item.proposal.tree.token_ids) + 1 for item in works]
        warps = Warps.of([self._sampling(item) for item in works], counts)
        try:
            self._residents.prepare(texts)
            rows = [
                item.text.feed_text_and_tree(item.proposal.tree.token_ids, item.proposal.tree.parents) for item in works
            ]
            candidates = self._residents.candidates(rows, warps.width(self.model.vocab_size), texts)
        except OutOfKV as error:
            if len(works) == 1:
                return [error]
            half = len(works) // 2
            return self._judge_rounds(works[:half]) + self._judge_rounds(works[half:])
        forward_seconds = time.perf_counter() - started
        support = warp(candidates, warps)
        stops = np.cumsum(counts).tolist()
        results: list[Outcome | TandemError] = []
        for item, stop, count in zip(works, stops, counts, strict=True):
            part = slice(stop - count, stop)
            mine = Candidates(candidates.ids[part], candidates.logits[part], candidates.log_normaliser[part])
            results.append(self._judge_one(item, mine, support.part(part.start, stop)))
        judge_seconds = time.perf_counter() - started - forward_seconds
        return [
            replace(
                result,
                timings=StageTimings(
                    item.proposal.draft_seconds, forward_seconds=forward_seconds, judge_seconds=judge_seconds
                ),
            )
            if isinstance(result, Outcome)
            else result
            for item, result in zip(works, results, strict=True)
        ]

    def _judge_one(self, item: _Work, candidates: Candidates, support: Support) -> Outcome | TandemError:
        if not np.isfinite(candidates.log_normaliser).all():
            return RowFailed("the target model's logits are not finite for this text; it was not judged")
        text, proposal, tree = item.text, item.proposal, item.proposal.tree
        sampling = text.decoding.sampling
        draws = RoundDraws(sampling.seed, text.position, sampling.temperature == 0)
        try:
            judged = item.method.judgement(text.decoding.speculation).judge(proposal, support, draws)
        except TandemError as error:
            return error
        tokens = (*tree.token_ids[list(judged.path)].tolist(), judged.extra_token_id)
        trace = self._trace(tree, target_joint_log_probs(tree, support)) if text.decoding.trace else None
        outcome = Outcome(
            tokens,
            num_accepted=len(judged.path),
            num_drafted=int(tree.depths.max(initial=0)),
            log_probs=tuple(self._log_probs(judged, tokens, candidates).tolist()),
            proposal_digest=proposal.digest,
            trace=trace,
        )
        text.extend(tokens)
        return replace(outcome, next_digest=text.digest)

    def _draw_blocks(self, works: Sequence[_Work]) -> list[Outcome | TandemError]:
        """The target draws whole blocks for itself: beam sampling, the best beam kept, nothing judged (``mtjd``)."""
        if not works:
            return []
        started = time.perf_counter()
        growths = [Growth(item.text, item.method.drafting, self._sampling(item)) for item in works]
        try:
            grow(self._residents, growths)
        except OutOfKV as error:
            if len(works) == 1:
                return [error]
            half = len(works) // 2
            return self._draw_blocks(works[:half]) + self._draw_blocks(works[half:])
        timings = StageTimings(forward_seconds=time.perf_counter() - started)
        return [growth.failed or self._keep_best_beam(growth, timings) for growth in growths]

    def _keep_best_beam(self, growth: Growth, timings: StageTimings) -> Outcome:
        grown = growth.tree()
        best = grown.best_beam()
        beam = grown.only(best)
        tokens = tuple(beam.token_ids.tolist())
        trace = self._trace(beam, beam.draft_joint_log_probs) if growth.text.decoding.trace else None
        growth.text.extend(tokens)
        return Outcome(
            tokens,
            num_accepted=0,
            num_drafted=0,
            log_probs=tuple(grown.log_probs[list(best)].tolist()),
            next_digest=growth.text.digest,
            num_target_passes=len(tokens),
            trace=trace,
            timings=timings,
        )

    @staticmethod
    def _sampling(item: _Work) -> Sampling:
        sampling = item.text.decoding.sampling
        return unsharpened(sampling) if item.method.drafting.joint else sampling

    @staticmethod
    def _log_probs(judged: Judged, tokens: Sequence[int], candidates: Candidates) -> Floats:
        """Unwarped log-probabilities of the emitted tokens: each is read at the node before it, [tokens]."""
        rows = np.array([0, *(node + 1 for node in judged.path)])
        return candidates.log_prob(rows, np.array(tokens))

    @staticmethod
    def _trace(tree: TokenTree, target_joint: Floats) -> RoundTrace:
        return RoundTrace(
            tuple(tree.token_ids.tolist()),
            tuple(tree.parents.tolist()),
            tuple(tree.draft_joint_log_probs.tolist()),
            tuple(target_joint.tolist()),
        )
