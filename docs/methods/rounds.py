"""One round of each method, as `draw.py` pictures it. Tokens and numbers are made up to show the rule at work."""

from __future__ import annotations

from dataclasses import dataclass

TEXT, ACCEPTED, REFUSED, SKIPPED, EXTRA, OWN = "text", "accepted", "refused", "skipped", "extra", "own"


@dataclass(frozen=True)
class Token:
    """A token at its place; ``note`` is what decided about it."""

    text: str
    kind: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Tokens that follow on each other from column ``start``; a candidate branches off ``parent``, (row, column)."""

    label: str
    tokens: tuple[Token, ...]
    start: int = 1
    parent: tuple[int, int] | None = (0, 0)


@dataclass(frozen=True)
class Picture:
    """A round: what was drafted, below it the text afterwards. The cut stands behind column ``cut``."""

    says: str
    rows: tuple[Row, ...]
    cut: int | None = None


def _chain(label: str, *tokens: Token) -> Row:
    return Row(label, (Token("FROM", TEXT), *tokens), start=0, parent=None)


def _after(accepted: str, extra: str = "", kind: str = EXTRA, note: str = "") -> Row:
    kept = tuple(Token(word, ACCEPTED) for word in accepted.split())
    added = tuple(Token(word, kind, note) for word in extra.split())
    return Row("text after", (Token("FROM", TEXT), *kept, *added), start=0, parent=None)


def _a(text: str, note: str = "") -> Token:
    return Token(text, ACCEPTED, note)


def _r(text: str, note: str = "") -> Token:
    return Token(text, REFUSED, note)


def _s(text: str, note: str = "") -> Token:
    return Token(text, SKIPPED, note)


PICTURES: dict[str, Picture] = {
    "autoregressive": Picture(
        "Nothing is drafted. Each pass of the target draws one token.",
        (
            _chain("pass 1", Token("clubs", OWN)),
            Row("pass 2", (Token("WHERE", OWN),), start=2, parent=(0, 1)),
            Row("pass 3", (Token("city", OWN),), start=3, parent=(1, 2)),
            _after("", "clubs WHERE city", OWN),
        ),
    ),
    "speculative": Picture(
        "Token by token, each kept with probability min(1, p/q). The first refusal ends the round.",
        (
            _chain("drafted", _a("clubs", "p/q 1.3"), _a("WHERE", "p/q 0.8, kept"), _r("name", "p/q 0.2"), _s("=")),
            _after("clubs WHERE", "city", note="correction"),
        ),
        cut=2,
    ),
    "block": Picture(
        "The block is weighed as a whole: w = min(1, w · p/q) carries on over an unlikely token.",
        (
            _chain("drafted", _a("clubs", "w 1.0"), _a("WHERE", "w 0.5"), _a("city", "w 0.9"), _r("IN", "w 0.1")),
            _after("clubs WHERE city", "=", note="correction"),
        ),
        cut=3,
    ),
    "coupled": Picture(
        "Both models draw with the same noise. Kept while the draft drew the target's own token.",
        (
            _chain("drafted", _a("clubs", "same"), _a("WHERE", "same"), _r("name", "differs"), _s("=")),
            Row("target draws", (Token("clubs", OWN), Token("WHERE", OWN), Token("city", OWN)), parent=None),
            _after("clubs WHERE", "city", note="correction"),
        ),
        cut=2,
    ),
    "specinfer": Picture(
        "A tree of candidates. Sibling by sibling, renormalising after each refusal.",
        (
            _chain("drafted", _r("teams", "1st: refused"), _s("WHERE"), _s("city")),
            Row("", (_a("clubs", "2nd: kept"), _a("WHERE", "kept"), _r("name", "refused"))),
            Row("", (_s("players", "not asked"), _s("WHERE"), _s("age"))),
            _after("clubs WHERE", "city", note="correction"),
        ),
        cut=2,
    ),
    "typical": Picture(
        "Kept while the target finds the token plausible: p above min(ε, √ε · e^−H). No draw decides.",
        (
            _chain(
                "drafted", _a("clubs", "0.61 > 0.09"), _a("WHERE", "0.12 > 0.09"), _r("name", "0.02 < 0.07"), _s("=")
            ),
            _after("clubs WHERE", "city", note="correction"),
        ),
        cut=2,
    ),
    "bild": Picture(
        "The draft stops where it is unsure (fallback); the target cuts where p is below the threshold (rollback).",
        (
            _chain(
                "drafted", _a("clubs", "p 0.50"), _a("WHERE", "p 0.31"), _r("name", "p 0.04"), _s("…", "q max < 0.6")
            ),
            _after("clubs WHERE", "city", note="correction"),
        ),
        cut=2,
    ),
    "mtjd": Picture(
        "The target drafts for itself: beams by joint probability, the best one kept unjudged.",
        (
            _chain("beams", _s("clubs"), _s("ORDER"), _s("BY"), _s("name", "joint 0.11")),
            Row("", (Token("clubs", OWN), Token("WHERE", OWN), Token("city", OWN), Token("=", OWN, "joint 0.34"))),
            Row("", (_s("teams"), _s("WHERE"), _s("city"), _s("=", "joint 0.08"))),
            _after("", "clubs WHERE city =", OWN),
        ),
        cut=4,
    ),
    "mtad": Picture(
        "Of the best beam, the longest prefix whose joint p/q is above τ = 0.5: a later prefix may pass again.",
        (
            _chain(
                "best beam", _a("clubs", "0.9 > τ"), _a("WHERE", "0.4 < τ"), _a("city", "0.8 > τ"), _r("IN", "0.1 < τ")
            ),
            Row("other beams", (_s("clubs"), _s("WHERE"), _s("name"), _s("=", "not sent"))),
            _after("clubs WHERE city", "=", note="correction"),
        ),
        cut=3,
    ),
    "mmtad": Picture(
        "All beams as one tree. The deepest node whose joint p clears τ × the best beam's joint q at its depth.",
        (
            _chain("best beam", _a("clubs"), _a("WHERE"), _r("name", "0.02 < 0.10"), _r("IN", "0.01 < 0.08")),
            Row("", (_a("city", "0.31 > 0.10"), _a("=", "0.27 > 0.08")), start=3, parent=(0, 2)),
            Row("", (_r("teams"), _r("WHERE"), _r("city"), _r("IN", "0.03 < 0.08"))),
            _after("clubs WHERE city =", "'Oslo'", note="bonus"),
        ),
        cut=4,
    ),
}
