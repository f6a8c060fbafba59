"""A file of a model, by folder or by Hugging Face id."""

from __future__ import annotations

import re
from pathlib import Path

from tandem.errors import ModelRefused

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def find_model_file(folder_or_hub_id: str | Path, file: str) -> Path | None:
    """Where a model's file lies, fetched first where the model is the hub's; None where the model has no such file.

    Offline, a file of the hub's that was never fetched counts as one that the model does not have.

    Raises:
        ModelRefused: the name is neither a folder nor an id, or the hub does not answer.
    """
    name = str(folder_or_hub_id)
    folder = Path(name).expanduser()
    if folder.is_dir():
        path = folder / file
        return path if path.is_file() else None
    if not _HUB_ID.fullmatch(name):
        raise ModelRefused(f"{name} is neither a folder nor a Hugging Face model id")
    # They take a moment to import, and most models are folders.
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(name, file))
    except EntryNotFoundError:
        return None
    except Exception as error:  # every other failure of a download means the same to the caller
        raise ModelRefused(
            f"no {file} for {name}: it is not a folder, and the Hugging Face hub did not give the file "
            f"({type(error).__name__})"
        ) from error
