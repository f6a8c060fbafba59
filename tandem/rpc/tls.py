"""TLS as gRPC takes it: servers that take new certificates up without a restart, channels, and what failures mean."""

from __future__ import annotations

import grpc

from tandem.errors import InvariantBroken
from tandem.pem_files import PemFiles


def server_credentials(files: PemFiles) -> grpc.ServerCredentials:
    """Credentials of a server. Every new connection is shown the certificate of the day.

    Where a CA is named, whoever has no certificate of it is refused.
    """
    return grpc.dynamic_ssl_server_credentials(
        _configuration(files), lambda: _configuration(files), require_client_authentication=files.names_ca
    )


def channel_credentials(files: PemFiles) -> grpc.ChannelCredentials:
    """Credentials of a channel, as the files are now: a channel keeps them for as long as it lives.

    Where no CA is named, the public ones that gRPC brings are trusted.
    """
    pem = files.current()
    return grpc.ssl_channel_credentials(pem.ca, pem.key, pem.chain)


def hint(details: str, files: PemFiles | None) -> str:
    """What a connection that failed for reasons of TLS may have failed for; empty where it was something else."""
    if "Socket closed" in details and "failed to connect" in details:
        if files is None:
            return "; if it expects TLS, so must this side: see --tls-ca"
        return "; it may not accept this side's certificate: is that of a CA which the peer's --tls-ca names?"
    if files is None:
        return ""
    if "WRONG_VERSION_NUMBER" in details:
        return "; it does not speak TLS, and this side does"
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "; its certificate is not valid, or not of a CA that this side's --tls-ca names"
    if "Hostname Verification" in details:
        expected = (
            f"--tls-name {files.peer_name}" if files.peer_name else "the address it was called by; see --tls-name"
        )
        return f"; its certificate is for another name than {expected}"
    return ""


def _configuration(files: PemFiles) -> grpc.ServerCertificateConfiguration:
    pem = files.current()
    if pem.key is None or pem.chain is None:
        raise InvariantBroken("a server without a certificate cannot speak TLS")
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.chain)], pem.ca)
