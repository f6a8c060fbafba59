"""The Redis that docs/operations.md asks for does: its user's rights, its certificate, its memory."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import redis
import trustme

from orchestrator.session_store import Lifetimes, SessionStore
from tandem.decoding.values import Fence
from tandem.errors import NotFound
from tests.chart.rendering import ROOT, pods
from tests.orchestrator.test_session_store import PROMPT, name_of, new_record, outcome_after
from tests.support.certificates import Certificates
from tests.support.redis_server import RedisServer, free_port, redis_executable

RIGHTS = re.search(r"with the rights `([^`]+)`", (ROOT / "docs" / "operations.md").read_text())


async def use(url: str) -> None:
    """All that an orchestrator does with a session."""
    store = SessionStore(url, Lifetimes())
    record = new_record()
    try:
        await store.ping()
        await store.create(record)
        outcome = outcome_after(PROMPT, (7, 8))
        assert (await store.commit(name_of(record, PROMPT), outcome)).kind == "ok"
        await store.raise_epoch(record.session_id, record.fence, Fence(2, bytes(16)))
        assert (await store.read(record.session_id)).position == len(PROMPT) + 2
        await store.pause(record.session_id, Fence(2, bytes(16)))
        await store.end(record.session_id, "cancelled", bytes(16))
        await store.delete(record.session_id, bytes(16))
        with pytest.raises(NotFound):
            await store.read(record.session_id)
    finally:
        await store.close()


async def test_the_rights_told_are_enough_and_not_all(own_redis: RedisServer) -> None:
    assert RIGHTS is not None
    with redis.Redis.from_url(own_redis.url) as admin:
        admin.execute_command("ACL", "SETUSER", "tandem", "on", ">secret", *RIGHTS[1].split())
        admin.set("others:key", "1")
    url = f"redis://tandem:secret@127.0.0.1:{own_redis.port}/0"
    await use(url)
    with redis.Redis.from_url(url) as client:
        for command in (["GET", "others:key"], ["FLUSHALL"], ["CONFIG", "GET", "dir"], ["KEYS", "*"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def speaks_tls() -> bool:
    """Whether this redis-server knows what a TLS port is: of a port that is no number it says so, else of the word."""
    said = subprocess.run([redis_executable(), "--tls-port", "x"], capture_output=True, text=True)
    return "Bad directive" not in said.stdout + said.stderr


@pytest.mark.parametrize("scheme", ["rediss", "redis"])
async def test_a_ca_of_ones_own_is_taken_from_where_the_chart_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    (variable,) = [
        one["name"]
        for one in pods("secrets")["orchestrator"]["spec"]["containers"][0]["env"]
        if one.get("value") == "/etc/tandem/redis/ca.crt"
    ]
    if not speaks_tls():
        pytest.skip("this redis-server was built without TLS")
    certificates = Certificates(tmp_path / "pem", trustme.CA())
    server = RedisServer(tmp_path)
    server.flags = ["--port", "0", "--tls-port", str(server.port), "--tls-auth-clients", "no"]
    for flag, path in (("cert", certificates.cert), ("key", certificates.key), ("ca-cert", certificates.ca)):
        server.flags += [f"--tls-{flag}-file", str(path)]
    server.start()
    try:
        monkeypatch.setenv(variable, str(certificates.ca))
        url = f"{scheme}://127.0.0.1:{server.port}/0"
        if scheme == "rediss":
            await use(url)
        else:
            with pytest.raises(Exception, match="does not answer"):
                await use(url)
        monkeypatch.delenv(variable)
        with pytest.raises(Exception, match="does not answer"):
            await use(url)
    finally:
        server.kill()


def test_the_bundled_redis_pushes_no_session_out() -> None:
    args = pods("laptop")["redis"]["spec"]["containers"][0]["args"]
    assert args[args.index("--maxmemory-policy") + 1] == "noeviction"
    port = free_port()
    process = subprocess.Popen(
        [redis_executable(), *args[: args.index("--dir")], *args[args.index("--dir") + 2 :], "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with redis.Redis(port=port, retry_on_error=[redis.ConnectionError]) as client:
            for _ in range(200):
                try:
                    found = client.config_get("maxmemory*")
                    break
                except redis.ConnectionError:
                    assert process.poll() is None
        assert found["maxmemory-policy"] == "noeviction"
        assert int(found["maxmemory"]) == 64 * 1024 * 1024
    finally:
        process.kill()
        process.wait()
