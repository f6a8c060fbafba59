"""A call's own deadline."""

from __future__ import annotations

import grpc.aio

_NONE_SECONDS = 1e7


def deadline_of(context: grpc.aio.ServicerContext, now: float) -> float | None:
    """When the call's deadline passes, by ``now``'s clock; None where it has none."""
    remaining = context.time_remaining()
    # gRPC tells of no deadline by None or by one in a far future.
    return None if remaining is None or remaining > _NONE_SECONDS else now + remaining
