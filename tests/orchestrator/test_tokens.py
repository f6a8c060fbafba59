"""Tokens that somebody else signs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from orchestrator.access import reread
from orchestrator.access.principal import Allowance
from orchestrator.access.tokens import Expected, Tokens
from tandem.errors import InvalidArgument
from tandem.v1 import types_pb2
from tests.orchestrator.conftest import Stage

ALLOWANCE = Allowance(max_sessions=3)
EXPECTED = Expected("tandem", "https://issuer.example")
SIGNERS: dict[str, tuple[Any, Any, str]] = {
    "RSA": (rsa.generate_private_key(65537, 2048), RSAAlgorithm, "RS256"),
    "EC": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm, "ES256"),
    "OKP": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm, "EdDSA"),
}


def entry(kind: str, name: str | None = None) -> dict[str, Any]:
    key, algorithm, _ = SIGNERS[kind]
    found: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return found | ({} if name is None else {"kid": name})


def keys_file(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "jwks.json"
    path.write_text(json.dumps({"keys": entries}))
    return path


def token(kind: str = "RSA", name: str | None = None, without: str = "", **changes: Any) -> str:
    key, _, algorithm = SIGNERS[kind]
    claims = {"sub": "alice", "aud": EXPECTED.audience, "iss": EXPECTED.issuer, "exp": time.time() + 600} | changes
    claims.pop(without, None)
    return jwt.encode(claims, key, algorithm, headers=None if name is None else {"kid": name})


@pytest.mark.parametrize("kind", list(SIGNERS))
def test_a_principal_is_whom_the_signer_names(tmp_path: Path, kind: str) -> None:
    tokens = Tokens(keys_file(tmp_path, entry(kind)), EXPECTED, ALLOWANCE)
    principal = tokens.principal_of(token(kind))
    assert principal is not None
    assert (principal.name, principal.allowance, principal.is_operator) == ("jwt:alice", ALLOWANCE, False)


def forged() -> dict[str, str]:
    """Tokens that anybody could make, and tokens for others."""
    public = (
        SIGNERS["RSA"][0]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()  # noqa: E731
    claims = {"sub": "alice", "aud": EXPECTED.audience, "iss": EXPECTED.issuer, "exp": time.time() + 600}
    stranger = rsa.generate_private_key(65537, 2048)
    head = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    mac = base64.urlsafe_b64encode(hmac.digest(public, head.encode(), hashlib.sha256)).rstrip(b"=").decode()
    good = token()
    return {
        "unsigned": f"{part({'alg': 'none'})}.{part(claims)}.",
        "signed with the public key as a secret": f"{head}.{mac}",
        "signed by a stranger": jwt.encode(claims, stranger, "RS256"),
        "signed by another algorithm": jwt.encode(claims, SIGNERS["EC"][0], "ES256"),
        "changed": good[:-8] + ("A" * 8),
        "cut": good.rsplit(".", 1)[0],
        "no token": "x.y.z",
        "nothing": "..",
        "expired": token(exp=time.time() - 60),
        "not yet": token(nbf=time.time() + 600),
        "for others": token(aud="others"),
        "by others": token(iss="https://other.example"),
        "without end": token(without="exp"),
        "without subject": token(without="sub"),
        "without audience": token(without="aud"),
        "without issuer": token(without="iss"),
        "of nobody": token(sub=""),
        "of a number": token(sub=7),
        "too long": token(sub="x" * 257),
        "unprintable": token(sub="a\nb"),
        "of another key": token(name="other"),
    }


@pytest.mark.parametrize("what", list(forged()))
def test_any_other_token_is_nobodys(tmp_path: Path, what: str) -> None:
    tokens = Tokens(keys_file(tmp_path, entry("RSA", "one")), EXPECTED, ALLOWANCE)
    assert tokens.principal_of(token(name="one")) is not None
    assert tokens.principal_of(forged()[what]) is None


def test_the_signers_keys_change_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reread, "LOOK_EVERY_SECONDS", 0.0)
    path = keys_file(tmp_path, entry("RSA", "old"))
    tokens = Tokens(path, EXPECTED, ALLOWANCE)
    assert tokens.principal_of(token("EC", "new")) is None
    keys_file(tmp_path, entry("RSA", "old"), entry("EC", "new"))
    assert tokens.principal_of(token("EC", "new")) is not None
    assert tokens.principal_of(token("RSA", "old")) is not None
    path.write_text("{")  # what cannot be used changes nothing
    assert tokens.principal_of(token("RSA", "old")) is not None
    keys_file(tmp_path, entry("EC", "new"))
    assert tokens.principal_of(token("RSA", "old")) is None


def test_what_holds_secrets_or_nothing_is_refused(tmp_path: Path) -> None:
    private = RSAAlgorithm.to_jwk(SIGNERS["RSA"][0], as_dict=True)
    for entries in ([private], [{"kty": "oct", "k": "c2VjcmV0"}], [], [{"kty": "what"}], ["x"]):
        with pytest.raises(InvalidArgument):
            Tokens(keys_file(tmp_path, *entries), EXPECTED, ALLOWANCE)  # type: ignore[arg-type]


async def test_tokens_and_keys_are_taken_alike(stage: Stage, tmp_path: Path) -> None:
    served = await stage.orchestrator(
        [await stage.verify()],
        jwt_keys=keys_file(tmp_path, entry("EC")),
        jwt_audience=EXPECTED.audience,
        jwt_issuer=EXPECTED.issuer,
    )
    metadata = (("authorization", f"Bearer {token('EC')}"),)
    assert (await served.stub.Describe(types_pb2.DescribeRequest(), metadata=metadata)).role == "orchestrator"
    refused = await served.refusal()
    assert refused.code().name == "UNAUTHENTICATED"
