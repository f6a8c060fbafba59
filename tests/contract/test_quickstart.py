"""docs/quickstart.md tells the truth: commands that exist, the message that is shown, and which pairs are taken."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from safetensors.torch import load_file, save_file

from tandem.cli.main import app
from tandem.errors import ModelRefused
from tandem.stack.checks import check
from tandem.stack.plan import Counts, Doors, Models, Plan
from tests.support.tiny_pair import make_tiny_pair, make_tokenizer

DOC = (Path(__file__).resolve().parents[2] / "docs" / "quickstart.md").read_text()
BLOCKS = [block for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE) if not kind]


def test_the_commands_shown_exist() -> None:
    commands = [shlex.split(line) for block in BLOCKS for line in block.splitlines() if line.startswith("tandem ")]
    assert len(commands) >= 5
    tandem: Any = typer.main.get_command(app)
    for _, name, *rest in commands:
        known = {flag for parameter in tandem.commands[name].params for flag in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known


def test_a_pair_with_two_tokenizers_is_refused_in_the_words_shown(tmp_path: Path) -> None:
    make_tokenizer(tmp_path / "target")
    make_tokenizer(tmp_path / "draft", ("another corpus with other merges",))
    models = Models(str(tmp_path / "target"), str(tmp_path / "draft"))
    with pytest.raises(ModelRefused) as refused:
        check(Plan(models=models, counts=Counts(1, 1, 1), doors=Doors("127.0.0.1", 0, 0), defaults={}))
    (shown,) = [block for block in BLOCKS if block.startswith("error: ")]
    names = re.match(r"error: target (\S+) and draft (\S+) have", shown)
    assert names is not None
    told = str(refused.value).replace(models.target or "", names[1]).replace(models.draft or "", names[2])
    assert shown.strip() == f"error: {told}"


def pad(folder: Path, width: int) -> None:
    """Widens a model's vocabulary by rows that no token uses, as families do for the sake of matrix shapes."""
    import torch

    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = torch.zeros(width - config["vocab_size"], weights[name].shape[1], dtype=weights[name].dtype)
        weights[name] = torch.cat([weights[name], rows])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": width}))


@pytest.mark.parametrize(("target_width", "draft_width"), [(384, 320), (320, 384), (448, 384)])
def test_padded_vocabularies_are_fine(
    tmp_path: Path, tiny_pair: tuple[Path, Path], target_width: int, draft_width: int
) -> None:
    from tandem import LocalDecoder

    folders = make_tiny_pair(tmp_path)
    for folder, width in zip(folders, (target_width, draft_width), strict=True):
        if width > 320:
            pad(folder, width)
    check(Plan(Models(*map(str, folders)), Counts(1, 1, 1), Doors("127.0.0.1", 0, 0), defaults={}))
    for method in ("mtad", "speculative", "specinfer", "coupled"):
        # Greedily: a row of zeros is never the likeliest here, as one of a trained model's padding never is.
        asked = {"method": method, "temperature": 0.0, "max_tokens": 40, "ignore_eos": True}
        made, plain = (
            LocalDecoder(*pair, dtype="float32").generate("select name", **asked)  # type: ignore[arg-type]
            for pair in (folders, tiny_pair)
        )
        assert made.token_ids == plain.token_ids
        assert made.usage.acceptance_histogram == plain.usage.acceptance_histogram
