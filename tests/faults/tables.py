"""The pair of tables that stands for a target and a draft, and a tokenizer with as many words."""

from __future__ import annotations

from pathlib import Path

import tokenizers
from tokenizers import models, pre_tokenizers

from tests.support.tabular import random_tables

VOCAB_SIZE = 16
MAX_POSITIONS = 4096
UNBOUNDED_BLOCKS = 1 << 20
"""KV blocks of a replica that is to have enough."""

POISON_NAN, POISON_RAISE = (9, 9, 9), (8, 8, 8)
"""How texts begin that spoil a pass of the model, once they have `POISONED_FROM` tokens."""

POISONED_FROM = 24

TARGET, DRAFT = random_tables(seed=7, vocab_size=VOCAB_SIZE)


def make_words(folder: Path, prefix: str = "w") -> None:
    """Writes the tokenizer of a vocabulary of `VOCAB_SIZE` words."""
    words = {f"{prefix}{number}": number for number in range(VOCAB_SIZE)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token=f"{prefix}0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
