"""The door's own description, assembled from the models that check requests and shape answers."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.openai.answers import ChatCompletion, ChatCompletionChunk, Completion, ErrorAnswer, Model, ModelList
from orchestrator.openai.chat_body import ChatCompletionRequest
from orchestrator.openai.completion_body import CompletionRequest

_REF = "#/components/schemas/"


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
            "/v1/models": {"get": _get("listModels", ModelList)},
            "/v1/models/{model}": {
                "get": _get("retrieveModel", Model)
                | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
            },
        },
        "components": {"schemas": found["$defs"]},
    }


def _text(operation: str, body: type[BaseModel], whole: type[BaseModel], chunk: type[BaseModel]) -> dict[str, Any]:
    answers = {"application/json": _schema(whole), "text/event-stream": _schema(chunk)}
    return {
        "operationId": operation,
        "summary": (body.__doc__ or "").strip(),
        "requestBody": {"required": True, "content": {"application/json": _schema(body)}},
        "responses": {"200": {"description": "the texts; events when streamed", "content": answers}, **_failures()},
    }


def _get(operation: str, answer: type[BaseModel]) -> dict[str, Any]:
    found = {"description": (answer.__doc__ or "").strip(), "content": {"application/json": _schema(answer)}}
    return {"operationId": operation, "responses": {"200": found, **_failures()}}


def _failures() -> dict[str, Any]:
    content = {"application/json": _schema(ErrorAnswer)}
    return {"default": {"description": "why it failed", "content": content}}


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF + kind.__name__}}
