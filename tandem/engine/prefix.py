"""Names of KV blocks by what they hold, so that sequences that begin alike find each other's.

A full block's *key* is a digest of the key before it and of the block's own token ids: equal keys mean equal texts from
the first token on, which is all that keys and values depend on. The first key is that of a salt, so that sequences of
different salts have no key in common.
"""

from __future__ import annotations

import hashlib
from collections import abc
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_KEY_BYTES = 32
"""256 bits: a key is trusted without a look at the tokens, and prompts may be chosen to collide."""


@dataclass(slots=True)
class PrefixCounts:
    """How much KV was looked for and found, since the start."""

    queries: int = 0
    """Tokens of texts that began without any KV of their own."""
    hits: int = 0
    """Tokens whose KV was found."""


class Prefix:
    """The settled tokens of one sequence: the keys of its full blocks, and the tokens behind those."""

    __slots__ = ("_block_size", "_keys", "_tail")

    def __init__(self, salt: bytes, block_size: int) -> None:
        self._block_size = block_size
        self._keys = [_digest(b"", salt)]
        self._tail: Ints = np.empty(0, np.int64)

    @property
    def keys(self) -> abc.Sequence[bytes]:
        """Of the full blocks, `[blocks]`."""
        return self._keys[1:]

    @property
    def num_full(self) -> int:
        """How many full blocks there are."""
        return len(self._keys) - 1

    @property
    def num_over(self) -> int:
        """How many tokens stand behind the full blocks."""
        return len(self._tail)

    def append(self, token_ids: Ints) -> list[bytes]:
        """Notes further settled tokens, `[n]`; the keys of the blocks that they fill."""
        unnamed = np.concatenate((self._tail, token_ids))
        keys: list[bytes] = []
        while len(unnamed) >= self._block_size:
            keys.append(self._key(keys[-1] if keys else self._keys[-1], unnamed[: self._block_size]))
            unnamed = unnamed[self._block_size :]
        self._keys += keys
        self._tail = unnamed
        return keys

    def cut(self, num_tokens: int) -> int:
        """Forgets all but the first `num_tokens`, and of these the part of a full block that they leave.

        Returns: how many are left.
        """
        num_full, num_over = divmod(num_tokens, self._block_size)
        self._tail = self._tail[:num_over] if num_full == self.num_full else self._tail[:0]
        del self._keys[num_full + 1 :]
        return num_full * self._block_size + self.num_over

    def following(self, text: abc.Sequence[int], stop: int) -> abc.Iterator[bytes]:
        """Keys of the further blocks that a text fills up to `stop`; the tokens noted are its beginning."""
        key, start = self._keys[-1], self.num_full * self._block_size
        while start + self._block_size <= stop:
            key = self._key(key, np.array(text[start : start + self._block_size], np.int64))
            yield key
            start += self._block_size

    @staticmethod
    def _key(before: bytes, token_ids: Ints) -> bytes:
        return _digest(before, token_ids.astype("<u4").tobytes())


def _digest(before: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(before + content, digest_size=_KEY_BYTES, person=b"tandem kv").digest()
