"""JSON Web Tokens that somebody else signs: a caller is whoever the signer says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.access.principal import Allowance, Principal
from orchestrator.access.reread import Reread
from tandem.errors import InvalidArgument

if TYPE_CHECKING:
    from jwt import PyJWK

LEEWAY_SECONDS = 30.0
"""By how much the signer's clock may differ from this one's."""
MAX_SUBJECT_CHARACTERS = 256
PREFIX = "jwt:"
"""Of the names of principals that tokens name, so that none is taken for one of the key file."""

PUBLIC_KEY_TYPES = ("RSA", "EC", "OKP")
"""With a shared secret, whoever checks tokens could also make them."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say."""

    audience: str
    issuer: str


class Tokens:
    """Tokens, by their signer's public keys in a JWKS file, which is read again when it changes."""

    def __init__(self, path: Path, expected: Expected, allowance: Allowance) -> None:
        """``allowance``: of everybody whom a token names.

        Raises:
            InvalidArgument: the file cannot be used, or the library that checks signatures is not installed.
        """
        try:
            import jwt
        except ImportError:
            raise InvalidArgument("tokens are checked by PyJWT: pip install 'tandem[jwt]'") from None
        self._jwt = jwt
        self._expected = expected
        self._allowance = allowance
        self._keys = Reread(path, self._read)

    def principal_of(self, credential: str) -> Principal | None:
        """See `Credentials`."""
        try:
            subject = self._subject_of(credential)
        except (self._jwt.PyJWTError, ValueError):
            return None
        if not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isprintable():
            return None
        return Principal(PREFIX + subject, self._allowance)

    def _subject_of(self, token: str) -> str:
        key = self._key_of(self._jwt.get_unverified_header(token).get("kid"))
        claims: dict[str, Any] = self._jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],  # the key's own, whatever the token says
            audience=self._expected.audience,
            issuer=self._expected.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "sub", "aud", "iss"]},
        )
        return str(claims["sub"])

    def _key_of(self, name: object) -> PyJWK:
        """The key that a token names, or the only one there is."""
        keys = self._keys.value
        found = [key for key in keys if key.key_id == name] if name is not None else list(keys)
        if len(found) != 1:
            raise self._jwt.InvalidTokenError("the token names no key")
        return found[0]

    def _read(self, text: str) -> tuple[PyJWK, ...]:
        try:
            entries = json.loads(text)["keys"]
            keys = tuple(self._jwt.PyJWK(entry) for entry in entries if entry.get("use", "sig") == "sig")
        except (ValueError, TypeError, KeyError, AttributeError, self._jwt.PyJWTError) as error:
            raise InvalidArgument(f"the file is no set of public keys (JWKS): {type(error).__name__}") from None
        for key in keys:
            if key.key_type not in PUBLIC_KEY_TYPES or hasattr(key.key, "private_bytes"):
                raise InvalidArgument("the set of keys holds a secret; it must have public keys only")
        if not keys:
            raise InvalidArgument("the set of keys is empty")
        return keys
