"""Messages of the generation service, as its clients write and read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from tandem.decoding.constraint import KINDS
from tandem.errors import InvalidArgument
from tandem.generation import FinishReason, Options, Part, Round, Score, Usage
from tandem.requests import constraint_of
from tandem.rpc.codec import decode_outcome, encode_constraint
from tandem.rpc.log_probs_codec import decode_scores, decode_top
from tandem.v1 import generation_pb2 as pb

FINISH_REASONS: Mapping[int, FinishReason] = {
    pb.FINISH_REASON_STOP: "stop",
    pb.FINISH_REASON_LENGTH: "length",
    pb.FINISH_REASON_CANCELLED: "cancelled",
}


def encode_request(prompt: str | Sequence[int], options: Options) -> pb.GenerateRequest:
    """The request for a text. Whether its values can be served is the server's to say.

    Raises:
        InvalidArgument: a value that the message cannot even hold, by name.
        TypeError: an option that does not exist.
    """
    request = pb.GenerateRequest()
    with _named("prompt"):
        if isinstance(prompt, str):
            request.text = prompt
        else:
            request.token_ids.CopyFrom(pb.TokenIds(ids=[int(token) for token in prompt]))
    for name, value in options.items():
        if name not in Options.__annotations__:
            raise TypeError(f"there is no option {name!r}; there are {', '.join(sorted(Options.__annotations__))}")
        with _named(name):
            if name == "stop":
                request.stop.extend([value] if isinstance(value, str) else cast(Sequence[str], value or ()))
            elif name == "logit_bias":
                for token, bias in dict(cast(Mapping[int, float], value or {})).items():
                    request.logit_bias.add(token_id=token, bias=bias)
            elif name == "cache_salt":
                request.cache_salt = value.encode() if isinstance(value, str) else cast(bytes, value or b"")
            elif value is not None and name not in KINDS:
                setattr(request, name, value)
    with _named("json_schema"):
        constraint = encode_constraint(constraint_of(options))
    if constraint is not None:
        request.constraint.CopyFrom(constraint)
    return request


def encode_score_request(prompt: str | Sequence[int], num_top_log_probs: int) -> pb.ScoreRequest:
    """The request for the scores of a text. Whether its values can be served is the server's to say.

    Raises:
        InvalidArgument: a value that the message cannot even hold, by name.
    """
    request = pb.ScoreRequest()
    with _named("prompt"):
        if isinstance(prompt, str):
            request.text = prompt
        else:
            request.token_ids.CopyFrom(pb.TokenIds(ids=[int(token) for token in prompt]))
    with _named("num_top_log_probs"):
        request.num_top_log_probs = num_top_log_probs
    return request


def decode_score(message: pb.ScoreResponse) -> Score:
    """`Score` from a message.

    Raises:
        InvalidArgument: the scores are of another text than they say.
    """
    token_ids = tuple(message.token_ids)
    scores = decode_scores(message.scores, len(token_ids))
    return Score(token_ids, scores.log_probs, scores.ranks, scores.top_log_probs)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{name} is not of the kind or size that can be sent: {error}") from None


def decode_part(message: pb.TextPart) -> Part:
    """`Part` from a message."""
    return Part(
        position=message.position,
        digest=message.digest,
        token_ids=tuple(message.token_ids),
        text=message.text,
        log_probs=tuple(message.log_probs),
        rounds=tuple(Round.of(found.position, decode_outcome(found.outcome)) for found in message.rounds),
        top_log_probs=decode_top(message.top_log_probs, len(message.token_ids)),
    )


def decode_usage(message: pb.Usage) -> Usage:
    """`Usage` from a message."""
    return Usage(
        method=message.method,
        prompt_tokens=message.prompt_tokens,
        completion_tokens=message.completion_tokens,
        mean_acceptance_length=message.mean_acceptance_length,
        draft_acceptance_rate=message.draft_acceptance_rate,
        acceptance_histogram=tuple(message.acceptance_histogram),
        num_spec_steps=message.num_spec_steps,
        num_accepted_draft_tokens=message.num_accepted_draft_tokens,
        num_draft_tokens=message.num_draft_tokens,
        num_target_passes=message.num_target_passes,
        output_negative_log_likelihood=message.output_negative_log_likelihood,
        output_perplexity=message.output_perplexity,
        time_to_first_token_seconds=message.time_to_first_token_seconds,
        time_per_output_token_seconds=message.time_per_output_token_seconds,
        draft_joules=message.draft_joules if message.HasField("draft_joules") else None,
        verify_joules=message.verify_joules if message.HasField("verify_joules") else None,
    )
