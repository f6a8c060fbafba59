"""``tandem fetch``: a model into a folder, for services that read it from there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    model: Annotated[str, typer.Argument(help="A Hugging Face id, or a folder to copy.", show_default=False)],
    into: Annotated[Path, typer.Option(help="The model's own folder; made where it is not there.", show_default=False)],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit. \\[default: main]", show_default=False)
    ] = None,
) -> None:
    """Puts a model's safetensors, configuration and tokenizer into a folder, and marks it as whole when it is.

    A token for models that are not open comes from HF_TOKEN. What was fetched stays when the command is stopped, and
    the next one goes on there; a folder that is whole is left as it is.
    """
    from tandem.fetching import fetch_model

    print(fetch_model(model, into, revision), flush=True)
