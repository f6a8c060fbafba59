"""API keys by the file that lists them."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from orchestrator.access.principal import Allowance, Principal
from orchestrator.access.reread import Reread
from tandem.api_keys import KeyEntry, digest_of, read_entries


class KeyFile:
    """The keys of a file, which is read again when it changes."""

    def __init__(self, path: Path, default: Allowance) -> None:
        """``default``: of those whose line says nothing else.

        Raises:
            InvalidArgument: the file cannot be used.
        """
        self._default = default
        # What is looked up is a keyed digest of the digest: how long that takes tells nobody how near a guess was.
        self._secret = secrets.token_bytes(32)
        self._principals = Reread(path, self._read)

    def principal_of(self, credential: str) -> Principal | None:
        """See `Credentials`."""
        return self._principals.value.get(self._masked(digest_of(credential)))

    def _read(self, text: str) -> dict[bytes, Principal]:
        return {self._masked(entry.digest): self._principal(entry) for entry in read_entries(text)}

    def _principal(self, entry: KeyEntry) -> Principal:
        allowance = Allowance(
            entry.max_sessions or self._default.max_sessions,
            entry.requests_per_minute or self._default.requests_per_minute,
        )
        return Principal(entry.name, allowance, entry.is_operator)

    def _masked(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=32).digest()
