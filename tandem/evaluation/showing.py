"""Traced rounds as a person reads them."""

from __future__ import annotations

from collections.abc import Callable

from tandem.decoding.values import StageTimings
from tandem.evaluation.records import ShownRound
from tandem.generation import Round

TokenText = Callable[[int], str]


def shown(traced: Round, token_text: TokenText) -> ShownRound:
    """A round with the texts of its tokens; ``token_text`` says what each reads as."""
    paths = candidates(traced)
    accepted = len(traced.accepted_token_ids)
    own = traced.emitted_token_ids[accepted:]
    last = paths[0][-1] if paths else None
    return ShownRound(
        candidates=tuple(tuple(token_text(traced.token_ids[node]) for node in path) for path in paths),
        num_accepted=accepted,
        extra="".join(map(token_text, own)),
        draft_log_prob=0.0 if last is None else traced.draft_joint_log_probs[last],
        target_log_prob=0.0 if last is None else traced.target_joint_log_probs[last],
        stage_seconds=stage_seconds(traced.timings),
    )


def candidates(traced: Round) -> list[tuple[int, ...]]:
    """Paths of nodes from the root to each leaf: first the one that was accepted, then the longest first."""
    inner = set(traced.parents)
    paths = []
    for leaf in range(len(traced.token_ids)):
        if leaf in inner:
            continue
        path: list[int] = []
        node = leaf
        while node >= 0:
            path.append(node)
            node = traced.parents[node]
        paths.append(tuple(reversed(path)))
    accepted = traced.accepted_token_ids

    def rank(path: tuple[int, ...]) -> tuple[bool, int]:
        begins = tuple(traced.token_ids[node] for node in path[: len(accepted)]) == accepted
        return not begins, -len(path)

    return sorted(paths, key=rank)


def stage_seconds(timings: StageTimings) -> dict[str, float]:
    """A round's time by stage, in order; `wire` is what its way to the verify service and back took beside them."""
    inside = timings.serialise_seconds + timings.queue_seconds + timings.forward_seconds + timings.judge_seconds
    return {
        "draft": timings.draft_seconds,
        "serialise": timings.serialise_seconds,
        "wire": max(0.0, timings.verify_round_trip_seconds - inside),
        "queue": timings.queue_seconds,
        "forward": timings.forward_seconds,
        "judge": timings.judge_seconds,
        "commit": timings.commit_seconds,
        "emit": timings.emit_seconds,
    }
