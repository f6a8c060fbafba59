"""API keys, and the lines by which a file knows them: names and digests, never a key.

A line is ``NAME sha256:DIGEST``, then any of ``operator``, ``max_sessions=N`` and ``requests_per_minute=N``; ``#``
begins a comment. Several lines of one name are several keys of one principal, which is how a key is replaced.

Keys are 256 random bits, so a fast digest is the right one: slow ones protect what people choose and others can guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from tandem.errors import InvalidArgument

PREFIX = "tandem-"
"""Of every key, so that a key that leaked is found by whoever looks for one."""
MAX_KEYS = 100_000

_KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A line of a key file."""

    name: str
    """Of the principal whose key it is."""
    digest: bytes
    is_operator: bool = False
    max_sessions: int | None = None
    """Sessions at once; None: what the server's settings say."""
    requests_per_minute: int | None = None


def new_key() -> str:
    """A key that nobody else has."""
    return PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest_of(key: str) -> bytes:
    """SHA-256 of a key, all that is kept of it."""
    return hashlib.sha256(key.encode()).digest()


def line_of(name: str, key: str) -> str:
    """The line by which a file knows a key of ``name``.

    Raises:
        InvalidArgument: no principal can have that name.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"the name is {name[:100]!r}; expected 1 to 64 letters, digits, dots, hyphens, underscores"
        )
    return f"{name} sha256:{digest_of(key).hex()}"


def read_entries(text: str) -> tuple[KeyEntry, ...]:
    """The lines of a key file.

    Raises:
        InvalidArgument: a line has another form. It is named by its number: it may hold a key by mistake.
    """
    entries = tuple(_read_lines(text))
    if len(entries) > MAX_KEYS:
        raise InvalidArgument(f"the key file has {len(entries)} keys; at most {MAX_KEYS} are accepted")
    if len({entry.digest for entry in entries}) != len(entries):
        raise InvalidArgument("the key file has one key twice; leave one line out")
    return entries


def _read_lines(text: str) -> Iterator[KeyEntry]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if words:
            yield _read_line(number, words)


def _read_line(number: int, words: list[str]) -> KeyEntry:
    where = f"line {number} of the key file"
    name, *rest = words
    digest = _DIGEST.fullmatch(rest[0]) if rest else None
    if not _NAME.fullmatch(name) or digest is None:
        raise InvalidArgument(f"{where} does not begin with a name and sha256: with 64 hexadecimal digits")
    limits: dict[str, int] = {}
    is_operator = False
    for word in rest[1:]:
        option, _, value = word.partition("=")
        if word == "operator":
            is_operator = True
        elif option in ("max_sessions", "requests_per_minute") and re.fullmatch(r"[1-9][0-9]{0,8}", value):
            limits[option] = int(value)
        else:
            raise InvalidArgument(
                f"{where} has something behind the digest that is none of operator, max_sessions=N and "
                "requests_per_minute=N, N from 1 on"
            )
    return KeyEntry(name, bytes.fromhex(digest[1]), is_operator, **limits)
