"""The decoding methods by name: how each one drafts, and how it judges. See docs/methods.md for when to use which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tandem.decoding.judgement import Judgement
from tandem.decoding.judgement.block import Block
from tandem.decoding.judgement.coupled import Coupled
from tandem.decoding.judgement.joint import JointSequence, JointTree
from tandem.decoding.judgement.specinfer import SpecInfer
from tandem.decoding.judgement.speculative import Speculative
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
    default_threshold: float | None = None

    @property
    def dials(self) -> frozenset[str]:
        """What it reads."""
        found = set() if self.name == "autoregressive" else {"draft_length"}
        if self.drafting.branches is None:
            found.add("beam_width")
        if self.name in ("mtad", "mmtad", "typical", "bild"):
            found.add("threshold")
        return frozenset(found)


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
        raise InvalidArgument(f"unknown method {name!r}; expected one of: {', '.join(METHODS)}") from None
