"""The body of /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.openai.bodies import MAX_CHOICES, Sampled
from orchestrator.openai.unserved import unserved
from tandem.decoding.values import MAX_TOKENS

MAX_TEXT_CHARACTERS = 4 * MAX_TOKENS

Prompt = str | tuple[int, ...]

_Text = Annotated[str, Field(min_length=1)]
_Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_Given = (
    _Text
    | _Ids
    | Annotated[list[_Text], Field(min_length=1, max_length=MAX_CHOICES)]
    | Annotated[list[_Ids], Field(min_length=1, max_length=MAX_CHOICES)]
)
"""As the schema tells it; `_prompts` checks it."""


def _prompts(value: Any) -> tuple[Prompt, ...]:
    """By hand, because a union of lists would try a million ids as texts first."""
    if isinstance(value, str) or (isinstance(value, list) and _are_ids(value)):
        value = [value]
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CHOICES:
        raise PydanticCustomError(
            "prompt",
            "is not a prompt; expected text, token ids, or a list of 1 to {most} texts or of lists of token ids",
            {"most": MAX_CHOICES},
        )
    for index, prompt in enumerate(value):
        if not isinstance(prompt, str) and not (isinstance(prompt, list) and _are_ids(prompt)):
            raise PydanticCustomError(
                "prompt", "number {index} is neither text nor a list of token ids", {"index": index}
            )
        if not 1 <= len(prompt) <= (MAX_TEXT_CHARACTERS if isinstance(prompt, str) else MAX_TOKENS):
            raise PydanticCustomError("prompt", "number {index} is empty or too long", {"index": index})
    return tuple(prompt if isinstance(prompt, str) else tuple(prompt) for prompt in value)


def _are_ids(value: list[Any]) -> bool:
    return bool(value) and all(type(one) is int for one in value)


class CompletionRequest(Sampled):
    """A request for texts that go on from prompts."""

    prompt: Annotated[
        tuple[Prompt, ...],
        PlainValidator(_prompts, json_schema_input_type=_Given),
    ] = Field(description="text, token ids, or a list of either")
    best_of: int | None = Field(None, description="n, or left out: choices are not ranked")
    echo: bool | None = Field(None, description="the prompt before each text")
    logprobs: int | None = Field(None, ge=0, description="0: of the chosen tokens; more is not served")
    suffix: Any = unserved("", why="is not served: no text is filled in before a given end")

    @model_validator(mode="after")
    def _check_completion(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != self.num_choices:
            raise PydanticCustomError("best_of", "best_of differs from n; choices are not ranked: leave it out")
        if self.logprobs:
            raise PydanticCustomError("logprobs", "logprobs above 0 is not served; give 0 for the chosen tokens'")
        if self.echo and self.logprobs is not None:
            raise PydanticCustomError("echo", "echo together with logprobs is not served; leave one of them out")
        if len(self.prompt) * self.num_choices > MAX_CHOICES:
            raise PydanticCustomError(
                "n", "n times the number of prompts is above {most}; ask for fewer at once", {"most": MAX_CHOICES}
            )
        return self
