"""Where the pair that ships with the project lies."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tandem.errors import ModelRefused


def shipped(which: Literal["target", "draft"]) -> Path:
    """The folder of the shipped target or draft model.

    Raises:
        ModelRefused: the package was installed without the repository's ``models/`` folder.
    """
    folder = Path(__file__).resolve().parent.parent / "models" / which
    if not (folder / "config.json").exists():
        raise ModelRefused(
            f"the shipped {which} model is not at {folder}: expected a folder with config.json and model.safetensors. "
            f"Run from a checkout of the repository, or name a model with --{which}"
        )
    return folder
