"""Proposals for many sessions at once, from the draft model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import repeat

from tandem.decoding.methods import METHODS, method
from tandem.decoding.values import Decoding, Proposal, proposal_digest
from tandem.decoding.warp import drafted, unsharpened
from tandem.energy.meter import EnergyMeter
from tandem.engine.drafting import Growth, grow
from tandem.engine.metered import MeteredModel
from tandem.engine.residents import Residents
from tandem.engine.text import TextSequence
from tandem.engine.tree_model import TreeModel
from tandem.errors import InvalidArgument, OutOfKV, TandemError
from tandem.matching import Grammars

DraftSequence = TextSequence


class Proposer:
    """Drafts with a model. All calls come from the thread that owns the model."""

    def __init__(self, model: TreeModel, meter: EnergyMeter | None = None, grammars: Grammars | None = None) -> None:
        """Without a meter nothing is measured; without grammars, constraints are refused."""
        self.model = model
        self._metered = MeteredModel(model, meter) if meter is not None else None
        self._residents = Residents(self._metered or model, grammars)

    def open(self, token_ids: Sequence[int], decoding: Decoding) -> DraftSequence:
        """Begins drafting for a text.

        Raises:
            InvalidArgument: the method is unknown, or has no drafter, or the constraint cannot be served.
        """
        chosen = method(decoding.speculation.method)
        if chosen.target_only:
            drafting = ", ".join(name for name, known in METHODS.items() if not known.target_only)
            raise InvalidArgument(
                f"method {decoding.speculation.method!r} is not drafted for: the verify service decodes it alone. "
                f"Methods with a drafter: {drafting}"
            )
        sampling = unsharpened(decoding.sampling) if chosen.unsharpened else decoding.sampling
        return self._residents.open(token_ids, decoding, drafted(sampling))

    def close(self, sequence: DraftSequence) -> None:
        """Ends drafting for a text. Safe to repeat."""
        self._residents.close(sequence)

    def read(self, text: TextSequence, count: int) -> None:
        """Computes the KV of the next ``count`` pending tokens of a text whose round is still to come, in one pass.

        Raises:
            OutOfKV: the text does not fit, even alone.
        """
        self._residents.read(text, count)
        if self._metered is not None:
            self._metered.charge_later(text)

    def propose(self, sequences: Sequence[DraftSequence]) -> list[Proposal | TandemError]:
        """One proposal for each text, in order; an error in the list concerns its own text only."""
        started = time.perf_counter()
        growths = [Growth(sequence, method(sequence.decoding.speculation.method).drafting) for sequence in sequences]
        try:
            grow(self._residents, growths)
        except OutOfKV as error:
            if len(sequences) == 1:
                return [error]
            half = len(sequences) // 2
            return self.propose(sequences[:half]) + self.propose(sequences[half:])
        seconds = time.perf_counter() - started
        joules = self._metered.charge(sequences) if self._metered is not None else None
        return [
            growth.failed or self._proposal(growth, seconds, share)
            for growth, share in zip(growths, repeat(None) if joules is None else joules, strict=False)
        ]

    def check_integrity(self) -> None:
        """Audits the KV pool; see :meth:`TreeModel.check_integrity`."""
        self.model.check_integrity()

    @staticmethod
    def _proposal(growth: Growth, seconds: float, joules: float | None) -> Proposal:
        drawn, text = growth.drawn(), growth.text
        proposal = Proposal(drawn.tree, drawn.distributions, seconds)
        digest = proposal_digest(text.position, text.digest, proposal)
        paid = None if joules is None else text.pay(joules)
        return Proposal(drawn.tree, drawn.distributions, seconds, digest, paid)
