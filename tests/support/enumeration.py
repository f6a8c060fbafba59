"""Exact distributions over texts, written down in plain Python, and how decoded texts are held against them.

Nothing here is shared with what is tested: loops over dicts on one side, the package's arrays on the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from scipy import stats

from tandem.decoding.values import Floats, Sampling

Distribution = dict[int, float]
Text = tuple[int, ...]


def plain_warp(logits: Sequence[float], sampling: Sampling) -> Distribution:
    """Token -> probability after temperature, top-k, top-p and min-p; only tokens of positive probability."""
    ranked = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if sampling.temperature == 0:
        return {ranked[0]: 1.0}
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    top = max(logits)
    probs = normalised({token: math.exp((logits[token] - top) / sampling.temperature) for token in ranked})
    kept: Distribution = {}
    passed = 0.0
    for token in ranked:
        if kept and passed >= sampling.top_p and sampling.top_p < 1:
            break
        passed += probs[token]
        kept[token] = probs[token]
    probs = normalised(kept)
    highest = max(probs.values())
    return normalised({token: prob for token, prob in probs.items() if prob > 0 and prob >= sampling.min_p * highest})


def normalised(weights: Distribution) -> Distribution:
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def warped_table(logits: Floats, sampling: Sampling) -> dict[tuple[int, int], Distribution]:
    """The warped next-token distribution after each two tokens."""
    size = logits.shape[0]
    return {(a, b): plain_warp(logits[a, b].tolist(), sampling) for a in range(size) for b in range(size)}


def text_distribution(
    table: dict[tuple[int, int], Distribution], prompt: Sequence[int], length: int
) -> dict[Text, float]:
    """Continuation -> probability, for every continuation of ``length`` tokens that can be."""
    texts: dict[Text, float] = {(): 1.0}
    for _ in range(length):
        longer: dict[Text, float] = {}
        for text, prob in texts.items():
            last_two = (0, *prompt, *text)[-2:]
            for token, next_prob in table[last_two[0], last_two[1]].items():
                longer[(*text, token)] = prob * next_prob
        texts = longer
    return texts


def plain_adjust(logits: Sequence[float], sampling: Sampling, generated: Sequence[int]) -> list[float]:
    """Logits after penalties, which count what was ``generated`` so far, and bias."""
    counts, biases = Counter(generated), dict(sampling.logit_bias)
    return [
        logit
        - (sampling.presence_penalty if counts[token] else 0)
        - sampling.frequency_penalty * counts[token]
        + biases.get(token, 0)
        for token, logit in enumerate(logits)
    ]


def adjusted_text_distribution(
    logits: Floats, sampling: Sampling, prompt: Sequence[int], length: int
) -> dict[Text, float]:
    """As `text_distribution`, where what comes next depends by penalties on all that was generated."""
    texts: dict[Text, float] = {(): 1.0}
    for _ in range(length):
        longer: dict[Text, float] = {}
        for text, prob in texts.items():
            last_two = (0, *prompt, *text)[-2:]
            adjusted = plain_adjust(logits[last_two].tolist(), sampling, text)
            for token, next_prob in plain_warp(adjusted, sampling).items():
                longer[(*text, token)] = prob * next_prob
        texts = longer
    return texts


def goodness_of_fit(observed: Iterable[Text], expected: dict[Text, float], least: float = 5.0) -> float:
    """The p-value of a chi-square test; 0 when something was observed that cannot be.

    Cells whose expected count is below ``least`` are merged, smallest first.
    """
    counts = Counter(observed)
    if any(text not in expected for text in counts):
        return 0.0
    total = sum(counts.values())
    cells: list[tuple[float, int]] = []
    merged, merged_count = 0.0, 0
    for text, prob in sorted(expected.items(), key=lambda item: item[1]):
        if merged < least or prob * total < least:
            merged, merged_count = merged + prob * total, merged_count + counts[text]
        else:
            cells.append((prob * total, counts[text]))
    cells.append((merged, merged_count))
    assert len(cells) > 1, "everything was merged into one cell: too few texts to test anything"
    return float(
        stats.chisquare([count for _, count in cells], [expect for expect, _ in cells], sum_check=False).pvalue
    )
