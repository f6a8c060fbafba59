"""A language small enough to be written down, over the eight tokens of a table: an end token and seven letters."""

from __future__ import annotations

import itertools
import json
import re
from functools import cache

from tandem.decoding.constraint import Constraint
from tandem.decoding.values import Floats, Sampling
from tandem.matching import Grammars
from tests.support.enumeration import Text, plain_warp

EOS = 0
LETTERS = " abcdefg"  # of tokens 1 to 7
EXPRESSION = "(a|bc?|[d-f]{2})(g[a-c]|c)?"
LONGEST = 4


def definition() -> str:
    """A ``tokenizer.json`` whose tokens are single letters."""
    vocab = {"<end>": EOS} | {letter: token for token, letter in enumerate(LETTERS) if token}
    added = {"id": EOS, "content": "<end>", "special": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [added | flags],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        }
    )


def grammars() -> Grammars:
    return Grammars(definition(), (EOS,))


def constraint() -> Constraint:
    return Constraint("regex", EXPRESSION)


@cache
def sentences() -> frozenset[Text]:
    """All texts that match, without their end, by Python's own expressions."""
    found: set[Text] = set()
    for length in range(LONGEST + 1):
        for text in itertools.product(range(1, 8), repeat=length):
            if re.fullmatch(EXPRESSION, "".join(LETTERS[token] for token in text)):
                found.add(text)
    return frozenset(found)


@cache
def allowed_after(text: Text) -> frozenset[int]:
    """What may come next, by looking through all sentences."""
    longer = [sentence for sentence in sentences() if len(sentence) > len(text) and sentence[: len(text)] == text]
    return frozenset({sentence[len(text)] for sentence in longer} | ({EOS} if text in sentences() else set()))


def sentence_distribution(logits: Floats, sampling: Sampling, prompt: Text) -> dict[Text, float]:
    """Every sentence with its end -> its probability, when each token is drawn from what is allowed there."""
    whole: dict[Text, float] = {}
    growing: dict[Text, float] = {(): 1.0}
    while growing:
        longer: dict[Text, float] = {}
        for text, prob in growing.items():
            for token, next_prob in allowed_distribution(logits, sampling, prompt, text).items():
                into = whole if token == EOS else longer
                into[(*text, token)] = prob * next_prob
        growing = longer
    return whole


def allowed_distribution(logits: Floats, sampling: Sampling, prompt: Text, text: Text) -> dict[int, float]:
    """The warped next-token distribution, what is not allowed being no token at all."""
    allowed = allowed_after(text)
    row = logits[(0, *prompt, *text)[-2:]].tolist()
    masked = [logit if token in allowed else -1e9 for token, logit in enumerate(row)]
    return {token: prob for token, prob in plain_warp(masked, sampling).items() if token in allowed}
