"""Errors and status codes are one table: what goes out as an error comes in as the same."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from tandem import errors
from tandem.rpc.channel import check_address
from tandem.rpc.status import LIBRARY_FAILED, code_of, error_of, error_of_refusal, refusal_of, trailing_metadata

SAME = (
    errors.InvalidArgument,
    errors.OutOfKV,
    errors.Overloaded,
    errors.Unavailable,
    errors.DeadlineExceeded,
    errors.Cancelled,
    errors.NotFound,
    errors.Stale,
    errors.DataLoss,
    errors.RowFailed,
)


def _call_error(error: Exception) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code_of(error), grpc.aio.Metadata(), grpc.aio.Metadata(*trailing_metadata(error)), str(error)
    )


@pytest.mark.parametrize("kind", SAME)
def test_an_error_survives_the_wire(kind: type[errors.TandemError]) -> None:
    back = error_of(_call_error(kind("what was wrong")))
    assert type(back) is kind
    assert str(back) == "what was wrong"
    refused = error_of_refusal(refusal_of("s", kind("what was wrong"), 7))
    assert type(refused) is kind


def test_when_to_come_back_survives_the_wire() -> None:
    for back in (
        error_of(_call_error(errors.Overloaded("full", 2.5))),
        error_of_refusal(refusal_of("s", errors.Overloaded("full", 2.5))),
    ):
        assert isinstance(back, errors.Overloaded)
        assert back.retry_after_seconds == 2.5


def test_a_call_that_broke_while_it_was_sent_is_a_lost_connection() -> None:
    broken = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), LIBRARY_FAILED)
    assert isinstance(error_of(broken), errors.Unavailable)


def test_a_model_that_is_refused_is_a_bad_argument_to_others() -> None:
    assert code_of(errors.ModelRefused("pickle")) is grpc.StatusCode.INVALID_ARGUMENT


def test_what_was_not_raised_on_purpose_tells_nothing() -> None:
    refusal = refusal_of("s", ValueError("the prompt was: my secret"))
    assert refusal.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in refusal.message


def test_a_refusal_is_bounded() -> None:
    assert len(refusal_of("s", errors.InvalidArgument("x" * 10_000)).message) == 2000


def test_every_status_code_is_some_error() -> None:
    for code in grpc.StatusCode:
        error = error_of(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "said"))
        assert isinstance(error, errors.TandemError)
        assert "said" in str(error)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "host-name.example:65535", "[::1]:80", "localhost:7070"])
def test_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("address", ["", "host", "host:", "host:0", "host:65536", "a b:1", "unix:/x", ":1", "h:1:2"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="host:port"):
        check_address(address)
