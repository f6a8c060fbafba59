"""The pair's tokenizer: byte-level BPE learned from training text, in which every word of the task is one token."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tandem.evaluation.text_to_sql import training

END = "<|end|>"
PAD = "<|pad|>"
VOCABULARY_SIZE = 1536
NUM_EXAMPLES = 20_000
# Words take the space before them; `_id` stands alone, so that a key shares its table's token.
PIECES = r"_id| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9_]+|_|\s"


def learn(folder: Path, seed: int) -> PreTrainedTokenizerBase:
    """Learn the tokenizer from the training split and save it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (f"{example.prompt} {example.annotated_sql}" for example in islice(training(seed), NUM_EXAMPLES))
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(folder)
    return load(folder)


def load(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer saved in a folder."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer
