"""The imperfect annotator of the training queries.

It takes each decision by itself and errs at random, so that nothing in a prompt tells whether it erred and no amount
of training removes the doubt: a calibrated model gives the favourite error its share. Every share lies between top-p's
10%, under which truncation would delete the error, and one half, above which the error would be the best answer.
"""

from __future__ import annotations

import random

from tandem.evaluation.text_to_sql.decisions import Draft

ERROR_SHARES: dict[str, float] = {
    "comparison": 0.25,  # `>` for `>=`, and the like
    "connective": 0.20,  # AND for OR
    "direction": 0.25,  # ascending for descending, and the reverse
    "distinct": 0.25,  # forgotten
    "extra": 0.25,  # a column that was not asked for
    "aggregate": 0.20,  # SUM for AVG, MAX for MIN, and the like
    "join": 0.25,  # LEFT JOIN for JOIN
    "negation": 0.20,  # IN for NOT IN
    "group": 0.22,  # the grouped column left out of the result
    "scope": 0.22,  # a subquery that forgets its condition
}


def annotate(draft: Draft, rng: random.Random) -> str:
    """The query as the annotator writes it."""
    wrong = (index for index, decision in enumerate(draft.decisions()) if rng.random() < ERROR_SHARES[decision.kind])
    return draft.sql(frozenset(wrong))
