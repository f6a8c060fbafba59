"""A checkpoint on disk: where it is, that it is safe to open, and its digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from tandem.errors import ModelRefused

PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")

CONFIG_KEYS_WITHOUT_MEANING = frozenset({"_name_or_path", "transformers_version", "use_cache"})
"""What the library writes into `config.json` without it changing what the model computes."""

NUM_SAMPLES = 16
SAMPLE_BYTES = 4096
"""What is read of a weight file for its digest, beside the header: little enough for 140 GB of weights."""

MAX_HEADER_BYTES = 100_000_000
"""The safetensors format's own bound."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of a model before any tensor is read."""

    folder: Path
    config: dict[str, Any]
    weights_digest: str
    num_parameters: int


def open_checkpoint(name: str) -> Checkpoint:
    """Find the folder, or fetch the hub id, `name`, and read everything but the tensors.

    Raises: ModelRefused if it is not there, has only pickled weights, or needs code of its own.
    """
    folder = Path(name) if Path(name).is_dir() else _fetch(name)
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise ModelRefused(f"{name} has no config.json: expected a model folder in the Hugging Face layout")
    config_bytes = config_path.read_bytes()
    try:
        config = json.loads(config_bytes)
    except ValueError as error:
        raise ModelRefused(f"{name}/config.json is not JSON: {error}") from error
    if config.get("auto_map"):
        raise ModelRefused(
            f"{name} brings code of its own (`auto_map` in config.json: {', '.join(sorted(config['auto_map']))}); "
            "only architectures of the transformers library are run. If the library has this architecture, remove "
            "`auto_map` from config.json"
        )
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(path.name for pattern in PICKLE_PATTERNS for path in folder.glob(pattern))
        found = f"found only {', '.join(pickled)}" if pickled else "found no weights at all"
        raise ModelRefused(
            f"{name}: {found}; expected *.safetensors. Pickled weights can run code and are never opened: convert "
            "them with the library's save_pretrained, or choose a repository that has safetensors"
        )
    digest = hashlib.sha256()
    meaning = {key: value for key, value in config.items() if key not in CONFIG_KEYS_WITHOUT_MEANING}
    digest.update(json.dumps(meaning, sort_keys=True).encode())
    for index in sorted(folder.glob("*.safetensors.index.json")):
        digest.update(index.read_bytes())
    num_parameters = 0
    for path in files:
        header = _header(path)
        digest.update(path.name.encode() + header + _samples(path))
        num_parameters += sum(math.prod(shape) for shape in _shapes(header))
    return Checkpoint(folder, config, digest.hexdigest(), num_parameters)


def _fetch(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelRefused(
            f"{name!r} is neither a folder here nor a model that can be fetched from the hub ({error}); "
            "check the path or the id, and that the hub can be reached"
        ) from error


def _samples(path: Path) -> bytes:
    """A few slices of a file, evenly spread: two trainings of one shape have the same header, and never these bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        slices: list[bytes] = []
        for number in range(1, NUM_SAMPLES + 1):
            file.seek(max(0, size * number // NUM_SAMPLES - SAMPLE_BYTES))
            slices.append(file.read(SAMPLE_BYTES))
    return b"".join(slices)


def _header(path: Path) -> bytes:
    """The JSON header of a safetensors file: its first 8 bytes say how long it is."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= MAX_HEADER_BYTES else b""
    if length == 0 or len(header) != length:
        raise ModelRefused(f"{path} is no whole safetensors file: its header should be {length} bytes long")
    return header


def _shapes(header: bytes) -> Iterator[list[int]]:
    try:
        tensors: dict[str, dict[str, Any]] = json.loads(header)
    except ValueError as error:
        raise ModelRefused(f"a safetensors header is not JSON: {error}") from error
    return (tensor["shape"] for key, tensor in tensors.items() if key != "__metadata__")
