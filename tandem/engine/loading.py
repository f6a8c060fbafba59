"""Loading a model, unmodified, with our attention plugged in; refusing what would be computed wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

from tandem.engine.attention import ATTENTION_NAME
from tandem.engine.checkpoint import Checkpoint, open_checkpoint
from tandem.engine.families import refuse_unsplittable, refuse_unsupported
from tandem.engine.packing import pack
from tandem.engine.ranks import Ranks
from tandem.errors import InvalidArgument, ModelRefused

if TYPE_CHECKING:
    from tandem.engine.compiled.compiled_pass import CompiledPass

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

FLOAT32_PARAMETERS_ON_CPU = 6_000_000
"""Below this many parameters a CPU runs a model in float32, above in bfloat16.

Measured on a core with AVX-512 BF16 and 32 MiB of L3, time in float32 / time in bfloat16 of one pass of 1, 5 and 17
tokens: 0.6M parameters 0.69, 0.87, 0.98; 5.2M 0.86 to 0.96, 1.11, 1.2; 8.4M 0.98, 1.28, 1.38; 21M 1.21, 1.72, 1.74;
85M 1.37, 2.26, 2.25. The library packs bfloat16 weights anew at every call, which is all that a small model's pass
costs. Around the even point float32 is preferred, since it agrees across batch shapes far more closely.
"""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What `Describe` answers about a model."""

    name: str  # folder or hub id as given
    family: str  # the configuration's model_type
    weights_digest: str  # hex sha256 of the safetensors index, every file's header and the configuration
    vocab_size: int  # width of the logits
    max_positions: int
    eos_token_ids: tuple[int, ...]
    dtype: str
    num_parameters: int


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready for an engine."""

    model: PreTrainedModel  # in eval mode, without gradients, attending through the engine
    identity: ModelIdentity
    num_weight_bytes: int  # each counted once
    compiled: CompiledPass | None = None  # what to call instead of the model, whose weights are gone then


def load_model(
    name: str, *, dtype: str = "auto", device: str = "auto", ranks: Ranks | None = None, compile: bool = False
) -> LoadedModel:
    """Load a folder or hub id; of a model that `ranks` run together, this rank's part, once they have met.

    Args: `dtype` "auto" is the checkpoint's own on a GPU, and on a CPU whichever is faster for a model of that size;
    or "float32", "bfloat16", "float16". `device` "auto" is a GPU if there is one. `compile`: see `adopt`.
    Raises: ModelRefused, saying what was found and what was expected; InvalidArgument for an unknown dtype, or a
    machine that has not what the ranks need; InvariantBroken if one of them has ended.
    """
    checkpoint = open_checkpoint(name)
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelRefused(f"{name} has a configuration that the library does not accept: {error}") from error
    refuse_unsupported(config, name)
    number_type = _dtype(dtype, target := _device(device, ranks), checkpoint)
    split: DistributedConfig | None = None
    if ranks is not None:
        refuse_unsplittable(config, name, ranks.size)
        ranks.join(target)
        split = DistributedConfig(tp_size=ranks.size, tp_plan="auto")
    try:
        # The stubs promise a model here; with output_loading_info the library returns a pair.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=number_type,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=ATTENTION_NAME,
            distributed_config=split,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelRefused(f"{name} cannot be loaded: {error}") from error
    model, report = loaded
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelRefused(
            f"{name} lacks {len(missing)} of the weights that a {config.model_type} model needs, the first being "
            f"{missing[0]}; they would be random"
        )
    return adopt(model if split is not None else model.to(target), name, checkpoint.weights_digest, compile=compile)


def adopt(model: PreTrainedModel, name: str, weights_digest: str, *, compile: bool = False) -> LoadedModel:
    """Take over a model that is in memory already.

    `compile` makes machine code of its forward pass, or finds it made, with the threads that torch has now.
    Raises: ModelRefused; InvalidArgument where there is nothing to compile with.
    """
    config = model.config
    refuse_unsupported(config, name)
    model.set_attn_implementation(ATTENTION_NAME)
    model.eval()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    model.requires_grad_(False)
    identity = ModelIdentity(
        name=name,
        family=config.model_type,
        weights_digest=weights_digest,
        vocab_size=model.get_output_embeddings().weight.shape[0],  # type: ignore[no-untyped-call]  # as above
        max_positions=config.max_position_embeddings,
        eos_token_ids=_eos_token_ids(model),
        dtype=str(model.dtype).removeprefix("torch."),
        num_parameters=model.num_parameters(),
    )
    num_weight_bytes = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))  # torch tells each once
    if not compile:
        pack(model)
        return LoadedModel(model, identity, num_weight_bytes)
    from tandem.engine.compiled.compiled_pass import CompiledPass  # imports the compiler

    compiled = CompiledPass.of(model)
    for parameter in model.parameters():  # the compiled pass has its own
        parameter.data = parameter.data.new_empty(0)
    return LoadedModel(model, identity, num_weight_bytes, compiled)


def _device(device: str, ranks: Ranks | None) -> torch.device:
    if ranks is not None:
        return ranks.device(device)
    return torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


def _dtype(dtype: str, device: torch.device, checkpoint: Checkpoint) -> torch.dtype | Literal["auto"]:
    if dtype in DTYPES:
        return DTYPES[dtype]
    if dtype != "auto":
        raise InvalidArgument(f"dtype {dtype!r} is not known; expected auto, {', '.join(DTYPES)}")
    if device.type != "cpu":
        return "auto"
    return torch.float32 if checkpoint.num_parameters < FLOAT32_PARAMETERS_ON_CPU else torch.bfloat16


def _eos_token_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """The generation configuration knows more end tokens than the model's own for many chat models."""
    generation = model.generation_config
    stated = generation.eos_token_id if isinstance(generation, GenerationConfig) else None
    if stated is None:
        stated = getattr(model.config, "eos_token_id", None)
    if stated is None:
        return ()
    return tuple(sorted(stated)) if isinstance(stated, list) else (int(stated),)
