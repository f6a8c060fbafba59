"""Which Redis a URL names, and how it is found again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from orchestrator.session_store import Lifetimes, SessionStore
from tandem.errors import InvalidArgument, Unavailable
from tandem.store_client import connect
from tests.support.replicated_redis import ReplicatedRedis

FOUND_SECONDS = 20.0


async def test_the_store_follows_the_master_that_sentinel_names(tmp_path: Path) -> None:
    replicated = ReplicatedRedis(tmp_path)
    store = SessionStore(replicated.url, Lifetimes())
    try:
        replicated.start()
        await store.ping()
        first = replicated.master
        first.kill()
        with pytest.raises(Unavailable):
            await store.ping()
        until = time.monotonic() + FOUND_SECONDS
        while True:
            try:
                await store.ping()
                break
            except Unavailable:
                assert time.monotonic() < until
                await asyncio.sleep(0.05)
        assert replicated.master is not first
    finally:
        await store.close()
        replicated.close()


def test_what_a_url_of_sentinels_says() -> None:
    url = "rediss+sentinel://us%40er:pa%3Ass@one,two:26380/sessions/3?sentinel_username=s&sentinel_password=p"
    pool = connect(url, timeout_seconds=1.5).connection_pool
    given = pool.connection_kwargs
    assert (given["username"], given["password"], given["db"]) == ("us@er", "pa:ss", 3)
    assert given["socket_connect_timeout"] == 1.5
    assert "SSL" in pool.connection_class.__name__
    assert pool.service_name == "sessions"  # type: ignore[attr-defined]
    sentinels = [sentinel.connection_pool for sentinel in pool.sentinel_manager.sentinels]  # type: ignore[attr-defined]
    told = [
        {name: pool.connection_kwargs[name] for name in ("host", "port", "username", "password")} for pool in sentinels
    ]
    assert told == [
        {"host": "one", "port": 26379, "username": "s", "password": "p"},
        {"host": "two", "port": 26380, "username": "s", "password": "p"},
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6379/0",
        "redis+sentinel://127.0.0.1:26379",
        "redis+sentinel://,/sessions",
        "redis+sentinel://one:port/sessions",
        "redis+sentinel://one/sessions/first",
    ],
)
def test_a_url_of_nothing_is_refused_and_told_what_is_expected(url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"redis://127.0.0.1:6379/0.*redis\+sentinel://"):
        connect(url, timeout_seconds=1.0)
