"""The model that is served, as HTTP names it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from tandem.rpc.codec import Description


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What requests may ask for."""

    id: str
    fingerprint: str
    """Of all that decides a text beside the request."""
    max_positions: int
    """Longest text in tokens; 0 while no replica is there."""

    @classmethod
    def of(cls, target: Description, drafts: Iterable[Description], name: str | None = None) -> ServedModel:
        """The target as served with these drafters, under ``name`` or its own."""
        parts = [target.weights_digest, target.tokenizer_digest, target.dtype, str(target.drawing_version)]
        parts += sorted({f"{draft.weights_digest}/{draft.dtype}" for draft in drafts})
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return cls(name or model_id(target.model), f"fp_{digest[:12]}", target.max_positions)


def model_id(model: str) -> str:
    """The name of a model: a Hugging Face id as it is; the last part of a folder, as the rest is the machine's."""
    is_folder = model.startswith(("/", ".", "~")) or model.count("/") > 1
    return model.rstrip("/").rsplit("/", 1)[-1] if is_folder else model
