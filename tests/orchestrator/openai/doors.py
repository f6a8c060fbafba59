"""The door of an orchestrator whose replicas follow a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tandem.tokenization import Tokenizer
from tests.orchestrator.conftest import Served, Stage
from tests.support.http import Answer, Connection, ask
from tests.support.replicas import ScriptedDraft, ScriptedVerify, scripted

EOS = 1
PROMPT = [5, 6, 7]


class Door:
    """An orchestrator, and HTTP to it."""

    def __init__(self, served: Served, verify: ScriptedVerify, draft: ScriptedDraft | None) -> None:
        self.served = served
        self.verify = verify
        self._draft = draft
        self.url = served.service.ready_fields()["http"]

    @property
    def draft(self) -> ScriptedDraft:
        assert self._draft is not None
        return self._draft

    async def complete(self, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        return await ask(f"{self.url}/v1/completions", {"prompt": PROMPT, "max_tokens": 20} | fields, headers)

    async def chat(self, said: str = "hi", **fields: Any) -> Answer:
        messages = [{"role": "user", "content": said}]
        return await ask(f"{self.url}/v1/chat/completions", {"messages": messages, "max_tokens": 20} | fields)

    async def connect(self, **fields: Any) -> Connection:
        return await Connection.post(f"{self.url}/v1/completions", {"prompt": PROMPT, "max_tokens": 400} | fields)

    async def get(self, path: str) -> Answer:
        return await ask(f"{self.url}{path}")


async def open_door(
    stage: Stage, script: Sequence[int] = tuple(range(40, 97)), *, drafted: bool = True, **settings: Any
) -> Door:
    """An orchestrator with a replica of each role, which write the script after `PROMPT`."""
    next_token = scripted(script, len(PROMPT))
    verify = await stage.verify(next_token)
    draft = await stage.draft(next_token) if drafted else None
    served = await stage.orchestrator([verify], [draft] if draft else [], **settings)
    return Door(served, verify, draft)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text, without the one that begins a text."""
    return tokenizer.encode(text)[1:]
