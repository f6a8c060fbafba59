"""The two models of the pair, before training."""

from __future__ import annotations

from transformers import LlamaConfig, PreTrainedTokenizerBase

SIZES: dict[str, dict[str, int]] = {
    "target": {
        "hidden_size": 256,
        "intermediate_size": 640,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
    },
    "draft": {
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
    },
}


def configuration(role: str, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    """The configuration of `target` or `draft`: Llama with tied embeddings."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SIZES[role],  # type: ignore[arg-type]
    )
