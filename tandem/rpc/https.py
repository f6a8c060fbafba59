"""TLS as the HTTP server takes it."""

from __future__ import annotations

import ssl

from tandem.pem_files import PemFiles


def server_context(files: PemFiles) -> ssl.SSLContext:
    """A context whose every handshake goes on with the certificate of the day.

    Each set of files is a context of its own, so that no handshake meets a certificate without its key.
    """

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, outer: ssl.SSLContext) -> None:
        context = files.current().server
        assert context is not None
        connection.context = context

    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL calls it for every ClientHello, also for one that names no server.
    outer.sni_callback = choose
    return outer
