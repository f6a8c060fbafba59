"""API keys by the file that lists them."""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path

from orchestrator.access.principal import Allowance, Principal
from tandem.api_keys import KeyEntry, digest_of, read_entries
from tandem.errors import InvalidArgument
from tandem.telemetry import logger
from tandem.watched_files import WatchedFiles

LOOK_EVERY_SECONDS = 1.0


class KeyFile:
    """The keys of a file. It is read again when it changes; a bad one leaves the former in force."""

    def __init__(self, path: Path, default: Allowance) -> None:
        """Reads the file.

        Raises:
            InvalidArgument: it cannot be read.
        """
        self._path = path
        self._default = default
        # What is looked up is a keyed digest of the digest: how long that takes tells nobody how near a guess was.
        self._secret = secrets.token_bytes(32)
        self._watched = WatchedFiles([path])
        self._principals = self._read()
        self._looked_at = time.monotonic()
        self._log = logger("orchestrator.access")

    def principal_of(self, credential: str) -> Principal | None:
        """See `Credentials`."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = now
            if self._watched.have_changed():
                self._read_again()
        return self._principals.get(self._masked(digest_of(credential)))

    def _read_again(self) -> None:
        try:
            self._principals = self._read()
        except InvalidArgument as error:
            self._log.error("the key file cannot be used; the keys from before hold", reason=str(error))
        else:
            self._log.info("key file read again", num_keys=len(self._principals))

    def _read(self) -> dict[bytes, Principal]:
        try:
            entries = read_entries(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"the key file {self._path} cannot be read: {type(error).__name__}") from None
        return {self._masked(entry.digest): self._principal(entry) for entry in entries}

    def _principal(self, entry: KeyEntry) -> Principal:
        allowance = Allowance(
            entry.max_sessions or self._default.max_sessions,
            entry.requests_per_minute or self._default.requests_per_minute,
        )
        return Principal(entry.name, allowance, entry.is_operator)

    def _masked(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=32).digest()
