"""The gRPC servers of one process, on one port.

A `grpc.aio` server takes up one call at a time, and needs two turns of the event loop for it: on a busy loop, calls
queue before anybody has seen them. So there are several, each with a share of the connections, and many calls over one
connection hold up those of that share only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence

import grpc.aio

from tandem.errors import InvalidArgument
from tandem.pem_files import PemFiles
from tandem.rpc.channel import MESSAGE_OPTIONS
from tandem.rpc.tls import server_credentials

NUM_SERVERS = 4

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *MESSAGE_OPTIONS,
    ("grpc.max_concurrent_streams", 4096),
    # Of calls that wait to be taken up, gRPC drops some from 1,000 on and all from 3,000, as CANCELLED: as if their
    # clients had left. It is this side's to refuse, in words.
    ("grpc.server.max_pending_requests", 65_536),
    ("grpc.server.max_pending_requests_hard_limit", 65_536),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),  # clients find out soon that this process stands still
    ("grpc.keepalive_permit_without_calls", 1),
)


class Listeners:
    """Servers that are one to the outside."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        options = (*SERVER_OPTIONS, ("grpc.so_reuseport", 1))
        self._servers = [grpc.aio.server(interceptors=interceptors, options=options) for _ in range(NUM_SERVERS)]

    def register(self, add: Callable[[grpc.aio.Server], None]) -> None:
        """Calls ``add`` with each server, to add a service to it."""
        for server in self._servers:
            add(server)

    def bind(self, host: str, port: int, tls: PemFiles | None) -> str:
        """Binds all to one port, 0 for a free one, and returns the address to tell others.

        Raises:
            InvalidArgument: the port is taken, or the interface is not this machine's.
        """
        taken = InvalidArgument(
            f"cannot listen on {_join(host, port)}: the port is taken, or the interface is not this machine's; "
            "choose another --port, or 0 for a free one"
        )
        try:
            if port:
                _try_port(host, port)
            for server in self._servers:
                address = _join(host, port)
                if tls is None:
                    port = server.add_insecure_port(address)
                else:
                    port = server.add_secure_port(address, server_credentials(tls))
                if not port:
                    raise taken
        except (OSError, RuntimeError):
            raise taken from None
        return _join(_reachable(host), port)

    async def start(self) -> None:
        """Takes calls up from now on."""
        for server in self._servers:
            await server.start()

    async def stop(self, grace: float | None) -> None:
        """Takes no more calls, and cuts off those that take longer than ``grace`` seconds. Safe to repeat."""
        await asyncio.gather(*(server.stop(grace) for server in self._servers))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _try_port(host: str, port: int) -> None:
    """Raises OSError where a port is taken: the servers would share it with whoever has it."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reachable(host: str) -> str:
    """The host to tell others: an interface is reached as it is named, all interfaces by the machine's name."""
    return socket.gethostname() if host in ("0.0.0.0", "::") else host
