"""A model brought into a folder of its own, whole or not marked as such."""

from __future__ import annotations

import shutil
from pathlib import Path

from tandem.errors import ModelRefused, Unavailable
from tandem.model_files import MODEL_FILES

COMPLETE = ".complete"
"""Marks a folder whose model is whole; says which it is. Whoever waits for a model waits for this file."""


def fetch_model(model: str, into: Path, revision: str | None = None) -> str:
    """Puts the model's files into ``into`` and marks it; returns a line that tells what was done.

    ``model`` is a folder or a Hugging Face id; only safetensors, configuration and tokenizer are taken. What is there
    is not fetched again, and what was begun is gone on with.

    Raises:
        ModelRefused: there is no such model, HF_TOKEN does not open it, it has no safetensors, ``into`` has another.
        Unavailable: the hub does not answer, or broke off; to be tried again.
    """
    wanted = f"{model}@{revision}" if revision else model
    marker = into / COMPLETE
    if marker.is_file():
        there = marker.read_text().strip()
        if there != wanted:
            raise ModelRefused(f"{into} holds {there} and not {wanted}: give each model a folder of its own")
        return f"{wanted} is in {into} already"
    into.mkdir(parents=True, exist_ok=True)
    if Path(model).is_dir():
        _copy(Path(model), into)
    else:
        _download(model, into, revision)
    for pattern in ("config.json", "*.safetensors", "tokenizer*"):
        if not any(into.glob(pattern)):
            raise ModelRefused(
                f"{wanted} has no {pattern}: expected a model in the Hugging Face layout, as safetensors"
            )
    partial = marker.with_suffix(".new")
    partial.write_text(f"{wanted}\n")
    partial.replace(marker)
    return f"{wanted} is in {into}"


def _copy(folder: Path, into: Path) -> None:
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)}):
        shutil.copyfile(path, into / path.name)


def _download(model: str, into: Path, revision: str | None) -> None:
    # It takes a moment to import, and folders need none of it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        snapshot_download(model, revision=revision, local_dir=into, allow_patterns=list(MODEL_FILES))
    except HFValidationError as error:
        raise ModelRefused(f"{model!r} is neither a folder here nor a Hugging Face id: {error}") from None
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise ModelRefused(
            f"the hub does not give {model}: there is no such model, or it is not open to the token in HF_TOKEN "
            f"({type(error).__name__})"
        ) from None
    except Exception as error:  # every other failure of a download means the same to the caller
        reason = f"{type(error).__name__}: {error}"
        raise Unavailable(f"{model} could not be fetched, and can be tried again ({reason})") from error
