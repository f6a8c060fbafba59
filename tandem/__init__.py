"""Tandem: large language models served by multi-token joint decoding.

`Client` and `AsyncClient` talk to a running stack; `LocalDecoder` decodes in this process, without services. Each is
imported when first asked for, so that ``import tandem`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tandem.client import AsyncClient as AsyncClient
    from tandem.client import Client as Client
    from tandem.generation import Generation as Generation
    from tandem.generation import Part as Part
    from tandem.generation import Score as Score
    from tandem.local import LocalDecoder as LocalDecoder

_HOMES = {
    "AsyncClient": "tandem.client",
    "Client": "tandem.client",
    "Generation": "tandem.generation",
    "LocalDecoder": "tandem.local",
    "Part": "tandem.generation",
    "Score": "tandem.generation",
}

__all__ = ["AsyncClient", "Client", "Generation", "LocalDecoder", "Part", "Score"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tandem' has no attribute {name!r}")
