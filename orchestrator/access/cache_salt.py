"""Who shares computed prompts with whom at the replicas."""

from __future__ import annotations

import hashlib


def cache_salt(principal: str, given: bytes) -> bytes:
    """The salt of a principal's session that asks for ``given``; see docs/decisions/0018.

    Where callers are known, nobody shares with another: how fast a first token comes tells whether somebody has sent
    the same prompt before.
    """
    if not principal:
        return given
    name = principal.encode()
    return hashlib.blake2b(len(name).to_bytes(4, "little") + name + given, digest_size=32).digest()
