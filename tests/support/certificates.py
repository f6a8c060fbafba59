"""Certificates of a CA of the test's own, in files that can be replaced while somebody uses them."""

from __future__ import annotations

from pathlib import Path

import trustme

from tandem.pem_files import PemFiles

NAMES = ("127.0.0.1", "localhost")


class Certificates:
    """One identity: certificate, key and trusted CA."""

    def __init__(self, folder: Path, ca: trustme.CA, names: tuple[str, ...] = NAMES, peer_name: str = "") -> None:
        """``peer_name``: which name it expects of those it talks to, if not that of their address."""
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        self._names = names
        self._peer_name = peer_name
        self.trust(ca)
        self.issue(ca)

    def issue(self, ca: trustme.CA) -> None:
        """Puts a new certificate and key in the place of the former, one after the other."""
        made = ca.issue_cert(*self._names)
        _replace(self.cert, b"".join(pem.bytes() for pem in made.cert_chain_pems))
        _replace(self.key, made.private_key_pem.bytes())

    def trust(self, *cas: trustme.CA) -> None:
        """Names these CAs and no other."""
        _replace(self.ca, b"".join(ca.cert_pem.bytes() for ca in cas))

    def files(self) -> PemFiles:
        return PemFiles(self.ca, self.cert, self.key, self._peer_name)

    def flags(self) -> dict[str, Path | str]:
        """Settings of a service."""
        named = {"tls_name": self._peer_name} if self._peer_name else {}
        return {"tls_ca": self.ca, "tls_cert": self.cert, "tls_key": self.key, **named}


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".new")
    partial.write_bytes(content)
    partial.replace(path)
