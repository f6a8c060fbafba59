"""Certificates and keys by the files that hold them, which may be replaced while the process runs."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from tandem.errors import InvalidArgument
from tandem.telemetry import logger
from tandem.watched_files import WatchedFiles

_WHOLE_READINGS = 5

PUBLIC_CAS = "public"
"""In the place of a CA's file: those that everybody trusts."""


@dataclass(frozen=True, slots=True)
class Pem:
    """What the files held at one time, fitting together."""

    ca: bytes | None
    """Certificates of those whose word is taken on who somebody is."""
    chain: bytes | None
    """The certificate shown to peers, and those between it and its CA."""
    key: bytes | None
    server: ssl.SSLContext | None
    """The same as Python's servers take it; it asks nobody for a certificate."""


class PemFiles:
    """Certificate, key and CA. New ones are taken up once they are whole and fit together; safe between threads."""

    def __init__(
        self, ca: Path | None = None, cert: Path | None = None, key: Path | None = None, peer_name: str = ""
    ) -> None:
        """Reads them. ``cert`` and ``key`` go together. ``peer_name``: which name the certificates of peers must
        carry; empty: that of the address they are called by.

        Raises:
            InvalidArgument: one cannot be read, or they do not fit together.
        """
        self._ca, self._cert, self._key = ca, cert, key
        self.peer_name = peer_name
        self._lock = threading.Lock()
        self._watched = WatchedFiles([path for path in (ca, cert, key) if path is not None])
        self._current = self._read()

    @property
    def names_ca(self) -> bool:
        """Whether peers are asked for a certificate of a CA that was named."""
        return self._ca is not None

    def current(self) -> Pem:
        """What the files hold now; while that cannot be used, what they held before."""
        with self._lock:
            for _ in range(_WHOLE_READINGS):  # until nothing changed while it was read
                if not self._watched.have_changed():
                    break
                self._renew()
            return self._current

    def _renew(self) -> None:
        log = logger("tandem.tls")
        try:
            self._current = self._read()
        except InvalidArgument as error:
            log.warning("certificate files cannot be used; what they held before stays in use", reason=str(error))
        else:
            log.info("certificate files read again", cert=str(self._cert or ""), ca=str(self._ca or ""))

    def _read(self) -> Pem:
        server = None
        if self._ca is not None:
            try:
                ssl.create_default_context(cafile=self._ca)
            except (OSError, ssl.SSLError) as error:
                raise InvalidArgument(f"{self._ca} has no certificate of a CA: {_why(error)}") from None
        if self._cert is not None and self._key is not None:
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                server.load_cert_chain(self._cert, self._key, password="")  # else it would ask a terminal
            except (OSError, ssl.SSLError) as error:
                raise InvalidArgument(
                    f"{self._cert} and {self._key} are not a certificate and its unencrypted key: {_why(error)}"
                ) from None
        return Pem(_content(self._ca), _content(self._cert), _content(self._key), server)


def _content(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {_why(error)}") from None


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return str(reason).lower().replace("_", " ")
