"""A target and a draft small enough to build in a test: random weights, a real tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from tests.support.chat_templates import CHATML

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

CORPUS = (
    "select name, age from people where age > 30 order by name",
    "how many singers are there in each country?",
    "The quick brown fox jumps over the lazy dog; 0123456789.",
    "naïve café, Ωμέγα, 東京, 🚀 and 👩‍🚀",
)
VOCAB_SIZE = 320
MAX_POSITIONS = 512
BOS, EOS = "<s>", "</s>"


def make_tokenizer(folder: Path, corpus: tuple[str, ...] = CORPUS) -> tokenizers.Tokenizer:
    """Trains a byte-level BPE on ``corpus`` and writes ``tokenizer.json`` and its companions."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def _model(num_layers: int, seed: int, eos_token_id: int) -> LlamaForCausalLM:
    # Imported here because this module is a pytest plugin, and most tests need no torch.
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.25,
        bos_token_id=0,
        eos_token_id=eos_token_id,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def make_tiny_pair(folder: Path) -> tuple[Path, Path]:
    """Writes a target (3 layers) and a draft (the target's first layer) to ``folder``; returns both folders.

    The draft shares the target's embeddings and head, so that it is often, but not always, right.
    """
    target_folder, draft_folder = folder / "target", folder / "draft"
    tokenizer = make_tokenizer(target_folder)
    make_tokenizer(draft_folder)
    eos = tokenizer.token_to_id(EOS)
    target, draft = _model(3, 1, eos), _model(1, 2, eos)
    weights = target.state_dict()
    # Later layers add less, so that the first one says much of what the whole does.
    for name in weights:
        if name.startswith(("model.layers.1.", "model.layers.2.")) and name.endswith(
            ("o_proj.weight", "down_proj.weight")
        ):
            weights[name] *= 0.4
    draft.load_state_dict({name: weights[name] for name in draft.state_dict()})
    target.save_pretrained(target_folder)
    draft.save_pretrained(draft_folder)
    (target_folder / "chat_template.jinja").write_text(CHATML)
    return target_folder, draft_folder


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a tiny target and its draft."""
    return make_tiny_pair(tmp_path_factory.mktemp("tiny_pair"))
