"""Which families of models the engine computes rightly, and what their attention looks like.

A family is on the list only when the tests compare it to the library's own forward pass. Whatever else a
configuration may ask for that our attention would compute wrongly is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig

from tandem.errors import ModelRefused

SUPPORTED_FAMILIES = frozenset(
    {
        "gemma",
        "gpt2",
        "gpt_neox",
        "granite",
        "llama",
        "mistral",
        "olmo2",
        "opt",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
        "starcoder2",
    }
)

STEADY_ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Rotary scalings whose frequencies do not depend on how long the current input is.

The others (`dynamic`, `longrope`) look at the longest position of a call, so that keys written in different calls,
or two sequences in one call, would disagree.
"""

KNOWN_LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})

REFUSED_FEATURES = {
    "add_cross_attention": "cross attention",
    "alibi": "ALiBi position biases",
    "attn_logit_softcapping": "soft-capped attention scores",
    "is_encoder_decoder": "an encoder",
    "num_experts": "a mixture of experts",
    "num_local_experts": "a mixture of experts",
    "use_bidirectional_attention": "attention in both directions",
}


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """How many layers a model has and how wide their attention is."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    @property
    def num_groups(self) -> int:
        """How many query heads share a KV head."""
        return self.num_heads // self.num_kv_heads


def attention_shape(config: PreTrainedConfig) -> AttentionShape:
    """Read the shape from a configuration; families differ in what they leave out."""
    num_heads: int = config.num_attention_heads
    return AttentionShape(
        num_layers=config.num_hidden_layers,
        num_heads=num_heads,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
    )


def refuse_unsupported(config: PreTrainedConfig, name: str) -> None:
    """Raises: ModelRefused if the family, or something its configuration turns on, is not supported."""
    family = config.model_type
    if family not in SUPPORTED_FAMILIES:
        raise ModelRefused(
            f"{name} is of family {family!r}, which is not supported: "
            f"expected one of {', '.join(sorted(SUPPORTED_FAMILIES))}; choose a model of one of these"
        )
    for attribute, meaning in REFUSED_FEATURES.items():
        if getattr(config, attribute, None):
            raise ModelRefused(f"{name} ({family}) has {meaning} (`{attribute}`), which the engine does not compute")
    if getattr(config, "is_causal", True) is False:
        raise ModelRefused(f"{name} ({family}) is not causal (`is_causal`), which the engine does not compute")
    rope = getattr(config, "rope_parameters", None) or {}
    rope_type = rope.get("rope_type", "default")
    if rope_type not in STEADY_ROPE_TYPES:
        raise ModelRefused(
            f"{name} ({family}) scales its rotary positions by {rope_type!r}, whose frequencies depend on the length "
            f"of each call; expected one of {', '.join(sorted(STEADY_ROPE_TYPES))}"
        )
    unknown = set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYER_TYPES
    if unknown:
        raise ModelRefused(f"{name} ({family}) has layers of unsupported types: {', '.join(sorted(unknown))}")
