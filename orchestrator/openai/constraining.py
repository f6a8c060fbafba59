"""What a request's text is to match, in the shapes that clients know: OpenAI's ``response_format`` and vLLM's
``structured_outputs``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.openai.body import Body
from tandem.decoding.constraint import MAX_CONSTRAINT_CHARACTERS
from tandem.generation import Options

Source = Annotated[str, Field(min_length=1, max_length=MAX_CONSTRAINT_CHARACTERS)]

_ANY_OBJECT = json.dumps({"type": "object"})


class NamedSchema(Body):
    """A schema in OpenAI's envelope. The text always matches it: ``strict`` changes nothing."""

    name: Source
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="a JSON schema; any JSON if left out")
    description: str | None = None
    strict: bool | None = Field(None, description="decides nothing: the text always matches")


class ResponseFormat(Body):
    """Any text, any JSON object, or JSON that a schema describes."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _check(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            what = "json_schema is given with the type json_schema, and with no other"
            raise PydanticCustomError("response_format", what)
        return self

    @property
    def options(self) -> Options:
        """As the session layer takes it."""
        if self.json_schema is not None:
            return Options(json_schema=json.dumps(self.json_schema.schema_ or {}))
        return Options(json_schema=_ANY_OBJECT) if self.type == "json_object" else Options()


def _as_text(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    raise PydanticCustomError("json", "is neither a JSON schema nor the text of one")


class StructuredOutputs(Body):
    """One of these, as vLLM names them."""

    json_: Annotated[
        Source | None, BeforeValidator(_as_text, json_schema_input_type=dict[str, Any] | Source | None)
    ] = Field(None, alias="json", description="a JSON schema, as it is or as text")
    json_object: Literal[True] | None = Field(None, description="any JSON object")
    regex: Source | None = Field(None, description="the whole text matches it")
    choice: Annotated[list[Source], Field(min_length=1, max_length=1024)] | None = Field(
        None, description="the text is one of these"
    )
    grammar: Source | None = Field(None, description="a Lark grammar, with a rule start")

    @model_validator(mode="after")
    def _check(self) -> StructuredOutputs:
        count = sum(getattr(self, name) is not None for name in type(self).model_fields)
        if count != 1:
            what = "{count} constraints are given; expected one"
            raise PydanticCustomError("structured_outputs", what, {"count": count})
        return self

    @property
    def options(self) -> Options:
        """As the session layer takes it."""
        if self.choice is not None:
            return Options(grammar="start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in self.choice))
        if self.regex is not None:
            return Options(regex=self.regex)
        if self.grammar is not None:
            return Options(grammar=self.grammar)
        return Options(json_schema=self.json_ or _ANY_OBJECT)
