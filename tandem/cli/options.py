"""Options that several commands have, as annotated types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tandem.decoding.methods import METHODS

Method = Annotated[str | None, typer.Option(help=f"One of {', '.join(METHODS)}.")]
DraftLength = Annotated[int | None, typer.Option(help="Tokens drafted a round (γ), 1 to 32.")]
BeamWidth = Annotated[int | None, typer.Option(help="Beams a round, 1 to 16.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Acceptance threshold of the methods that have one, in (0, 1); each method's own if not given."),
]
Target = Annotated[
    str | None, typer.Option(help="Target model: a folder or a Hugging Face id; the shipped one if none.")
]
Draft = Annotated[str | None, typer.Option(help="Draft model: a folder or a Hugging Face id; the shipped one if none.")]
Dtype = Annotated[str, typer.Option(help="Number type to compute in: auto, float32, bfloat16 or float16.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of each model process; the cores are shared out if not given.")
]

ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        envvar="TANDEM_CLIENT_API_KEY_FILE",
        help="File with the API key that the stack asks for; TANDEM_API_KEY holds the key itself.",
    ),
]
TlsCa = Annotated[
    str | None,
    typer.Option(
        envvar="TANDEM_CLIENT_TLS_CA",
        help="File of the CA that the stack's certificate is of, or public; plaintext if not given.",
    ),
]


def method_names(text: str) -> list[str]:
    """Names with commas between; ``all`` is every method."""
    return list(METHODS) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
