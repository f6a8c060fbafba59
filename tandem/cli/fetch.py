"""``tandem fetch``: a model into a folder, from which services load it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    model: Annotated[str, typer.Argument(help="A Hugging Face id, or a folder.")],
    into: Annotated[Path, typer.Option(help="Folder for the model's files; it comes to be once all are there.")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub; its main branch if none.")
    ] = None,
) -> None:
    """Brings a model into a folder, whole or not at all; where it is there already, does nothing.

    Only safetensors and what belongs to them. Gated models take a token of the hub in HF_TOKEN.
    """
    from tandem.fetching import fetch

    fetched = fetch(model, into, revision, print)
    print(f"{model} is in {into}" if fetched else f"{model} is in {into} already")
