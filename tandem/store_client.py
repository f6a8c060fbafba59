"""A client of Redis from its URL: of one server, or of whichever one the Sentinels name as the master."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from tandem.errors import InvalidArgument

SENTINEL_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
"""And whether server and Sentinels speak TLS."""

SENTINEL_PORT = 26379


def connect(url: str, timeout_seconds: float, setting: str = "redis_url") -> redis.Redis:
    """Connects on first use, within ``timeout_seconds``; the library's own pauses between attempts are off.

    Whoever waits for the store asks again by himself: pauses, seconds in length, would only put off both the refusal of
    new work and the return.

    Args:
        url: as `redis.from_url` takes it, or
            ``redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/MASTER[/DB]`` (``rediss+sentinel`` for TLS);
            user and password are the server's, those of Sentinels come as ``?sentinel_username=…&sentinel_password=…``.
        timeout_seconds: for a connection.
        setting: where the URL stands, for the error.

    Raises:
        InvalidArgument: the URL is neither.
    """
    try:
        if urlsplit(url).scheme in SENTINEL_SCHEMES:
            return _by_sentinels(url, timeout_seconds)
        return redis.from_url(url, socket_connect_timeout=timeout_seconds, retry=_at_once())
    except ValueError as error:
        raise InvalidArgument(
            f"{setting} is not a Redis URL, such as redis://127.0.0.1:6379/0, nor one of Sentinels, such as "
            f"redis+sentinel://HOST:{SENTINEL_PORT},HOST:{SENTINEL_PORT}/MASTER: {error}"
        ) from None


def _by_sentinels(url: str, timeout_seconds: float) -> redis.Redis:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    master, _, database = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError("it names no master")
    common: dict[str, Any] = {
        "socket_connect_timeout": timeout_seconds,
        "socket_timeout": timeout_seconds,
        "retry": _at_once(),
        "ssl": SENTINEL_SCHEMES[parts.scheme],
    }
    of_sentinels = {
        name.removeprefix("sentinel_"): values[-1]
        for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
        if name in ("sentinel_username", "sentinel_password")
    }
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_host_and_port(host) for host in hosts.split(",")], sentinel_kwargs=common | of_sentinels
    )
    username, _, password = credentials.partition(":")
    client: redis.Redis = sentinels.master_for(
        master,
        username=unquote(username) or None,
        password=unquote(password) or None,
        db=int(database or 0),
        **common,
    )
    return client


def _host_and_port(given: str) -> tuple[str, int]:
    parts = urlsplit(f"//{given}")
    if not parts.hostname:
        raise ValueError("a Sentinel has no host")
    return parts.hostname, parts.port or SENTINEL_PORT


def _at_once() -> Retry:
    return Retry(NoBackoff(), 0)
