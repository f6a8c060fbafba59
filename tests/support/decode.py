"""Decoding many texts in batches through the real proposer and verifier, with tabular models."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Floats, Outcome, Proposal, Sampling, Speculation
from tandem.engine.proposer import Proposer
from tandem.engine.verifier import Verifier
from tandem.matching import Grammars
from tests.support.tabular import TabularModel

Text = tuple[int, ...]


def decoding_of(sampling: Sampling, speculation: Speculation, seed: int, **rest: object) -> Decoding:
    return Decoding(replace(sampling, seed=seed), speculation, max_position=1 << 20, **rest)  # type: ignore[arg-type]


def decode(
    tables: tuple[Floats, Floats],
    prompt: Sequence[int],
    num_tokens: int,
    decodings: Sequence[Decoding],
    batch_size: int = 2000,
    grammars: Grammars | None = None,
) -> list[Text]:
    """The first ``num_tokens`` tokens generated for each of ``decodings``, target table first; fewer where it ends."""
    texts: list[Text] = []
    gc.disable()  # it would walk thousands of live texts over and over
    try:
        for start in range(0, len(decodings), batch_size):
            rounds = decode_rounds(tables, prompt, num_tokens, decodings[start : start + batch_size], grammars)
            texts += [
                tuple(token for _, outcome in mine for token in outcome.token_ids)[:num_tokens] for mine in rounds
            ]
    finally:
        gc.enable()
    return texts


def decode_rounds(
    tables: tuple[Floats, Floats],
    prompt: Sequence[int],
    num_tokens: int,
    decodings: Sequence[Decoding],
    grammars: Grammars | None = None,
) -> list[list[tuple[Proposal | None, Outcome]]]:
    """Every round until ``num_tokens`` tokens are generated, for each of ``decodings``, all in one batch."""
    verifier = Verifier(TabularModel(tables[0]), grammars=grammars)
    proposer = Proposer(TabularModel(tables[1]), grammars=grammars)
    return rounds_of(verifier, proposer, prompt, num_tokens, decodings)


def rounds_of(
    verifier: Verifier, proposer: Proposer, prompt: Sequence[int], num_tokens: int, decodings: Sequence[Decoding]
) -> list[list[tuple[Proposal | None, Outcome]]]:
    """As `decode_rounds`, of any models."""
    targets = [verifier.open(prompt, decoding) for decoding in decodings]
    drafts = [
        None if METHODS[decoding.speculation.method].target_only else proposer.open(prompt, decoding)
        for decoding in decodings
    ]
    rounds: list[list[tuple[Proposal | None, Outcome]]] = [[] for _ in decodings]
    goal = len(prompt) + num_tokens
    while active := [index for index, target in enumerate(targets) if target.position < goal and not target.finished]:
        drafted = [index for index in active if drafts[index] is not None]
        proposed = dict(zip(drafted, proposer.propose([drafts[index] for index in drafted]), strict=True))  # type: ignore[misc]
        assert all(isinstance(proposal, Proposal) for proposal in proposed.values()), proposed
        work = [(targets[index], proposed.get(index)) for index in active]
        for index, outcome in zip(active, verifier.judge(work), strict=True):  # type: ignore[arg-type]
            proposal, draft = proposed.get(index), drafts[index]
            assert isinstance(outcome, Outcome), outcome
            assert proposal is None or isinstance(proposal, Proposal), proposal
            rounds[index].append((proposal, outcome))
            if draft is not None:
                draft.extend(outcome.token_ids)
    return rounds
