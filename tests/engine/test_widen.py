"""A widened model is the same function."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tandem.engine.engine import Engine
from tandem.engine.loading import load_model
from tandem.engine.tree_model import Row
from tandem.engine.widen import widen_feed_forward
from tandem.errors import InvalidArgument, ModelRefused
from tests.engine.mirror import chain, ints
from tests.engine.tiny_models import tiny


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma"])
@pytest.mark.parametrize("shard_size", ["20KB", "1GB"])
def test_same_logits_at_a_larger_cost(tmp_path: Path, family: str, shard_size: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    tiny(family).plain.save_pretrained(source, max_shard_size=shard_size)
    (source / "tokenizer.json").write_text("{}")
    widen_feed_forward(source, target, 500)
    assert (target / "tokenizer.json").read_text() == "{}"
    logits = []
    for folder in (source, target):
        engine = Engine(load_model(str(folder), dtype="float32", device="cpu"), num_kv_blocks=4)
        logits.append(engine.forward([Row(engine.open(), ints(3, 1, 4, 1, 5), chain(0, 5), ints(0, 2, 4))]))
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-5)
    old, new = load_model(str(source)).identity, load_model(str(target)).identity
    assert new.num_parameters == old.num_parameters + 2 * 3 * 32 * (500 - 48)
    assert new.weights_digest != old.weights_digest


def test_the_padding_costs_like_weights_and_adds_nothing(tmp_path: Path) -> None:
    tiny("llama").plain.save_pretrained(tmp_path / "source")
    widen_feed_forward(tmp_path / "source", tmp_path / "target", 64)
    weights = load_file(tmp_path / "target" / "model.safetensors")
    assert (weights["model.layers.0.mlp.gate_proj.weight"][48:] != 0).all()
    assert (weights["model.layers.0.mlp.up_proj.weight"][48:] != 0).all()
    assert (weights["model.layers.0.mlp.down_proj.weight"][:, 48:] == 0).all()


def test_refusals(tmp_path: Path) -> None:
    tiny("gpt2").plain.save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ModelRefused, match="family 'gpt2'"):
        widen_feed_forward(tmp_path / "gpt2", tmp_path / "new", 500)
    tiny("llama").plain.save_pretrained(tmp_path / "llama")
    with pytest.raises(InvalidArgument, match="48 wide already"):
        widen_feed_forward(tmp_path / "llama", tmp_path / "new", 48)
    with pytest.raises(InvalidArgument, match="not empty"):
        widen_feed_forward(tmp_path / "llama", tmp_path / "gpt2", 500)
