"""Tiny random models of every supported family, each with the library's own forward pass to compare to."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tandem.engine.compiled.compiled_pass import CompiledPass
from tandem.engine.compiled.compiling import Pass
from tandem.engine.compiled.operator import load_operator
from tandem.engine.engine import Engine
from tandem.engine.loading import LoadedModel, adopt, load_model

VOCAB_SIZE = 67
MAX_POSITIONS = 96

_COMMON = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_POSITIONS,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
    "initializer_range": 0.3,  # far from uniform, so that a wrong mask shows
}
_ONE_KV_HEAD_A_HEAD = {key: value for key, value in _COMMON.items() if key != "num_key_value_heads"}
_OPT = {
    **_ONE_KV_HEAD_A_HEAD,
    "model_type": "opt",
    "ffn_dim": 48,
    "init_std": 0.3,
    "word_embed_proj_dim": 32,
    "pad_token_id": 1,
}

MADE: list[Engine] = []
"""Engines of the test that is running; they are audited after it."""

# name -> configuration; the names of variants begin with the family's
TINY: dict[str, dict[str, Any]] = {
    "llama": {**_COMMON, "model_type": "llama"},
    "llama-yarn": {
        **_COMMON,
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 24,
        },
    },
    "qwen2": {**_COMMON, "model_type": "qwen2"},
    "qwen2-windows-in-some-layers": {
        **_COMMON,
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 5,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "qwen3": {**_COMMON, "model_type": "qwen3", "head_dim": 16},
    "mistral": {**_COMMON, "model_type": "mistral", "sliding_window": 8, "num_hidden_layers": 3},
    "mistral-narrow-window": {**_COMMON, "model_type": "mistral", "sliding_window": 3},
    "mistral-no-window": {**_COMMON, "model_type": "mistral", "sliding_window": None},
    "gemma": {**_COMMON, "model_type": "gemma", "head_dim": 16, "num_key_value_heads": 1},
    "gpt2": {**_ONE_KV_HEAD_A_HEAD, "model_type": "gpt2"},
    "gpt2-scaled-by-layer": {**_ONE_KV_HEAD_A_HEAD, "model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True},
    "opt": _OPT,
    "opt-projected-post-norm": {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "phi3": {**_COMMON, "model_type": "phi3", "sliding_window": 6},
    "olmo2": {**_COMMON, "model_type": "olmo2"},
    "starcoder2": {**_COMMON, "model_type": "starcoder2", "sliding_window": 6},
    "smollm3": {**_COMMON, "model_type": "smollm3", "no_rope_layers": [1, 0]},
    "granite": {**_COMMON, "model_type": "granite", "logits_scaling": 3.0, "attention_multiplier": 0.2},
    "gpt_neox": {**_ONE_KV_HEAD_A_HEAD, "model_type": "gpt_neox"},
}


@dataclass(frozen=True, eq=False)
class Tiny:
    """A model for engines, and an untouched copy of it that answers with the library's own attention."""

    loaded: LoadedModel
    plain: PreTrainedModel

    def engine(self, num_kv_blocks: int = 64, block_size: int = 4) -> Engine:
        engine = Engine(self.loaded, num_kv_blocks=num_kv_blocks, block_size=block_size)
        MADE.append(engine)
        return engine

    @torch.no_grad()
    def plain_logits(self, token_ids: list[int] | np.ndarray) -> torch.Tensor:
        """The library's own unbatched forward, `[tokens, vocab]`."""
        ids = torch.tensor([[int(token) for token in token_ids]])
        logits: torch.Tensor = self.plain(input_ids=ids, use_cache=False).logits[0]
        return logits


def tiny(name: str, attention: str = "sdpa", dtype: torch.dtype = torch.float32, **changes: Any) -> Tiny:
    settings = TINY[name] | changes
    torch.manual_seed(len(name))
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    plain = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval().to(dtype)
    with torch.no_grad():
        for parameter in plain.parameters():  # biases and norms that are zero or one would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return Tiny(adopt(copy.deepcopy(plain), name, "digest"), plain)


def attending_by_operator(model: Tiny) -> Tiny:
    """The same model as a compiled pass runs it, but for being compiled."""
    load_operator()
    run = Pass(copy.deepcopy(model.plain))
    loaded = model.loaded
    compiled = CompiledPass(lambda tensors: run(*tensors))
    return Tiny(LoadedModel(run.model, loaded.identity, loaded.num_weight_bytes, compiled), model.plain)


def compiled(model: Tiny) -> Tiny:
    """The same model compiled, which takes half a minute for the first time."""
    with tempfile.TemporaryDirectory() as folder:
        model.plain.save_pretrained(folder)
        return Tiny(load_model(folder, dtype="float32", device="cpu", compile=True), model.plain)
