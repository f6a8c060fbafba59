"""One pair of tables whose texts are enumerated, and as many texts decoded with them as a test asks for."""

from __future__ import annotations

from functools import cache

from tandem.decoding.values import Sampling, Speculation
from tests.support.decode import decode, decoding_of
from tests.support.enumeration import Text, text_distribution, warped_table
from tests.support.tabular import random_tables

PROMPT = (3, 5)
NUM_TOKENS = 4
SAMPLING = Sampling(temperature=1.0, top_k=4, top_p=0.95)
TABLES = random_tables(seed=1, closeness=0.4)
LEAST_P = 1e-3
"""A right rule's p-value is above it; a wrong rule's is below."""


@cache
def exact() -> dict[Text, float]:
    """The warped target's distribution over texts."""
    return text_distribution(warped_table(TABLES[0], SAMPLING), PROMPT, NUM_TOKENS)


def texts(speculation: Speculation, count: int) -> list[Text]:
    """Texts of the first ``count`` seeds."""
    return decode(TABLES, PROMPT, NUM_TOKENS, [decoding_of(SAMPLING, speculation, seed) for seed in range(count)])
