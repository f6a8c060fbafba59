"""``tandem sessions``: sessions of a running stack."""

from __future__ import annotations

from typing import Annotated

import typer

from tandem.cli import options
from tandem.cli.source import DEFAULT_ADDRESS

app = typer.Typer(help="Sessions of a running stack.", no_args_is_help=True)


@app.callback()
def sessions() -> None:
    """Sessions of a running stack."""


@app.command()
def delete(
    session_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Sessions, by the ids that answers name.")],
    address: Annotated[
        str, typer.Option(envvar="TANDEM_CLIENT_ADDRESS", help="Orchestrators to ask, host:port.")
    ] = DEFAULT_ADDRESS,
    api_key_file: options.ApiKeyFile = None,
    tls_ca: options.TlsCa = None,
) -> None:
    """Ends sessions and has their prompts and texts forgotten at once."""
    from tandem.client import Client
    from tandem.client.access import key_of

    with Client(address, api_key=key_of(api_key_file), tls_ca=tls_ca) as client:
        for session_id in session_ids:
            client.delete(session_id)
            print(f"deleted {session_id}")
