"""Client channels, all made alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

import grpc.aio

from tandem.errors import InvalidArgument
from tandem.pem_files import PemFiles
from tandem.rpc.tls import channel_credentials

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Over the longest text a message may carry: 2**20 ids of at most five bytes, several times."""

MAX_ADDRESS_LENGTH = 512

MESSAGE_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)

# Keepalive finds a dead peer between rounds; within a round its deadline does. A ping that is not answered ends the
# connection after ping_timeout, whatever keepalive_timeout says (gRPC 1.85). Reconnecting is quick, since replicas come
# and go; min_reconnect_backoff is how long one attempt may take, and no pause. A channel of its own connection: one
# shared would tie unrelated streams to one flow-control window.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    *MESSAGE_OPTIONS,
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


def options_with_silence(seconds: float) -> tuple[tuple[str, int], ...]:
    """Options of a channel whose peer is left once it has not answered the transport's pings for so long.

    Whoever pings more often than a server allows is sent away; the servers here allow once a second.
    """
    ping_seconds = max(1.5, 0.6 * seconds)
    timeout_ms = int(1000 * max(0.5, seconds - ping_seconds))
    own = {
        "grpc.keepalive_time_ms": int(1000 * ping_seconds),
        "grpc.keepalive_timeout_ms": timeout_ms,
        "grpc.http2.ping_timeout_ms": timeout_ms,
    }
    return tuple((dict(CHANNEL_OPTIONS) | own).items())


def check_address(address: str) -> str:
    """Returns ``address`` where it has the form host:port.

    Raises:
        InvalidArgument: it has another form, or no such port can exist.
    """
    match = _ADDRESS.fullmatch(address) if len(address) <= MAX_ADDRESS_LENGTH else None
    if match is None or not 0 < int(match[1]) < 65536:
        raise InvalidArgument(f"address is {address[:100]!r}; expected host:port, such as 127.0.0.1:7070")
    return address


def open_channel(
    address: str, tls: PemFiles | None = None, options: Sequence[tuple[str, int]] = CHANNEL_OPTIONS
) -> grpc.aio.Channel:
    """An asyncio channel to ``address`` (host:port). It connects on first use; the caller closes it.

    ``tls``: whom to trust, and what to show; None is plaintext.

    Raises:
        InvalidArgument: the address has another form.
    """
    check_address(address)
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    named = (("grpc.ssl_target_name_override", tls.peer_name),) if tls.peer_name else ()
    return grpc.aio.secure_channel(address, channel_credentials(tls), options=(*options, *named))
