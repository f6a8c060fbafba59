"""From the bytes of a body to a checked request, with an error that names the field."""

from __future__ import annotations

import asyncio
import difflib
import json
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from orchestrator.openai.body import Body
from orchestrator.openai.failures import BadRequest
from tandem.errors import Cancelled

MAX_BODY_BYTES = 8 << 20
MAX_DISCARDED_BYTES = 64 << 20
"""Of a body that is too large, before its connection is closed."""
LARGE_BODY_BYTES = 16 << 10
"""Bodies from here on are read in another thread, so that nobody else waits for it."""

COUNTED_BODY_BYTES = 4 << 10
MAX_VALUES = 20_000
"""Beside token ids of prompts. 4,096 messages of some parts have fewer."""
MAX_NAME_CHARACTERS = 200
"""Of a parameter's name that is told back: it may be anything."""

TEXTS = ("prompt", "messages", "stop")
"""Parameters that are never quoted: errors end up in the logs of whoever sent them."""

Asked = TypeVar("Asked", bound=Body)


async def read_request(request: Request, kind: type[Asked]) -> Asked:
    """The request's body as ``kind``.

    Raises:
        BadRequest: it is too large, not JSON, or holds what is not served; the message names it.
    """
    body = await _read_body(request)
    if len(body) < LARGE_BODY_BYTES:
        return parse(body, kind)
    return await asyncio.to_thread(parse, body, kind)


async def discard_body(request: Request) -> None:
    """Reads the body and keeps nothing of it: the sender of one that is not read would meet a reset, and no answer."""
    num_bytes = 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > MAX_DISCARDED_BYTES:
                break
    except ClientDisconnect:
        raise Cancelled("the client left before its request was whole") from None


def parse(body: bytes, kind: type[Asked]) -> Asked:
    """As `read_request`, of a body that has been read."""
    if len(body) >= COUNTED_BODY_BYTES:
        _check_count(body)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _explain(error, kind) from None


async def _read_body(request: Request) -> bytes:
    """All of the body. What is too large is read on and thrown away: its sender is to see the answer, no reset."""
    body = bytearray()
    num_bytes = 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes <= MAX_BODY_BYTES:
                body += chunk
            elif num_bytes > MAX_DISCARDED_BYTES:
                break
    except ClientDisconnect:
        raise Cancelled("the client left before its request was whole") from None
    if num_bytes > MAX_BODY_BYTES:
        raise BadRequest(f"the body is larger than {MAX_BODY_BYTES} bytes", code="body_too_large", status=413)
    return bytes(body)


def _check_count(body: bytes) -> None:
    """Refuses bodies of too many values, each of which may be wrong: all that is wrong is gathered before it is told.

    Token ids of prompts do not count; they are looked at without that.
    """
    try:
        waiting = [from_json(body)]
    except ValueError:
        return  # the reading proper says what is wrong
    if isinstance(waiting[0], dict):
        waiting[0].pop("prompt", None)
    count = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            count += len(value)
            if count > MAX_VALUES:
                raise BadRequest(f"the body has more than {MAX_VALUES} values", code="body_too_large", status=413)
            waiting.extend(value.values() if isinstance(value, dict) else value)


def _explain(error: ValidationError, kind: type[Body]) -> BadRequest:
    """The first thing that is wrong: a field nobody knows before a value out of bounds."""
    found = error.errors(include_url=False)
    first: Any = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    where = ".".join(str(part) for part in first["loc"])[:MAX_NAME_CHARACTERS]
    match first["type"]:
        case "json_invalid":
            return BadRequest(f"the body is not valid JSON: {first['ctx']['error']}", code="invalid_json")
        case "model_type":
            return BadRequest(f"{where or 'the body'} is not a JSON object", where or None)
        case "extra_forbidden":
            near = difflib.get_close_matches(where, kind.model_fields, 1) if len(first["loc"]) == 1 else ()
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            return BadRequest(f"unknown parameter {where!r}; {hint}", where, "unknown_parameter")
        case "missing":
            return BadRequest(f"{where} is missing", where, "missing_parameter")
        case "unserved":
            return BadRequest(f"{where} {first['msg']}", where, "unsupported_parameter")
    message = str(first["msg"])
    if not first["loc"]:  # a check of several fields, whose type says which to change
        return BadRequest(message, str(first["type"]))
    given = json.dumps(first["input"], default=str)
    shown = f" (got {given})" if len(given) <= 100 and first["loc"][0] not in TEXTS else ""
    return BadRequest(f"{where}: {message[:1].lower()}{message[1:]}{shown}", where)
