"""``tandem drain``: has services hand their sessions over and leave."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tandem.cli import options
from tandem.cli.serve import Role
from tandem.errors import InvalidArgument
from tandem.pem_files import PemFiles

BACK_SECONDS = 120.0
"""For a stack to have a new process serve in a drained one's place: a large model takes its time."""


def drain(
    addresses: Annotated[
        list[str] | None, typer.Argument(help="host:port of services on this machine; without any, see --ready-file.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="File that says what runs: of a service, or of `tandem up`.")
    ] = None,
    role: Annotated[Role | None, typer.Option(help="Only services of this role, of those in the file.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for each; more than an orchestrator's --drain-timeout.")
    ] = 10.0,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    tls_name: options.TlsName = None,
) -> None:
    """Drains services one after another, and waits until each has handed its sessions over and left.

    What SIGTERM does, for who has a ready file or an address of this machine and no process id. In a stack that
    `tandem up` keeps, the next one is drained once a new process serves in the place of the last: a rolling restart.
    """
    if not addresses and ready_file is None:
        raise InvalidArgument("nothing to drain: give the address of a service, or --ready-file")
    tls = options.pem_files(tls_ca, tls_cert, tls_key, tls_name)
    asyncio.run(_drain(addresses or [], ready_file, None if role is None else role.value, timeout, tls))


async def _drain(
    addresses: list[str], ready_file: Path | None, role: str | None, timeout: float, tls: PemFiles | None
) -> None:
    from tandem.stack import draining

    if ready_file is None:
        services = [await draining.at(address, tls) for address in addresses]
    else:
        services = draining.told(ready_file, role)
        if addresses:
            services = draining.by_address(services, addresses)
    kept = ready_file is not None and draining.is_of_a_stack(ready_file)
    for service in services:
        seconds = await draining.drain(service, timeout, tls)
        name = f"{service.role} {service.address}"
        print(f"{name} (pid {service.pid}) has handed over and left after {seconds:.1f} s", flush=True)
        if kept and ready_file is not None:
            back = await draining.successor(ready_file, service, BACK_SECONDS, tls)
            print(f"{name} is back (pid {back.pid})", flush=True)
