"""The decoding methods by name: how each one drafts, and how it judges. See docs/methods.md for when to use which."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tandem.decoding.judgement import Judgement
from tandem.decoding.judgement.block import Block
from tandem.decoding.judgement.coupled import Coupled
from tandem.decoding.judgement.joint import JointSequence, JointTree
from tandem.decoding.judgement.rollback import Rollback
from tandem.decoding.judgement.specinfer import SpecInfer
from tandem.decoding.judgement.speculative import Speculative
from tandem.decoding.judgement.typical import Typical
from tandem.decoding.values import Speculation
from tandem.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Drafting:
    """How candidates are drawn, layer by layer."""

    branches: int | None
    """Candidates drawn at the root; None is the request's beam width."""
    joint: bool = False
    """Each layer is drawn from all beams together by joint probability (beam sampling), not at each node by itself."""
    coupled: bool = False
    """Drawn with the noise that the target will use at the same positions."""
    best_beam: bool = False
    """Only the beam of highest joint probability is proposed."""
    with_distributions: bool = False
    """The proposal carries what the candidates were drawn from."""
    fallback_threshold: float = 0.0
    """Drafting ends, before a token is drawn, where the highest warped draft probability is below this; 0: nowhere."""

    def num_drawn(self, depth: int, beam_width: int) -> int:
        """How many are drawn at ``depth`` (from 1): of the whole session when joint, else at each node."""
        root = beam_width if self.branches is None else self.branches
        return root if self.joint or depth == 1 else 1


@dataclass(frozen=True, slots=True)
class Method:
    """A decoding method."""

    name: str
    lossless: bool
    """The text has exactly the warped target's distribution."""
    drafting: Drafting
    judgement: Callable[[Speculation], Judgement]
    target_only: bool = False
    """No draft model takes part: the verify service decodes alone."""
    target_drafts: bool = False
    """The target draws whole blocks for itself, and nothing judges them."""
    default_threshold: float = Speculation().threshold
    """Of a request that names the method and no threshold, where the server has none for it."""

    def num_positions(self, speculation: Speculation) -> int:
        """Positions that a model reads for one round, at most: the end of the text, and every candidate."""
        width = self.drafting.num_drawn(1, speculation.beam_width)
        return width if self.target_only else 1 + speculation.draft_length * width

    @property
    def unsharpened(self) -> bool:
        """Whether temperature 0 is read from the plain softmax, so that likelihoods and confidences still tell
        something; draws are greedy all the same.
        """
        return self.drafting.joint or self.drafting.fallback_threshold > 0

    @property
    def dials(self) -> frozenset[str]:
        """Which of draft_length, beam_width and threshold its rounds depend on, by what drafting and judging read."""
        drafts = self.target_drafts or not self.target_only
        read = {
            "draft_length": drafts,
            "beam_width": drafts and self.drafting.branches is None,
            "threshold": not self.target_only
            and self.judgement(Speculation(threshold=0.25)) != self.judgement(Speculation(threshold=0.75)),
        }
        return frozenset(dial for dial, is_read in read.items() if is_read)


FALLBACK_THRESHOLD = 0.6
"""BiLD's fallback threshold (α_FB), as its authors' code takes it where none is given."""

ROLLBACK_THRESHOLD = math.exp(-2)
"""BiLD's rollback threshold as a probability: α_RB = 2, of the 2 to 5 that its authors' README calls usual.

The strict end, because top-p takes the rest away: at 0.9 a target keeps hardly any token that has less than 0.1.
"""

TYPICAL_THRESHOLD = 0.09
"""Medusa's ε, as its authors' code takes it where none is given."""

_CHAIN = Drafting(branches=1, with_distributions=True)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("autoregressive", True, Drafting(branches=1, coupled=True), lambda _: Coupled(), target_only=True),
        Method("speculative", True, _CHAIN, lambda _: Speculative()),
        Method("block", True, _CHAIN, lambda _: Block()),
        Method("coupled", True, Drafting(branches=1, coupled=True), lambda _: Coupled()),
        Method("specinfer", True, Drafting(branches=None, with_distributions=True), lambda _: SpecInfer()),
        Method(
            "typical",
            False,
            Drafting(branches=1),
            lambda speculation: Typical(speculation.threshold),
            default_threshold=TYPICAL_THRESHOLD,
        ),
        Method(
            "bild",
            False,
            Drafting(branches=1, fallback_threshold=FALLBACK_THRESHOLD),
            lambda speculation: Rollback(speculation.threshold),
            default_threshold=ROLLBACK_THRESHOLD,
        ),
        Method(
            "mtjd",
            False,
            Drafting(branches=None, joint=True, best_beam=True),
            lambda speculation: JointSequence(speculation.threshold),
            target_only=True,
            target_drafts=True,
        ),
        Method(
            "mtad",
            False,
            Drafting(branches=None, joint=True, best_beam=True),
            lambda speculation: JointSequence(speculation.threshold),
        ),
        Method(
            "mmtad",
            False,
            Drafting(branches=None, joint=True),
            lambda speculation: JointTree(speculation.threshold),
        ),
    )
}


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        InvalidArgument: there is none; the message lists those there are.
    """
    try:
        return METHODS[name]
    except KeyError:
        raise InvalidArgument(f"unknown method {name!r}; expected one of: {', '.join(METHODS)}", "method") from None
