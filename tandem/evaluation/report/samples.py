"""Traced samples as the page shows them: every configuration's answer, round by round, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tandem.decoding.methods import METHODS
from tandem.evaluation.records import Record, ShownRound, Turn
from tandem.evaluation.report.palette import Look
from tandem.evaluation.report.wording import MISSING, count, fixed
from tandem.evaluation.summary import Run

Kind = Literal["accepted", "refused", "cut", "extra"]

MOST_TRACED = 12
"""Configurations whose rounds are shown; of the others only the answer, or nobody would read a page with many."""
MOST_ROUNDS = 150
"""Of a turn."""
_SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what became of it."""

    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A round, or a stretch of rounds in which the target wrote alone."""

    name: str
    tokens: tuple[Token, ...]
    note: str
    """What the target's own token is."""
    detail: str
    others: tuple[tuple[Token, ...], ...] = ()
    """The other candidates."""


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """One generated text."""

    text: str
    figures: str
    lines: tuple[ShownLine, ...]
    num_hidden: int
    """Rounds past `MOST_ROUNDS`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one configuration answered."""

    label: str
    look: Look
    verdict: Literal["right", "wrong", "partly", "unscored", "failed"]
    score: str
    turns: tuple[ShownTurn, ...]
    error: str


@dataclass(frozen=True, slots=True)
class ShownSample:
    """A sample with the answers of every configuration."""

    question: str
    reference: str
    answers: tuple[Answer, ...]

    @property
    def tells_apart(self) -> bool:
        """Whether some answers are right and others wrong."""
        return len({answer.verdict for answer in self.answers}) > 1

    @property
    def title(self) -> str:
        """The question's first line that says something."""
        lines = (line.strip() for line in self.question.splitlines())
        return next((line for line in lines if line), MISSING)


def shown_samples(run: Run, task: str, looks: dict[str, Look]) -> list[ShownSample]:
    """The samples of a task that were traced, in the order of the run."""
    records = [record for record in run.records if record.task == task]
    traced = {record.sample for record in records if any(turn.rounds for turn in record.turns)}
    by_sample: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.sample in traced and record.repetition == 0:
            by_sample.setdefault(record.sample, {})[record.configuration] = record
    methods = {label: configuration.method for label, configuration in run.experiment.labelled().items()}
    primary = run.primaries.get(task)
    return [_sample(own, looks, methods, primary) for own in by_sample.values()]


def _sample(
    records: dict[str, Record], looks: dict[str, Look], methods: dict[str, str], primary: str | None
) -> ShownSample:
    first = next(iter(records.values()))
    ordered = [label for label in looks if label in records]
    answers = tuple(
        _answer(records[label], looks[label], methods[label], primary, with_rounds=index < MOST_TRACED)
        for index, label in enumerate(ordered)
    )
    return ShownSample(first.question, first.reference, answers)


def _answer(record: Record, look: Look, method: str, primary: str | None, with_rounds: bool) -> Answer:
    score = record.scores.get(primary) if primary else None
    verdict: Literal["right", "wrong", "partly", "unscored", "failed"] = "unscored"
    if record.error:
        verdict = "failed"
    elif score is not None:
        verdict = "right" if score == 1 else "wrong" if score == 0 else "partly"
    turns = tuple(_turn(turn, method, with_rounds) for turn in record.turns)
    return Answer(record.configuration, look, verdict, "" if score is None else fixed(2)(score), turns, record.error)


def _turn(turn: Turn, method: str, with_rounds: bool) -> ShownTurn:
    usage = turn.usage
    figures = [
        count(usage["completion_tokens"], "token"),
        count(usage["num_target_passes"], "target pass", "target passes"),
    ]
    if usage["num_draft_tokens"]:
        figures.append(f"{usage['num_accepted_draft_tokens']} of {usage['num_draft_tokens']} drafted kept")
    figures.append(f"perplexity {fixed(3)(usage['output_perplexity'])}")
    if turn.finish_reason != "stop":
        figures.append({"length": "cut at the token limit"}.get(turn.finish_reason, turn.finish_reason))
    shown = turn.rounds[:MOST_ROUNDS] if with_rounds else ()
    lines = tuple(lines_of(shown, drafts_itself=METHODS[method].target_drafts))
    return ShownTurn(turn.text, " · ".join(figures), lines, len(turn.rounds) - len(shown) if with_rounds else 0)


def lines_of(rounds: Sequence[ShownRound], drafts_itself: bool = False) -> Iterator[ShownLine]:
    """A line a round; neighbouring rounds without a draft share one.

    Args:
        rounds: of one turn.
        drafts_itself: the target drew each block and kept it: nothing was drafted, nothing refused.
    """
    alone: list[Token] = []
    for number, shown in enumerate(rounds, start=1):
        if shown.candidates and not drafts_itself:
            if alone:
                yield _alone(alone, number - 1)
                alone = []
            yield _drafted(shown, number)
        elif drafts_itself:
            yield _block(shown, number)
        else:
            alone.append(Token(visible(shown.extra), "extra"))
    if alone:
        yield _alone(alone, len(rounds))


def _alone(tokens: Sequence[Token], last: int) -> ShownLine:
    first = last - len(tokens) + 1
    name = f"{first}" if first == last else f"{first}–{last}"
    return ShownLine(name, tuple(tokens), "the target alone", f"{count(len(tokens), 'round')} without a draft")


def _block(shown: ShownRound, number: int) -> ShownLine:
    """The block as drawn, where it was kept as a whole; else what of it is in the text."""
    drawn = shown.candidates[0] if shown.candidates else ()
    pieces = drawn if "".join(drawn) == shown.extra else (shown.extra,)
    tokens = tuple(Token(visible(piece), "extra") for piece in pieces)
    detail = f"joint log-prob. {fixed(2)(shown.target_log_prob)}" if drawn else ""
    return ShownLine(f"{number}", tokens, "drawn by the target", detail)


def _drafted(shown: ShownRound, number: int) -> ShownLine:
    first, kept = shown.candidates[0], shown.num_accepted
    rest: Kind = "refused" if shown.extra else "cut"  # without a token of the target's own the text ended here
    tokens = [Token(visible(piece), "accepted" if at < kept else rest) for at, piece in enumerate(first)]
    note = ""
    if shown.extra:
        tokens.append(Token(visible(shown.extra), "extra"))
        note = "bonus" if kept == len(first) else "correction"
    elif kept < len(first):
        note = "end of text"
    draft, target = (
        "−∞" if value == float("-inf") else fixed(2)(value) for value in (shown.draft_log_prob, shown.target_log_prob)
    )
    detail = f"{kept} of {len(first)} kept · joint log-prob. draft {draft}, target {target}"
    others = tuple(_other(path, first[:kept], rest) for path in shown.candidates[1:])
    return ShownLine(f"{number}", tuple(tokens), note, detail, others)


def _other(path: Sequence[str], accepted: Sequence[str], rest: Kind) -> tuple[Token, ...]:
    """Another candidate: what it shares with the accepted one are the same nodes of the tree."""
    shared = 0
    while shared < min(len(path), len(accepted)) and path[shared] == accepted[shared]:
        shared += 1
    return tuple(Token(visible(piece), "accepted" if at < shared else rest) for at, piece in enumerate(path))


def visible(piece: str) -> str:
    """A token's text with signs for what cannot be seen; spaces stay, as a token's colour shows them."""
    shown = "".join(
        _SIGNS.get(char, char) if char in _SIGNS or char.isprintable() else repr(char)[1:-1] for char in piece
    )
    return shown or "∅"
