"""Options that several commands have, as annotated types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tandem.decoding.methods import METHODS
from tandem.errors import InvalidArgument
from tandem.pem_files import PUBLIC_CAS, PemFiles

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
Compile = Annotated[
    bool,
    typer.Option(help="Run both models as machine code, made of them at the first start: minutes, and a C++ compiler."),
]
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
TlsCert = Annotated[
    Path | None,
    typer.Option(
        envvar="TANDEM_CLIENT_TLS_CERT", help="Certificate chain to show; draft and verify replicas ask for one."
    ),
]
TlsKey = Annotated[Path | None, typer.Option(envvar="TANDEM_CLIENT_TLS_KEY", help="Its private key.")]
TlsName = Annotated[
    str | None,
    typer.Option(
        envvar="TANDEM_CLIENT_TLS_NAME", help="Name that the service's certificate must carry, if not its address's."
    ),
]


def pem_files(ca: str | None, cert: Path | None, key: Path | None, peer_name: str | None) -> PemFiles | None:
    """What these options come to; None: plaintext.

    Raises:
        InvalidArgument: they do not go together, or a file cannot be used.
    """
    if ca is None:
        if cert or key or peer_name:
            raise InvalidArgument("--tls-cert, --tls-key and --tls-name say nothing without --tls-ca")
        return None
    if (cert is None) != (key is None):
        raise InvalidArgument("--tls-cert and --tls-key go together")
    return PemFiles(None if ca == PUBLIC_CAS else Path(ca), cert, key, peer_name or "")


def method_names(text: str) -> list[str]:
    """Names with commas between; ``all`` is every method."""
    return list(METHODS) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
