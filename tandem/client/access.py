"""How a client shows who it is, and knows whom it talks to."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import grpc.aio

from tandem.errors import InvalidArgument, TandemError, Unavailable
from tandem.pem_files import PUBLIC_CAS, PemFiles
from tandem.rpc.channel import open_channel, options_with_silence
from tandem.rpc.tls import channel_credentials, hint
from tandem.settings import API_KEY_VARIABLE


class Access:
    """A key, and of which CA the server's certificate must be."""

    def __init__(self, api_key: str | None, tls_ca: str | Path | None, silence_seconds: float) -> None:
        """Without ``api_key``, that of the environment, if there is one. Without ``tls_ca``, plaintext.

        ``silence_seconds``: see `Patience`.

        Raises:
            InvalidArgument: the key cannot be sent, or the CA's file cannot be used.
        """
        key = os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key
        if not key.isascii() or not key.isprintable():
            raise InvalidArgument("the API key has characters that no key has; is it the whole line of a file?")
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._options = options_with_silence(silence_seconds)
        self._tls: PemFiles | None = None
        if tls_ca is not None:
            self._tls = PemFiles(None if tls_ca == PUBLIC_CAS else Path(tls_ca))

    def channel(self, address: str) -> grpc.Channel:
        """A channel for threads."""
        if self._tls is None:
            return grpc.insecure_channel(address, options=self._options)
        return grpc.secure_channel(address, channel_credentials(self._tls), options=self._options)

    def aio_channel(self, address: str) -> grpc.aio.Channel:
        """A channel for asyncio."""
        return open_channel(address, self._tls, self._options)

    def explained(self, error: TandemError) -> TandemError:
        """The error, with what may be wrong where TLS is to blame."""
        found = hint(str(error), self._tls) if isinstance(error, Unavailable) else ""
        return Unavailable(f"{error}{found}") if found else error


def key_of(path: Path | None) -> str | None:
    """The key that a file holds; None where there is no file.

    Raises:
        InvalidArgument: it cannot be read.
    """
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the API key file {path} cannot be read: {type(error).__name__}") from None
