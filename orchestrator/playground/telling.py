"""A session's events as the page reads them: where each token comes from, and the rounds that made them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from orchestrator.events import Committed, Finished, Started
from orchestrator.openai.figures import usage_of
from orchestrator.openai.texts import Text
from orchestrator.openai.token_pieces import LEAST_LOG_PROB
from orchestrator.playground.token_texts import SingleTokens, TextTokens
from orchestrator.records import CommittedRound
from tandem.decoding.values import RunningDigest
from tandem.evaluation.showing import candidates, stage_seconds
from tandem.generation import Round
from tandem.tokenization import Tokenizer

Source = Literal["accepted", "correction", "bonus", "own"]
"""Of a token: drafted and accepted; the target's after a refusal, or after full acceptance; the target's alone."""


def source(index: int, num_accepted: int, num_drafted: int) -> Source:
    """Where the token at ``index`` of a round comes from."""
    if index < num_accepted:
        return "accepted"
    if num_drafted == 0:
        return "own"
    return "bonus" if num_accepted >= num_drafted else "correction"


class Telling:
    """Turns the events of one followed session into plain JSON values. Owner: the answer that follows it."""

    def __init__(self, text: Text, tokenizer: Tokenizer, singles: SingleTokens, position: int) -> None:
        """``position``: tokens that the page has, prompt included."""
        session = text.session
        prompt = session.prompt_token_ids
        self._text = text
        self._singles = singles
        self._tokens = TextTokens(tokenizer, prompt, session.text.token_ids[len(prompt) : position])

    def started(self, event: Started) -> dict[str, Any]:
        """Enough to ask for the rest from here on."""
        prompt = event.prompt_token_ids
        return {
            "type": "started",
            "session_id": event.session_id,
            "position": len(prompt),
            "digest": RunningDigest(prompt).value.hex(),
            "seed": event.decoding.sampling.seed,
            "speculation": asdict(event.decoding.speculation),
        }

    def committed(self, event: Committed, rounds: Sequence[CommittedRound]) -> dict[str, Any]:
        """The tokens of a part, each with its source; ``rounds`` are those that made them, as the store has them."""
        told = []
        for number, found in enumerate(rounds):
            last = number == len(rounds) - 1
            end = event.position + len(event.token_ids) if last else rounds[number + 1].position
            told.append(self._round(event, found, end))
        return {
            "type": "part",
            "position": event.position + len(event.token_ids),
            "digest": event.digest.hex(),
            "rounds": told,
        }

    def finished(self, event: Finished) -> dict[str, Any]:
        """How it ended, and the figures of the whole."""
        return {
            "type": "finished",
            "reason": event.reason,
            "rest": self._tokens.rest(),
            "usage": usage_of([self._text], 1).model_dump(),
        }

    def _round(self, event: Committed, found: CommittedRound, end: int) -> dict[str, Any]:
        tokens = []
        for position in range(max(found.position, event.position), end):
            at = position - event.position
            token_id = event.token_ids[at]
            log_prob = event.log_probs[at] if event.log_probs else None
            tokens.append(
                {
                    "id": token_id,
                    "text": self._tokens.next(token_id),
                    "name": self._singles.text(token_id),
                    "source": source(position - found.position, found.num_accepted, found.num_drafted),
                    "log_prob": None if log_prob is None else max(LEAST_LOG_PROB, log_prob),
                }
            )
        return {
            "position": found.position,
            "num_accepted": found.num_accepted,
            "num_drafted": found.num_drafted,
            "tokens": tokens,
            **self._trace(event, found),
        }

    def _trace(self, event: Committed, found: CommittedRound) -> dict[str, Any]:
        """The proposal, where the round was traced: a round that the page missed is kept without."""
        if event.traced is None:
            return {"nodes": None, "stage_seconds": None}
        traced = Round.of(found.position, event.traced)
        paths = candidates(traced)
        accepted = set(paths[0][: found.num_accepted]) if paths else set()
        nodes = [
            {
                "name": self._singles.text(token_id),
                "parent": parent,
                "draft": _finite(draft),
                "target": _finite(target),
                "accepted": index in accepted,
            }
            for index, (token_id, parent, draft, target) in enumerate(
                zip(
                    traced.token_ids,
                    traced.parents,
                    traced.draft_joint_log_probs,
                    traced.target_joint_log_probs,
                    strict=True,
                )
            )
        ]
        return {"nodes": nodes, "stage_seconds": stage_seconds(traced.timings)}


def _finite(log_prob: float) -> float | None:
    """None for minus infinity, which JSON cannot say."""
    return log_prob if math.isfinite(log_prob) else None
