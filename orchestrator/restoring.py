"""Committed tokens that the store lost and a client kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.records import CommittedRound, SessionRecord
from tandem.cut import Cutter
from tandem.decoding.values import RunningDigest
from tandem.errors import DataLoss, Stale
from tandem.rpc.codec import check_token_ids
from tandem.tokenization import Tokenizer


def extended(
    record: SessionRecord,
    token_ids: Sequence[int],
    position: int,
    digest: bytes,
    tokenizer: Tokenizer,
) -> SessionRecord:
    """``record`` with the end of its text as a client has it: ``token_ids`` from the prompt on, by position and digest.

    It is ended where the client has all of the text, and lacks only to be told so.
    The log-probabilities of what is added are unknown, and stand as NaN; what else was probable there is unknown too.

    Raises:
        DataLoss: the client's text does not begin with the record's, or does not have the digest.
        Stale: it runs past the text's end.
        InvalidArgument: an id is out of range.
    """
    text = tuple(token_ids)
    if len(text) != position or RunningDigest(text).value != digest:
        raise DataLoss("the tokens sent do not have the position and digest sent with them")
    if text[: record.position] != record.token_ids:
        raise DataLoss("the client's text and the session's differ")
    new = text[record.position :]
    check_token_ids(new, tokenizer.vocab_size)
    setup = record.setup
    prompt = text[: setup.prompt_length]
    cut = Cutter(tokenizer, setup.decoding, setup.stop, prompt).feed(text[len(prompt) :])
    if cut.num_tokens < len(text) - len(prompt):
        raise Stale("the tokens sent run past the end of the text, which the store has lost")
    return replace(
        record,
        position=position,
        digest=digest,
        token_ids=text,
        log_probs=record.log_probs + (float("nan"),) * len(new),
        top_log_probs=record.top_log_probs + ((),) * len(new) if setup.decoding.num_top_log_probs else (),
        rounds=(*record.rounds, CommittedRound(record.position, record.digest, 0, 0, 0)),
        ended=cut.ended,
        stop=cut.stop,
    )
