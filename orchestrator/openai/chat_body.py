"""The body of /v1/chat/completions."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.openai.bodies import Sampled
from orchestrator.openai.body import Body
from orchestrator.openai.unserved import unserved
from tandem.decoding.values import MAX_TOP_LOG_PROBS

MAX_MESSAGES = 4096


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


def _content(value: Any) -> Any:
    """Text, or text parts as one text, a line each."""
    if not isinstance(value, list):
        return value
    texts: list[str] = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise PydanticCustomError(
                "content",
                "has a part that is not served ({kind}); expected parts of type text, with a text each",
                {"kind": json.dumps(kind)[:64]},
            )
        texts.append(part["text"])
    return "\n".join(texts)


class ChatMessage(Body):
    """A message. An answer of this door can be given back as it came."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_content, json_schema_input_type=str | list[TextPart])]
    name: Any = unserved()
    refusal: Any = unserved()
    annotations: Any = unserved([])
    audio: Any = unserved()
    function_call: Any = unserved()
    tool_calls: Any = unserved([])
    tool_call_id: Any = unserved()


class ChatCompletionRequest(Sampled):
    """A request for the next message of a conversation."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1, description="another name of max_tokens")
    logprobs: bool | None = Field(None, description="of the chosen tokens")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_TOP_LOG_PROBS, description="so many of the most probable tokens in the place of each"
    )
    chat_template: Any = unserved(why="is never taken from a request: the model's own template is used")
    chat_template_kwargs: Any = unserved({})
    tools: Any = unserved([])
    tool_choice: Any = unserved("none", "auto")
    parallel_tool_calls: Any = unserved(True, False)
    functions: Any = unserved([])
    function_call: Any = unserved("none", "auto")
    modalities: Any = unserved(["text"])
    audio: Any = unserved()
    prediction: Any = unserved()
    reasoning_effort: Any = unserved("none")
    verbosity: Any = unserved("medium")
    web_search_options: Any = unserved()
    service_tier: Any = unserved("auto", "default")
    store: Any = unserved(False)
    metadata: Any = unserved({})

    @model_validator(mode="after")
    def _check_chat(self) -> ChatCompletionRequest:
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and both[0] != both[1]:
            raise PydanticCustomError("max_tokens", "max_tokens and max_completion_tokens differ; give one of them")
        if self.top_logprobs and not self.logprobs:
            raise PydanticCustomError("top_logprobs", "top_logprobs is given without logprobs; set that to true")
        return self

    @property
    def num_top_log_probs(self) -> int:
        """How many of the most probable tokens to tell in the place of each."""
        return self.top_logprobs or 0

    @property
    def most_tokens(self) -> int | None:
        """Tokens to generate at most, by whichever name."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
