"""What is loaded, what its identity says, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from tandem.engine import loading
from tandem.engine.engine import Engine
from tandem.engine.families import SUPPORTED_FAMILIES, refuse_unsupported
from tandem.engine.loading import load_model
from tandem.engine.tree_model import Row
from tandem.errors import InvalidArgument, ModelRefused
from tests.engine.mirror import chain, ints
from tests.engine.tiny_models import TINY, VOCAB_SIZE, tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny("llama").plain.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "gemma"])
def test_a_saved_model_is_loaded_and_computes_the_same(tmp_path: Path, name: str) -> None:
    model = tiny(name)
    model.plain.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), dtype="float32", device="cpu")
    engine = Engine(loaded, num_kv_blocks=8)
    prompt = ints(1, 2, 3, 4, 5)
    logits = engine.forward([Row(engine.open(), prompt, chain(0, 5), ints(0, 4))])
    torch.testing.assert_close(logits, model.plain_logits(prompt)[[0, 4]], rtol=0, atol=1e-4)


def test_identity(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 1]}')
    identity = load_model(str(folder), device="cpu").identity
    assert identity.name == str(folder)
    assert identity.family == "llama"
    assert identity.vocab_size == VOCAB_SIZE
    assert identity.max_positions == TINY["llama"]["max_position_embeddings"]
    assert identity.eos_token_ids == (1, 5)
    assert identity.dtype == "float32"
    assert identity.num_parameters == sum(len(t.flatten()) for t in load_file(folder / "model.safetensors").values())
    assert len(identity.weights_digest) == 64


def test_the_digest_follows_weights_and_configuration_but_not_the_place(folder: Path, tmp_path: Path) -> None:
    digest = load_model(str(folder)).identity.weights_digest
    moved = folder.rename(tmp_path / "elsewhere")
    change_config(moved, transformers_version="0.0")
    assert load_model(str(moved)).identity.weights_digest == digest
    change_config(moved, rms_norm_eps=1e-3)
    changed = load_model(str(moved)).identity.weights_digest
    assert changed != digest
    weights = moved / "model.safetensors"
    retrained = {name: tensor * 1.01 for name, tensor in load_file(weights).items()}
    save_file(retrained, weights, {"format": "pt"})
    assert load_model(str(moved)).identity.weights_digest not in (digest, changed)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_stated_dtype_is_honoured(folder: Path, dtype: str) -> None:
    loaded = load_model(str(folder), dtype=dtype, device="cpu")
    assert loaded.identity.dtype == dtype
    assert loaded.model.dtype == getattr(torch, dtype)


def test_the_dtype_chosen_on_a_cpu_goes_by_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_model(str(folder), device="cpu").identity.dtype == "float32"
    monkeypatch.setattr(loading, "FLOAT32_PARAMETERS_ON_CPU", 100)
    assert load_model(str(folder), device="cpu").identity.dtype == "bfloat16"


def test_an_unknown_dtype(folder: Path) -> None:
    with pytest.raises(InvalidArgument, match="int4"):
        load_model(str(folder), dtype="int4")


def test_pickled_weights_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelRefused, match=r"found only pytorch_model\.bin; expected \*\.safetensors.*convert"):
        load_model(str(folder))


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelRefused, match="found no weights at all"):
        load_model(str(folder))


def test_remote_code_is_refused(folder: Path) -> None:
    change_config(folder, auto_map={"AutoModelForCausalLM": "modeling_own.OwnModel"})
    with pytest.raises(ModelRefused, match=r"auto_map.*AutoModelForCausalLM"):
        load_model(str(folder))


def test_an_unknown_family_is_named_with_the_list(folder: Path) -> None:
    change_config(folder, model_type="gemma2")
    with pytest.raises(ModelRefused, match=r"family 'gemma2'.*llama, mistral"):
        load_model(str(folder))
    change_config(folder, model_type="no-such-family")
    with pytest.raises(ModelRefused, match="no-such-family"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("family", "settings", "complaint"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "'dynamic'"),
        ("gpt2", {"add_cross_attention": True}, "cross attention"),
        ("llama", {"attn_logit_softcapping": 30.0}, "soft-capped"),
        ("llama", {"is_causal": False}, "not causal"),
        ("qwen2", {"num_hidden_layers": 1, "layer_types": ["chunked_attention"]}, "chunked_attention"),
        ("mixtral", {}, "family 'mixtral'"),
    ],
)
def test_features_that_would_be_computed_wrongly(family: str, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelRefused, match=complaint):
        refuse_unsupported(AutoConfig.for_model(family, **settings), "a model")


def test_every_supported_family_is_tested() -> None:
    assert {settings["model_type"] for settings in TINY.values()} == SUPPORTED_FAMILIES


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelRefused, match=r"lacks 1 of the weights.*layers\.1\.mlp\.up_proj"):
        load_model(str(folder))


def test_a_torn_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ModelRefused, match="cannot be loaded"):
        load_model(str(folder))
    path.write_bytes(whole[:100])
    with pytest.raises(ModelRefused, match="no whole safetensors file"):
        load_model(str(folder))


def test_neither_folder_nor_hub_id(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="neither a folder here nor"):
        load_model(str(tmp_path / "nothing" / "here"))
    with pytest.raises(ModelRefused, match=r"no config\.json"):
        load_model(str(tmp_path))


def test_shards(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert load_model(str(tmp_path / "shards")).identity.num_parameters == model.num_parameters()
