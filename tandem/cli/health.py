"""``tandem health``: whether a service serves, by the standard gRPC health check."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tandem.cli import options
from tandem.cli.source import DEFAULT_ADDRESS


def health(
    address: Annotated[str, typer.Argument(help="host:port of a service of any role.")] = DEFAULT_ADDRESS,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 2.0,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    tls_name: options.TlsName = None,
) -> None:
    """Asks a service whether it serves; exit code 0 where it does, 1 where it does not or does not answer."""
    from tandem.rpc.health import serves

    tls = options.pem_files(tls_ca, tls_cert, tls_key, tls_name)
    serving = asyncio.run(serves(address, "", tls, timeout))
    print(f"{address} {'serves' if serving else 'does not serve: it is starting, draining, or stuck'}")
    raise typer.Exit(0 if serving else 1)
