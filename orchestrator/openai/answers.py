"""What the door answers, as OpenAI shapes it; what only Tandem can tell stands in fields of its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

FinishReason = Literal["stop", "length"]


class Answer(BaseModel):
    """Base: frozen. Fields of `LEFT_OUT` are left out while they are None; others are then null."""

    model_config = ConfigDict(frozen=True)

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        shown: dict[str, Any] = handler(self)
        return {name: value for name, value in shown.items() if value is not None or name not in LEFT_OUT}


LEFT_OUT = frozenset({"role", "content", "stop_reason", "metrics", "draft_joules", "verify_joules", "joules_per_token"})


class ErrorObject(Answer):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Answer):
    """Any failure."""

    error: ErrorObject


class Usage(Answer):
    """Tokens, and the request's own figures, summed over its choices. Joules only where they were measured."""

    prompt_tokens: int = Field(description="tokens of the prompts, each counted once however many choices it has")
    completion_tokens: int
    total_tokens: int
    method: str = Field(description="decoding method that made the text; none where nothing was generated")
    seed: int = Field(description="seed of the first choice; repeats the text")
    mean_acceptance_length: float = Field(description="1 + accepted drafted tokens / rounds with a draft")
    draft_acceptance_rate: float
    acceptance_histogram: list[int] = Field(description="rounds with a draft by accepted tokens, from 0")
    num_spec_steps: int
    num_accepted_draft_tokens: int
    num_draft_tokens: int
    num_target_passes: int
    output_perplexity: float | None = Field(description="exp of the mean negative log-likelihood under the target")
    time_to_first_token_seconds: float = Field(description="of the choice that had one first")
    time_per_output_token_seconds: float = Field(description="mean, over the tokens after the first of their choice")
    draft_joules: float | None = None
    verify_joules: float | None = None
    joules_per_token: float | None = None


class SpeculativeDecoding(Answer):
    """vLLM's per-request acceptance figures, where it puts them."""

    mean_acceptance_length: float
    draft_acceptance_rate: float
    acceptance_histogram: list[int]
    num_spec_steps: int
    num_accepted_draft_tokens: int
    num_draft_tokens: int
    num_spec_tokens: int


class Metrics(Answer):
    """As vLLM's ``metrics``; there where one text was asked for and its method drafts."""

    speculative_decoding: SpeculativeDecoding


class CompletionLogProbs(Answer):
    """Of the tokens, under the target before penalties, bias, temperature, top-k and top-p."""

    tokens: list[str] = Field(description="the characters that each token completed; together the text")
    token_logprobs: list[float | None] = Field(description="null for the first token of an echoed prompt")
    top_logprobs: list[dict[str, float] | None] | None = Field(
        None,
        description="the most probable tokens in the place of each, and the token itself; null unless asked for",
    )
    text_offset: list[int] = Field(description="where each begins in the text, an echoed prompt included")


class TopLogProb(Answer):
    """One of the most probable tokens."""

    token: str = Field(description="the characters that it would have completed, or what the vocabulary calls it")
    logprob: float
    bytes: list[int]


class TokenLogProb(TopLogProb):
    """One chosen token."""

    top_logprobs: list[TopLogProb] = []


class ChatLogProbs(Answer):
    """Of the chosen tokens."""

    content: list[TokenLogProb]
    refusal: None = None


class _Choice(Answer):
    index: int
    finish_reason: FinishReason | None = None
    stop_reason: str | None = Field(None, description="the stop string that ended the text")
    seed: int = Field(description="repeats this choice")


class CompletionChoice(_Choice):
    """A text, or a piece of one."""

    text: str
    logprobs: CompletionLogProbs | None = None


class Message(Answer):
    """The assistant's words; in a stream, what is new of them."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChoice(_Choice):
    """A whole answer."""

    message: Message
    logprobs: ChatLogProbs | None = None


class ChatChunkChoice(_Choice):
    """A piece of an answer."""

    delta: Message
    logprobs: ChatLogProbs | None = None


class _Envelope(Answer):
    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str = Field(description="same fingerprint, request and seed: same text")
    choices: list[Any]
    usage: Usage | None = None
    metrics: Metrics | None = None


class Completion(_Envelope):
    """The answer of /v1/completions; streamed, each event is one."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]


class ChatCompletion(_Envelope):
    """The answer of /v1/chat/completions."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]


class ChatCompletionChunk(_Envelope):
    """A streamed event of /v1/chat/completions."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChatChunkChoice]


class Model(Answer):
    """The model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["tandem"] = "tandem"
    max_model_len: int = Field(description="longest text in tokens, prompt included; 0 while no replica is there")


class ModelList(Answer):
    """The answer of /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model]
