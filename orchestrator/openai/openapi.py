"""The door's own description, assembled from the models that check requests and shape answers."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.openai.answers import ChatCompletion, ChatCompletionChunk, Completion, ErrorAnswer, Model, ModelList
from orchestrator.openai.arrival import TIMEOUT_HEADERS
from orchestrator.openai.chat_body import ChatCompletionRequest
from orchestrator.openai.completion_body import CompletionRequest

_REF = "#/components/schemas/"

FAILURES = {
    400: "it cannot be served as asked; param names the field where one is to blame",
    401: "no valid key, where the server asks for one",
    404: "another model",
    409: "somebody else took the session over",
    413: "the body is too large, or has too many values",
    429: "too many at once, a limit of the principal, or no room for KV now",
    499: "the session was cancelled through the gRPC API",
    500: "one text failed, or committed tokens were lost",
    503: "no replica or no store for now, or the orchestrator is stopping",
    504: "the request's deadline passed",
}
"""What a text can fail with, by status."""
AGAIN = (429, 503)
"""Where the same request may succeed later."""


@functools.cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    bodies = (CompletionRequest, ChatCompletionRequest)
    answers = (Completion, ChatCompletion, ChatCompletionChunk, ModelList, Model, ErrorAnswer)
    # By their fields: what they serialise to is the same, less the fields that are left out while empty.
    _, found = models_json_schema([(kind, "validation") for kind in (*bodies, *answers)], ref_template=_REF + "{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tandem",
            "version": metadata.version("tandem"),
            "description": "OpenAI-compatible completions by multi-token joint decoding.",
        },
        "paths": {
            "/v1/completions": {"post": _text("createCompletion", CompletionRequest, Completion, Completion)},
            "/v1/chat/completions": {
                "post": _text("createChatCompletion", ChatCompletionRequest, ChatCompletion, ChatCompletionChunk)
            },
            "/v1/models": {"get": _get("listModels", ModelList, 401, 429, 500)},
            "/v1/models/{model}": {
                "get": _get("retrieveModel", Model, 401, 404, 429, 500)
                | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
            },
        },
        "components": {"schemas": found["$defs"]},
    }


def _text(operation: str, body: type[BaseModel], whole: type[BaseModel], chunk: type[BaseModel]) -> dict[str, Any]:
    answers = {"application/json": _schema(whole), "text/event-stream": {"schema": _event(chunk)}}
    return {
        "operationId": operation,
        "summary": (body.__doc__ or "").strip(),
        "parameters": [
            {"name": name, "in": "header", "schema": {"type": "number", "exclusiveMinimum": 0}}
            for name in TIMEOUT_HEADERS
        ],
        "requestBody": {"required": True, "content": {"application/json": _schema(body)}},
        "responses": {
            "200": {"description": "the texts; events when streamed", "content": answers},
            **_failures(*FAILURES),
        },
    }


def _event(chunk: type[BaseModel]) -> dict[str, Any]:
    """One server-sent event. OpenAPI 3.1 has no word for that: the schema of a stream is read as that of its events."""
    told = {"anyOf": [_schema(chunk)["schema"], _schema(ErrorAnswer)["schema"]]}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": told}
    return {
        "type": "object",
        "description": "pieces as they are committed; at the end [DONE], or an error",
        "required": ["data"],
        "properties": {"data": {"anyOf": [{"type": "string", "const": "[DONE]"}, data]}},
    }


def _get(operation: str, answer: type[BaseModel], *failures: int) -> dict[str, Any]:
    found = {"description": (answer.__doc__ or "").strip(), "content": {"application/json": _schema(answer)}}
    return {"operationId": operation, "responses": {"200": found, **_failures(*failures)}}


def _failures(*statuses: int) -> dict[str, Any]:
    return {str(status): _failure(status) for status in statuses}


def _failure(status: int) -> dict[str, Any]:
    found = {"description": FAILURES[status], "content": {"application/json": _schema(ErrorAnswer)}}
    if status in AGAIN:
        again = {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
        found["headers"] = {"Retry-After": again}
    return found


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF + kind.__name__}}
