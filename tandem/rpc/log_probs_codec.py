"""Log-probabilities as messages and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tandem.decoding.values import MAX_TOP_LOG_PROBS, TextScores, TopLogProbs
from tandem.errors import InvalidArgument
from tandem.v1 import types_pb2 as pb


def encode_top(tops: Iterable[TopLogProbs]) -> list[pb.TopLogProbs]:
    """The most probable tokens of some places as messages."""
    return [
        pb.TopLogProbs(token_ids=[token for token, _ in top], log_probs=[value for _, value in top]) for top in tops
    ]


def decode_top(messages: Sequence[pb.TopLogProbs], num_tokens: int) -> tuple[TopLogProbs, ...]:
    """The most probable tokens at each of ``num_tokens`` places, or nothing where they were not asked for.

    Raises:
        InvalidArgument: they are of another number of places, or too many at one.
    """
    if len(messages) not in (0, num_tokens):
        raise InvalidArgument(f"top_log_probs are of {len(messages)} places; expected none, or {num_tokens}")
    for message in messages:
        count = len(message.token_ids)
        if count > MAX_TOP_LOG_PROBS or len(message.log_probs) != count:
            raise InvalidArgument(
                f"top_log_probs of a place have {count} ids and {len(message.log_probs)} log-probabilities; expected "
                f"as many, and at most {MAX_TOP_LOG_PROBS}"
            )
    return tuple(tuple(zip(message.token_ids, message.log_probs, strict=True)) for message in messages)


def encode_scores(value: TextScores) -> pb.TextScores:
    """`TextScores` as a message."""
    return pb.TextScores(log_probs=value.log_probs, ranks=value.ranks, top_log_probs=encode_top(value.top_log_probs))


def decode_scores(message: pb.TextScores, num_tokens: int) -> TextScores:
    """`TextScores` of a text of ``num_tokens`` tokens from a message.

    Raises:
        InvalidArgument: they are of another text.
    """
    counts = {len(message.log_probs), len(message.ranks)}
    if counts != {num_tokens - 1}:
        raise InvalidArgument(f"a text of {num_tokens} tokens has scores of {sorted(counts)}; expected one fewer")
    return TextScores(tuple(message.log_probs), tuple(message.ranks), decode_top(message.top_log_probs, num_tokens - 1))
