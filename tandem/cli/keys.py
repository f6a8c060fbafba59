"""``tandem keys``: keys of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tandem.api_keys import line_of, new_key
from tandem.errors import InvalidArgument

app = typer.Typer(help="Makes API keys.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Makes API keys."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is: the principal that its sessions belong to.")],
    append: Annotated[Path | None, typer.Option(help="Key file to add the line to; else it is shown.")] = None,
) -> None:
    """Prints a new key, this once, and the line by which an orchestrator's key file knows it."""
    key = new_key()
    line = line_of(name, key)
    if append is None:
        typer.echo(f"line for the key file: {line}", err=True)
    else:
        _append(append, line)
    print(key)


def _append(path: Path, line: str) -> None:
    try:
        former = path.read_text(encoding="utf-8") if path.exists() else ""
        # Whole or not at all: orchestrators may be reading it.
        partial = path.with_name(f".{path.name}.new")
        partial.write_text(f"{former.rstrip()}\n{line}\n".lstrip(), encoding="utf-8")
        partial.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the line cannot be added to {path}: {error}") from None
