"""Logs hold no prompt, no answer and no key, at the level that tells most; nor do the errors that clients are told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tandem import Client
from tandem.api_keys import line_of, new_key
from tandem.client.attempts import Patience
from tandem.errors import InvalidArgument, TandemError, Unauthenticated
from tests.support.http import Answer, send
from tests.support.processes import Process, started
from tests.support.redis_server import RedisServer, running_redis

MARK = "zyzzyva"
"""In whatever somebody sends. No model of these tests makes it."""
QUOTED = "bramble"
"""In patterns, of which an error may quote a part to whoever sent them, and to nobody else."""
ROLES = ("verify_service", "draft_service", "orchestrator")


class Watched:
    """Three processes that tell all they tell, and what was said to their clients."""

    def __init__(self, processes: dict[str, Process], store: RedisServer, key: str, folder: Path) -> None:
        self.processes = processes
        self.store = store
        self.key = key
        self.folder = folder
        self.address = processes["orchestrator"].address
        self.url = str(processes["orchestrator"].ready["http"])
        self.secrets: set[str] = {MARK, key}
        self.told: list[str] = []

    def client(self, key: str | None = None) -> Client:
        return Client(self.address, Patience(1.0, 3.0), api_key=self.key if key is None else key)

    def post(self, path: str, body: Any, key: str | None = None) -> Answer:
        answer = send(self.url + path, body, {"Authorization": f"Bearer {key or self.key}"})
        if answer.status >= 400:
            self.told.append(answer.body.decode())
        return answer

    def keep(self, text: str, token_ids: tuple[int, ...]) -> None:
        """An answer is a secret too, as text and as ids."""
        for piece in (text[:24], text[-24:]):
            if len(piece) >= 12:
                self.secrets |= {piece, json.dumps(piece)[1:-1], repr(piece)[1:-1]}
        if len(token_ids) >= 6:  # fewer may stand anywhere by chance
            self.secrets |= {separator.join(map(str, token_ids[:6])) for separator in (", ", ",", " ")}

    def logs(self) -> dict[str, str]:
        return {name: process.stderr() for name, process in self.processes.items()}

    def leaks(self) -> list[str]:
        """Lines and messages that hold what they should not."""
        lines = [f"{name}: {line}" for name, log in self.logs().items() for line in log.splitlines()]
        found = [line for line in (*lines, *self.told) if any(secret in line for secret in self.secrets)]
        return found + [line for line in lines if QUOTED in line]


@pytest.fixture(scope="module")
def watched(tiny_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    target, draft = map(str, tiny_pair)
    key = new_key()
    (folder / "api-keys").write_text(line_of("alice", key) + "\n")
    with ExitStack() as held:
        store = held.enter_context(running_redis(folder))

        def start(module: str, *flags: str) -> Process:
            return held.enter_context(started(module, folder, "--log-level", "debug", *flags))

        verify = start("verify_service", "--target", target)
        drafting = start("draft_service", "--draft", draft)
        orchestrator = start(
            "orchestrator",
            *("--verify", verify.address, "--draft", drafting.address, "--tokenizer", target),
            *("--redis-url", store.url, "--api-keys", str(folder / "api-keys"), "--recovery-timeout", "2"),
        )
        processes = dict(zip(ROLES, (verify, drafting, orchestrator), strict=True))
        yield Watched(processes, store, key, folder)


def test_what_is_served_leaves_no_trace(watched: Watched) -> None:
    with watched.client() as client:
        for method in ("mtad", "autoregressive"):
            made = client.generate(f"select {MARK} from", method=method, max_tokens=60, stop=[MARK], seed=3, trace=True)
            watched.keep(made.text, made.token_ids)
            watched.keep("", made.prompt_token_ids)
        with client.stream(f"{MARK} of", max_tokens=400, ignore_eos=True) as stream:
            next(stream)
            client.cancel(stream.session_id)
        client.delete(made.session_id)
        made = client.generate(MARK, regex=f"({MARK}|a)*", max_tokens=8)
        held = client.generate(MARK, json_schema={"enum": [MARK, "b"]}, max_tokens=40)
        assert MARK not in watched.key
        watched.keep(held.text, held.token_ids)
    body = {"prompt": MARK, "max_tokens": 40, "user": MARK, "stop": [MARK], "seed": 4}
    for answer in (
        watched.post("/v1/completions", body),
        watched.post("/v1/completions", body | {"logprobs": 0, "echo": False}),
        watched.post("/playground/generate", {"prompt": MARK, "max_tokens": 8}),
    ):
        assert answer.status == 200, answer.body
    assert watched.leaks() == []


def test_what_is_refused_leaves_no_trace(watched: Watched) -> None:
    with watched.client() as client:
        for options in ({"max_tokens": 10**6}, {"method": "telepathy"}, {"regex": f"({QUOTED}"}, {"grammar": QUOTED}):
            with pytest.raises(InvalidArgument) as caught:
                client.generate(f"{MARK} " * 3, **options)  # type: ignore[arg-type]
            watched.told.append(str(caught.value))
        with pytest.raises(InvalidArgument):
            client.generate(f"{MARK} " * 1000)
    for key in (watched.key + "x", f"tandem-{MARK}", f"{MARK}.{MARK}.{MARK}"):
        with watched.client(key) as client, pytest.raises(Unauthenticated) as refused:
            client.generate(MARK)
        watched.told.append(str(refused.value))
        assert watched.post("/v1/completions", {"prompt": MARK}, key).status == 401
    for bad in (
        {"prompt": MARK, "temperature": 99},
        {"prompt": MARK, "frobnicate": True},
        {"prompt": [MARK, ""]},
        {"prompt": [MARK, 1]},
        b'{"prompt": "' + MARK.encode(),
        {"messages": [{"role": "user", "content": MARK}]},
    ):
        assert watched.post("/v1/completions", bad).status == 400
    assert watched.post("/v1/chat/completions", {"messages": [{"role": "wizard", "content": MARK}]}).status == 400
    assert watched.leaks() == []


def test_what_fails_leaves_no_trace(watched: Watched) -> None:
    """The store is lost in the middle of a text, then the target; the streams end, and the logs say why."""
    with watched.client() as client:
        with client.stream(f"select {MARK}", max_tokens=400, ignore_eos=True, method="autoregressive") as stream:
            part = next(stream)
            watched.keep(part.text, part.token_ids)
            watched.store.kill()
            with pytest.raises(TandemError) as caught:
                list(stream)
        watched.told.append(str(caught.value))
        watched.store.start()
        with client.stream(f"select {MARK}", max_tokens=400, ignore_eos=True) as stream:
            next(stream)
            watched.processes["verify_service"].popen.kill()
            with pytest.raises(TandemError) as caught:
                list(stream)
        watched.told.append(str(caught.value))
    time.sleep(0.2)
    assert watched.leaks() == []
    assert "replica lost" in watched.logs()["orchestrator"]
    assert all(json.loads(line) for line in watched.logs()["orchestrator"].splitlines())
