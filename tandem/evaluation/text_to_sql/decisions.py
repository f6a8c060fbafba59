"""A query as its author wrote it: fixed text, and the decisions that an annotator may get wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """A place where the right text and a favourite error compete. Both stand between spaces; either may be empty."""

    kind: str
    right: str
    wrong: str


Piece = str | Decision


@dataclass(frozen=True)
class Draft:
    """A question with the pieces of its query; `ordered` says whether the order of the rows matters."""

    question: str
    pieces: tuple[Piece, ...]
    ordered: bool = False

    def decisions(self) -> list[Decision]:
        """The decisions, in the order of the query."""
        return [piece for piece in self.pieces if isinstance(piece, Decision)]

    def sql(self, wrong: frozenset[int] = frozenset()) -> str:
        """The query, with the favourite error at those decisions whose index is in `wrong`."""
        texts: list[str] = []
        num_decisions = 0
        for piece in self.pieces:
            if isinstance(piece, Decision):
                texts.append(piece.wrong if num_decisions in wrong else piece.right)
                num_decisions += 1
            else:
                texts.append(piece)
        return " ".join(text for text in texts if text)
