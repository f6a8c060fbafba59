"""Sessions in Redis: a record, the committed text, and the one atomic step that appends to it.

What stands there, key by key, is told in docs/session-store.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, cast

from redis.exceptions import RedisError

from orchestrator import store_scripts as scripts
from orchestrator.records import (
    CommittedRound,
    KvReference,
    SessionRecord,
    dump_setup,
    load_setup,
    pack_joules,
    pack_log_probs,
    pack_round,
    pack_tokens,
    pack_top,
    unpack_log_probs,
    unpack_rounds,
    unpack_tokens,
    unpack_top,
)
from orchestrator.script_pipeline import Argument, ScriptPipeline
from tandem.decoding.values import Fence, Outcome, RoundName
from tandem.errors import DataLoss, NotFound, Stale, Unavailable
from tandem.generation import FinishReason
from tandem.store_client import connect

SCHEMA_VERSION = 1
"""Of the records; a record of another version is refused, never guessed at."""

CALL_SECONDS = 5.0
"""How long the store may take for one answer."""


@dataclass(frozen=True, slots=True)
class CommitAnswer:
    """What became of a commit.

    ok: appended. duplicate: that round had been committed before, with ``token_ids``. stale: the fence is older than
    ``highest_epoch``, or the text has ended. gap: the round does not extend the stored text, which has ``position``
    tokens (0: the store knows no such session).
    """

    kind: Literal["ok", "duplicate", "stale", "gap"]
    position: int = 0
    highest_epoch: int = 0
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """After how many seconds without a change a session's keys expire."""

    session_seconds: int = 3600
    """While it runs."""
    resume_seconds: int = 600
    """Once nobody follows it, or it has ended."""


class Deleted(NotFound):
    """The session was deleted on request, and is not to be written back."""


class SessionStore:
    """Session records and their texts. Every method raises `Unavailable` when the store does not answer in time."""

    def __init__(self, url: str, lifetimes: Lifetimes) -> None:
        """Connects on first use.

        Raises:
            InvalidArgument: the URL is none of Redis.
        """
        self._client = connect(url, CALL_SECONDS)
        self._lifetimes = lifetimes
        self._scripts = ScriptPipeline(self._client, CALL_SECONDS)

    async def close(self) -> None:
        """Closes the connections."""
        await self._scripts.close()
        await self._client.aclose()

    async def ping(self) -> None:
        """Returns when the store answers."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.execute_command("PING")  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"the session store does not answer: {str(error).rstrip('.') or 'timeout'}") from None

    async def create(self, record: SessionRecord) -> None:
        """Writes a new session: its setup, its prompt, its first fence.

        Raises:
            Stale: there is a session of that name.
        """
        answer = await self._run(
            scripts.CREATE,
            record.session_id,
            self._lifetimes.session_seconds,
            *_head(record),
            pack_tokens(record.token_ids),
            *_hints(record.kv_references),
        )
        if answer[0] != b"ok":
            raise Stale(f"session {record.session_id} exists already")

    async def raise_epoch(
        self, session_id: str, held: Fence, raised: Fence, kv_references: Sequence[KvReference] = ()
    ) -> None:
        """Makes ``raised`` the session's fence if ``held`` still is, and notes where it moves.

        Raises:
            Stale: somebody else holds the session, or it has ended.
            NotFound: no such session.
        """
        answer = await self._run(
            scripts.RAISE_EPOCH,
            session_id,
            self._lifetimes.session_seconds,
            held.epoch,
            held.nonce,
            raised.epoch,
            raised.nonce,
            *_hints(kv_references),
        )
        _check(answer, session_id)

    async def commit(
        self, name: RoundName, outcome: Outcome, ended: FinishReason | None = None, stop: str = ""
    ) -> CommitAnswer:
        """Appends an outcome to the text that its round names: in one step, or not at all.

        ``ended`` records in the same step that the text ends here. Safe to repeat: a repetition answers ``duplicate``.
        """
        round_ = CommittedRound.of(name.position, name.digest, outcome)
        answer = await self._run(
            scripts.COMMIT,
            name.session_id,
            self._lifetimes.session_seconds,
            name.fence.epoch,
            name.fence.nonce,
            name.position,
            name.digest,
            name.position + len(outcome.token_ids),
            outcome.next_digest,
            pack_tokens(outcome.token_ids),
            pack_log_probs(outcome.log_probs),
            pack_round(round_),
            ended or "",
            stop,
            self._lifetimes.resume_seconds,
            pack_joules(round_),
            pack_top(outcome.top_log_probs),
        )
        match answer[0]:
            case b"ok":
                return CommitAnswer("ok", int(answer[1]))
            case b"duplicate":
                return CommitAnswer("duplicate", int(answer[1]), token_ids=unpack_tokens(answer[2]))
            case b"stale":
                return CommitAnswer("stale", highest_epoch=int(answer[1]))
            case _:
                return CommitAnswer("gap", int(answer[1]))

    async def end(self, session_id: str, reason: FinishReason, nonce: bytes, stop: str = "") -> None:
        """Ends a session, whoever owns it; of one that has ended, nothing changes. ``stop``: the string that ended it.

        Raises:
            NotFound: no such session.
        """
        answer = await self._run(scripts.END, session_id, self._lifetimes.resume_seconds, nonce, reason, stop)
        if answer[0] == b"missing":
            raise no_such(session_id)

    async def pause(self, session_id: str, fence: Fence) -> None:
        """Lets a session expire after ``resume_seconds`` unless somebody takes it up; nothing if it has moved on."""
        await self._run(scripts.KEEP, session_id, self._lifetimes.resume_seconds, fence.epoch, fence.nonce)

    async def restore(self, record: SessionRecord) -> None:
        """Writes a session back, as one that runs, after the store lost all or the end of it.

        Raises:
            DataLoss: what the store has is not a beginning of this text.
            Stale: somebody else holds the session, or it has ended.
        """
        answer = await self._run(
            scripts.RESTORE,
            record.session_id,
            self._lifetimes.session_seconds,
            *_head(record),
            pack_tokens(record.token_ids),
            pack_log_probs(record.log_probs),
            b"".join(map(pack_round, record.rounds)),
            b"".join(map(pack_joules, record.rounds)),
            pack_top(record.top_log_probs),
        )
        if answer[0] == b"conflict":
            raise DataLoss(f"the stored text of session {record.session_id} is another one")
        _check(answer, record.session_id)

    async def read(self, session_id: str) -> SessionRecord:
        """A session, whole.

        Raises:
            NotFound: no such session; `Deleted` where there was one until lately.
            DataLoss: what is stored does not fit together, or is of another schema version.
        """
        answer = await self._run(scripts.READ, session_id)
        if answer[0] == b"missing":
            raise no_such(session_id)
        if answer[0] == b"deleted":
            raise Deleted(str(no_such(session_id)))
        schema, epoch, nonce, position, digest, setup, ended, stop, tokens, log_probs, rounds, joules, top = answer[
            1:14
        ]
        if int(schema) != SCHEMA_VERSION:
            raise DataLoss(f"session {session_id} is stored in schema {int(schema)}; this side reads {SCHEMA_VERSION}")
        record = SessionRecord(
            session_id=session_id,
            setup=load_setup(setup),
            fence=Fence(int(epoch), nonce),
            position=int(position),
            digest=digest,
            token_ids=unpack_tokens(tokens),
            log_probs=unpack_log_probs(log_probs),
            rounds=unpack_rounds(rounds, joules),
            ended=cast(FinishReason, ended.decode()) if ended else None,
            stop=stop.decode(),
            kv_references=_references(answer[14:]),
        )
        if len(record.token_ids) != record.position:
            raise DataLoss(f"session {session_id} has {len(record.token_ids)} of its {record.position} tokens")
        if not record.setup.decoding.num_top_log_probs:
            return record
        return replace(record, top_log_probs=unpack_top(top, record.position - record.setup.prompt_length))

    async def delete(self, session_id: str, nonce: bytes) -> None:
        """Forgets a session, its prompt and its text at once, and ends it wherever it runs.

        Raises:
            NotFound: no such session.
        """
        answer = await self._run(scripts.DELETE, session_id, self._lifetimes.session_seconds, SCHEMA_VERSION, nonce)
        if answer[0] == b"missing":
            raise no_such(session_id)

    async def _run(self, script: scripts.Script, session_id: str, *args: Argument) -> list[bytes]:
        return await self._scripts.run(script, keys_of(session_id), args)


@lru_cache(maxsize=4096)  # of the sessions that run: they commit many times
def keys_of(session_id: str) -> tuple[str, ...]:
    """A session's keys: record, tokens, log-probabilities, rounds, KV references, joules, most probable tokens."""
    prefix = f"tandem:{{{session_id}}}:"
    return tuple(prefix + part for part in ("record", "tokens", "log_probs", "rounds", "kv", "joules", "top_log_probs"))


def _head(record: SessionRecord) -> tuple[Argument, ...]:
    return (
        SCHEMA_VERSION,
        record.fence.epoch,
        record.fence.nonce,
        record.position,
        record.digest,
        dump_setup(record.setup),
    )


def _hints(references: Sequence[KvReference]) -> list[Argument]:
    return [
        argument
        for reference in references
        for argument in (reference.role, json.dumps([reference.address, reference.position, reference.epoch]))
    ]


def _references(fields: Sequence[bytes]) -> tuple[KvReference, ...]:
    return tuple(
        KvReference("draft" if role == b"draft" else "verify", *json.loads(hint))
        for role, hint in zip(fields[::2], fields[1::2], strict=True)
    )


def _check(answer: Sequence[bytes], session_id: str) -> None:
    match answer[0]:
        case b"missing":
            raise no_such(session_id)
        case b"stale":
            raise Stale(f"session {session_id} is held by another owner, at epoch {int(answer[1])}")
        case b"ended":
            raise Stale(f"session {session_id} has ended ({answer[1].decode()})")


def no_such(session_id: str) -> NotFound:
    """What is said of a session that is not there, or is not the caller's: the same."""
    return NotFound(f"there is no session {session_id}, or it has expired")
