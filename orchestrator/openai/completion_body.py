"""The body of /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.openai.bodies import MAX_CHOICES, Sampled
from orchestrator.openai.unserved import unserved
from tandem.decoding.values import MAX_TOKENS, MAX_TOP_LOG_PROBS

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
    max_tokens: int | None = Field(
        None, ge=0, description="tokens to generate at most; 256, or what fits, unless given; 0 with echo: none"
    )
    echo: bool | None = Field(None, description="the prompt before each text; with logprobs, its tokens' too")
    logprobs: int | None = Field(
        None,
        ge=0,
        le=MAX_TOP_LOG_PROBS,
        description="of the chosen tokens, with so many of the most probable ones in the place of each",
    )
    suffix: Any = unserved("", why="is not served: no text is filled in before a given end")

    @model_validator(mode="after")
    def _check_completion(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != self.num_choices:
            raise PydanticCustomError("best_of", "best_of differs from n; choices are not ranked: leave it out")
        if self.max_tokens == 0 and not self.echo:
            raise PydanticCustomError("max_tokens", "max_tokens is 0 without echo: nothing would be answered")
        if len(self.prompt) * self.num_choices > MAX_CHOICES:
            raise PydanticCustomError(
                "n", "n times the number of prompts is above {most}; ask for fewer at once", {"most": MAX_CHOICES}
            )
        return self

    @property
    def num_top_log_probs(self) -> int:
        """How many of the most probable tokens to tell in the place of each."""
        return self.logprobs or 0
