"""What the door takes: every parameter is honoured, or refused by name. Values are strict: ``"5"`` is not 5."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.openai.body import Body
from orchestrator.openai.constraining import ResponseFormat, Source, StructuredOutputs
from orchestrator.openai.unserved import unserved
from tandem.decoding.methods import METHODS
from tandem.decoding.values import MAX_BEAM_WIDTH, MAX_BIASES, MAX_DRAFT_LENGTH, MAX_SALT_BYTES
from tandem.generation import Options
from tandem.requests import MAX_STOP_CHARACTERS, MAX_STOPS

MAX_CHOICES = 128
"""Texts of one request: prompts × n."""
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)


class Speculative(Body):
    """How tokens are drafted and judged; what is left out is the server's default."""

    method: str | None = Field(
        None, max_length=64, description="decoding method by name", json_schema_extra={"enum": [None, *METHODS]}
    )
    num_speculative_tokens: int | None = Field(
        None, ge=1, le=MAX_DRAFT_LENGTH, description="tokens drafted a round (the draft length)"
    )
    beam_width: int | None = Field(None, ge=1, le=MAX_BEAM_WIDTH, description="beams a round")
    accept_threshold: float | None = Field(None, gt=0, lt=1, description="acceptance threshold of the method")


_DEFAULT = Speculative.model_validate({})


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = Field(None, description="a last chunk with the usage, no choices in it")
    include_obfuscation: Any = unserved(False)


def _speculation(value: Any) -> Any:
    if value is False:
        return {"method": "autoregressive"}
    if value is True:
        raise PydanticCustomError("speculative", "is true; expected false (plain decoding) or an object")
    return value


def _strings(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Biases = Annotated[
    dict[Annotated[str, Field(pattern=f"^({_TOKEN_ID.pattern})$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=MAX_BIASES, json_schema_extra={"additionalProperties": False}),
]
_Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
_Stops = _Stop | Annotated[list[_Stop], Field(max_length=MAX_STOPS)]
"""As the schema tells them; they are checked by `_biases` and `tandem.requests`."""


def _biases(value: Any) -> Mapping[int, float]:
    """By hand, so that an id is spelt in one way only, and the entry that is wrong is named."""
    if not isinstance(value, dict):
        raise PydanticCustomError("logit_bias", "is not a JSON object; expected token ids with a bias each")
    if len(value) > MAX_BIASES:
        raise PydanticCustomError(
            "logit_bias", "has {count} entries; at most {most} are accepted", {"count": len(value), "most": MAX_BIASES}
        )
    for token, bias in value.items():
        if _TOKEN_ID.fullmatch(token) is None:
            raise PydanticCustomError(
                "logit_bias", "has the key {token}; expected token ids", {"token": json.dumps(token)[:64]}
            )
        if type(bias) not in (int, float) or not -100 <= bias <= 100:
            raise PydanticCustomError(
                "logit_bias",
                "of token {token} is {bias}; expected a number from -100 to 100",
                {"token": token, "bias": json.dumps(bias)[:64]},
            )
    return {int(token): float(bias) for token, bias in value.items()}


class Sampled(Body):
    """What both kinds of request share."""

    model: str | None = Field(None, description="the served model's id, or left out")
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="choices of each prompt, 1 unless given")
    max_tokens: int | None = Field(
        None, ge=1, description="tokens to generate at most; 256, or what fits, unless given"
    )
    temperature: float | None = Field(None, ge=0, le=10, description="0 is greedy; 1 unless given")
    top_p: float | None = Field(None, gt=0, le=1, description="1 is off; 0.9 unless given")
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="0 is off; 10 unless given")
    min_p: float | None = Field(None, ge=0, le=1, description="0 (off) unless given")
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="of tokens generated before; 0 is off")
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="of tokens, as often as generated before; 0 is off"
    )
    logit_bias: Annotated[Mapping[int, float], PlainValidator(_biases, json_schema_input_type=_Biases)] | None = Field(
        None, description="token id -> what is added to its logit, -100 to 100; up to 1024 tokens"
    )
    seed: int | None = Field(
        None, ge=0, lt=1 << 64, description="of the first choice; the next has seed + 1; drawn, and told, unless given"
    )
    stop: Annotated[list[str], BeforeValidator(_strings, json_schema_input_type=_Stops)] | None = Field(
        None, description="a string, or up to 16, before which the text ends"
    )
    response_format: ResponseFormat | None = Field(None, description="JSON that a schema describes, or any text")
    structured_outputs: StructuredOutputs | None = Field(None, description="what the text must match")
    grammar: Source | None = Field(None, description="a Lark grammar that the text must match")
    ignore_eos: bool | None = Field(None, description="passes over end tokens")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    speculative: Annotated[
        Speculative | None,
        BeforeValidator(_speculation, json_schema_input_type=Literal[False] | Speculative | None),
    ] = Field(None, description="false: plain decoding; an object: how to draft and judge")
    cache_salt: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_SALT_BYTES,
        description="computed prompts are shared only with texts of the same salt, at most 64 bytes in UTF-8",
    )
    user: str | None = Field(None, description="decides nothing")
    safety_identifier: str | None = Field(None, description="decides nothing")
    prompt_cache_key: str | None = Field(None, description="decides nothing")

    repetition_penalty: Any = unserved(1)

    @model_validator(mode="after")
    def _check(self) -> Sampled:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("stream_options", "stream_options is given without stream; leave it out")
        if len(given := list(self._constraints())) > 1:
            what = "{one} and {other} are given; a text is held to one of them"
            raise PydanticCustomError(given[1], what, {"one": given[0], "other": given[1]})
        return self

    @property
    def num_choices(self) -> int:
        """Of each prompt."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def most_tokens(self) -> int | None:
        """Tokens to generate at most, by whichever name."""
        return self.max_tokens

    @property
    def num_top_log_probs(self) -> int:
        """How many of the most probable tokens to tell in the place of each."""
        return 0

    @property
    def options(self) -> Options:
        """As the session layer takes them, without the seed."""
        speculative = self.speculative or _DEFAULT
        unconstrained = Options(
            method=speculative.method,
            draft_length=speculative.num_speculative_tokens,
            beam_width=speculative.beam_width,
            threshold=speculative.accept_threshold,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=self.logit_bias,
            max_tokens=self.most_tokens,
            stop=self.stop,
            ignore_eos=bool(self.ignore_eos),
            cache_salt=self.cache_salt,
            num_top_log_probs=self.num_top_log_probs,
        )
        return unconstrained | next(iter(self._constraints().values()), Options())

    def _constraints(self) -> dict[str, Options]:
        """What the text must match, by the parameter that says so."""
        said = {
            "response_format": self.response_format.options if self.response_format else Options(),
            "structured_outputs": self.structured_outputs.options if self.structured_outputs else Options(),
            "grammar": Options(grammar=self.grammar) if self.grammar else Options(),
        }
        return {name: options for name, options in said.items() if options}
