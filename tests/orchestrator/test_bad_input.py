"""Bad input: each a clear error with the right code, before anything starts, and no neighbour disturbed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import pytest

from tandem.decoding.methods import METHODS
from tandem.v1 import generation_pb2 as pb
from tandem.v1 import types_pb2
from tests.orchestrator.conftest import PROMPT, SCRIPT, Served, Stage
from tests.support.replicas import scripted

NAN = float("nan")


def ids(*token_ids: int) -> dict[str, Any]:
    return {"token_ids": pb.TokenIds(ids=token_ids)}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"method": "telepathy"}, ", ".join(METHODS)),
    ({"method": "x" * 65}, "method"),
    (ids(), "prompt"),
    (ids(320), "prompt token 0 is 320"),
    (ids(5, 2**32 - 1), "prompt token 1 is 4294967295"),
    (ids(*[5] * 512), "prompt has 512 tokens"),
    (ids(*[5] * 508), "prompt has 508 tokens"),
    ({"text": ""}, "prompt has 0 characters"),
    ({"text": "select " * 5000}, "tokens"),
    ({"max_tokens": 0}, "max_tokens is 0"),
    ({"max_tokens": -5}, "max_tokens is -5"),
    ({"max_tokens": 2**31 - 1}, "max_tokens is 2147483647"),
    ({"max_tokens": 506}, "max_tokens is 506"),
    ({"temperature": -1.0}, "temperature is -1"),
    ({"temperature": 11.0}, "temperature is 11"),
    ({"temperature": NAN}, "temperature is nan"),
    ({"temperature": float("inf")}, "temperature is inf"),
    ({"threshold": 0.0}, "threshold is 0"),
    ({"threshold": 1.0}, "threshold is 1"),
    ({"threshold": 2.0}, "threshold is 2"),
    ({"threshold": NAN}, "threshold is nan"),
    ({"draft_length": 0}, "draft_length is 0"),
    ({"draft_length": 1000}, "draft_length is 1000"),
    ({"beam_width": 0}, "beam_width is 0"),
    ({"beam_width": 17}, "beam_width is 17"),
    ({"top_k": -1}, "top_k is -1"),
    ({"top_p": 0.0}, "top_p is 0"),
    ({"top_p": 1.5}, "top_p is 1.5"),
    ({"top_p": NAN}, "top_p is nan"),
    ({"min_p": -0.1}, "min_p is -0.1"),
    ({"min_p": NAN}, "min_p is nan"),
    ({"stop": ["x"] * 17}, "17 stop strings"),
    ({"stop": ["x" * 257]}, "stop string has 257"),
    ({"stop": [""]}, "stop string has 0"),
    ({"presence_penalty": 2.5}, "presence_penalty is 2.5"),
    ({"frequency_penalty": -2.5}, "frequency_penalty is -2.5"),
    ({"presence_penalty": NAN}, "presence_penalty is nan"),
    ({"logit_bias": [types_pb2.LogitBias(token_id=1, bias=100.5)]}, "logit_bias of token 1 is 100.5"),
    ({"logit_bias": [types_pb2.LogitBias(token_id=1, bias=NAN)]}, "logit_bias of token 1 is nan"),
    ({"logit_bias": [types_pb2.LogitBias(token_id=1 << 31)]}, "logit_bias names token 2147483648"),
    ({"logit_bias": [types_pb2.LogitBias(token_id=1)] * 2}, "logit_bias names a token twice"),
    ({"logit_bias": [types_pb2.LogitBias(token_id=token) for token in range(1025)]}, "logit_bias has 1025 entries"),
    ({"constraint": types_pb2.Constraint()}, "a constraint is empty"),
    ({"constraint": types_pb2.Constraint(regex="(a")}, "the regex cannot be served"),
    ({"constraint": types_pb2.Constraint(regex="a"), "ignore_eos": True}, "ignore_eos"),
    ({"num_top_log_probs": -1}, "num_top_log_probs is -1"),
    ({"num_top_log_probs": 21}, "num_top_log_probs is 21"),
    ({"num_top_log_probs": 20, "max_tokens": 1_000_000}, "num_top_log_probs is 20, of 1000000 tokens"),
    ({"cache_salt": bytes(65)}, "cache_salt has 65 bytes"),
]


@pytest.fixture
async def busy(stage: Stage) -> Any:
    """An orchestrator in the middle of somebody's text."""
    verify, draft = await stage.verify(), await stage.draft()
    draft.round_seconds = 0.005
    served = await stage.orchestrator([verify], [draft])
    neighbour = asyncio.create_task(served.text(max_tokens=57))
    yield served, draft
    assert (await neighbour).token_ids == SCRIPT[:57]


async def test_bad_values_are_refused_by_name(busy: tuple[Served, Any]) -> None:
    served, draft = busy
    for fields, expected in BAD:
        error = await served.refusal(**fields)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, (fields, error.details())
        assert expected in str(error.details()), (fields, error.details())
    assert len(draft.opened) <= 1  # the neighbour's; nothing else was started
    assert served.metric("commits_total", answer="stale") == 0


@pytest.mark.parametrize("role", ["verify", "draft"])
@pytest.mark.parametrize("token_id", [320, 2**32 - 1])
async def test_an_id_that_no_replica_can_have_made_is_never_committed(stage: Stage, role: str, token_id: int) -> None:
    """Nor shown: the replica that says so is not believed further."""
    wild = scripted([40, token_id, 41], len(PROMPT))
    verify = await stage.verify(wild if role == "verify" else None)
    draft = await stage.draft(wild if role == "draft" else None)
    served = await stage.orchestrator([verify], [draft], recovery_timeout=0.5)
    call = served.generate(method="autoregressive" if role == "verify" else "mtad")
    shown = []
    with suppress(grpc.aio.AioRpcError):
        async for message in call:
            shown += message.part.token_ids
    assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    assert max(shown) < 320
    if role == "draft":
        assert len(shown) == 20  # the target went on alone


async def test_a_request_without_a_prompt_is_refused(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.read(served.stub.Generate(pb.GenerateRequest(max_tokens=3)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_draft_model_bounds_drafted_texts_only(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft(vocab_size=100, max_positions=64)
    served = await stage.orchestrator([verify], [draft])
    for fields in (ids(100), {"max_tokens": 100}):
        assert (await served.refusal(**fields)).code() is grpc.StatusCode.INVALID_ARGUMENT
        assert len((await served.text(method="autoregressive", **fields)).token_ids) > 0
    assert len((await served.text()).token_ids) == 20


async def test_the_longest_text_that_fits_is_served(served: Served) -> None:
    text = await served.text(max_tokens=505)
    assert len(text.token_ids) == 505
    assert text.finished.reason == pb.FINISH_REASON_LENGTH


async def test_without_max_tokens_a_text_has_256_or_what_fits(served: Served) -> None:
    assert len((await served.text(max_tokens=None)).token_ids) == 256
    longer = await served.text(max_tokens=None, **ids(*[5] * 400))
    assert len(longer.token_ids) == 512 - 400 - 4
