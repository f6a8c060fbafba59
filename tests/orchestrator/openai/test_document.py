"""docs/http.md and /openapi.json say what the door takes: all of it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.openai.answers import ErrorObject, Usage
from orchestrator.openai.bodies import Sampled, Speculative
from orchestrator.openai.chat_body import ChatCompletionRequest
from orchestrator.openai.completion_body import CompletionRequest
from orchestrator.openai.openapi import AGAIN, FAILURES, document

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "http.md").read_text()


def rows(title: str) -> set[str]:
    """The names in the first column of a section's parameter tables."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    table = section.split("| key of")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_tables_list_every_parameter() -> None:
    common = set(Sampled.model_fields)
    assert rows("Parameters of both") == common
    assert rows("Of completions") == set(CompletionRequest.model_fields) - common
    assert rows("Of chat completions") == set(ChatCompletionRequest.model_fields) - common
    assert all(f"| `{name}` |" in GUIDE for name in Speculative.model_fields)


def test_every_figure_is_named() -> None:
    own = set(Usage.model_fields) - {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert [name for name in own if f"`{name}`" not in GUIDE] == []
    assert all(f'"{name}"' in GUIDE for name in ErrorObject.model_fields)


def test_the_openapi_document_describes_every_field_of_a_body() -> None:
    schemas = document()["components"]["schemas"]
    for kind in (CompletionRequest, ChatCompletionRequest):
        assert set(schemas[kind.__name__]["properties"]) == set(kind.model_fields)
        assert schemas[kind.__name__]["additionalProperties"] is False
    assert schemas["CompletionRequest"]["properties"]["suffix"]["enum"] == [None, ""]
    assert schemas["CompletionRequest"]["required"] == ["prompt"]


def test_every_reference_of_the_openapi_document_leads_somewhere() -> None:
    found = document()
    references = set(re.findall(r"#/components/schemas/(\w+)", str(found)))
    assert references
    assert references <= set(found["components"]["schemas"])


def test_the_failures_of_the_openapi_document_are_the_guides() -> None:
    (table,) = re.findall(r"^## Errors\n(.*)\Z", GUIDE, re.MULTILINE | re.DOTALL)
    told = {int(status): when for status, when in re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)}
    del told[405]  # another verb is another operation
    assert set(told) == set(FAILURES)
    assert {status for status, when in told.items() if "`Retry-After`" in when} == set(AGAIN)
    for path in ("/v1/completions", "/v1/chat/completions"):
        assert set(document()["paths"][path]["post"]["responses"]) == {"200", *map(str, FAILURES)}


def test_the_openapi_document_tells_what_a_stream_is_made_of() -> None:
    for path, chunk in (("/v1/completions", "Completion"), ("/v1/chat/completions", "ChatCompletionChunk")):
        told = document()["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
        done, event = told["properties"]["data"]["anyOf"]
        assert done["const"] == "[DONE]"
        names = [one["$ref"].rsplit("/", 1)[1] for one in event["contentSchema"]["anyOf"]]
        assert names == [chunk, "ErrorAnswer"]
