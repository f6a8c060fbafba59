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


KEY_PROJECTIONS = ("k_proj", "qkv_proj", "query_key_value")
"""Layers, as families name them, whose output holds the keys."""


def attention_shape(config: PreTrainedConfig, num_ranks: int = 1) -> AttentionShape:
    """Read the shape of each of `num_ranks` ranks from a configuration; families differ in what they leave out.

    A rank has its share of the heads where the library's plan splits the keys' layers by them. Where it gathers their
    output again, which it does for families that mix the heads before they attend, each rank has them all.
    """
    num_heads: int = config.num_attention_heads
    num_kv_heads: int = getattr(config, "num_key_value_heads", None) or num_heads
    share = num_ranks if _splits_heads(config) else 1
    return AttentionShape(
        num_layers=config.num_hidden_layers,
        num_heads=num_heads // share,
        num_kv_heads=num_kv_heads // share,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
    )


def refuse_unsplittable(config: PreTrainedConfig, name: str, num_ranks: int) -> None:
    """Raises: ModelRefused if the library has no plan to split the model, or its heads cannot be shared evenly."""
    if not config.base_model_tp_plan:
        raise ModelRefused(
            f"{name} is of family {config.model_type!r}, for which the library has no plan of tensor parallelism; "
            "serve it with --parallelism 1, or choose a model of another family"
        )
    num_kv_heads = attention_shape(config).num_kv_heads
    if _splits_heads(config) and num_kv_heads % num_ranks:
        possible = [str(number) for number in range(1, num_kv_heads + 1) if num_kv_heads % number == 0]
        raise ModelRefused(
            f"{name} has {num_kv_heads} KV heads, which {num_ranks} ranks cannot share evenly; "
            f"expected a --parallelism of {' or '.join(possible)}"
        )


def _splits_heads(config: PreTrainedConfig) -> bool:
    plan: dict[str, str] = config.base_model_tp_plan or {}
    return any(layer.endswith(KEY_PROJECTIONS) and style == "colwise" for layer, style in plan.items())


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
