"""Whether a call may come in, and in whose name: by the key in its ``authorization``."""

from __future__ import annotations

from typing import Protocol

from orchestrator.access.principal import ANYONE, Allowance, Principal
from orchestrator.access.quotas import Quotas
from orchestrator.metrics import Metrics
from tandem.errors import Unauthenticated

MAX_CREDENTIAL_CHARACTERS = 16_384
_SCHEME = "bearer "

REFUSED = "the call has no valid API key; send one as `authorization: Bearer KEY`"
"""One message for whatever was wrong: missing, malformed, unknown, expired."""


class Credentials(Protocol):
    """A way of telling who somebody is."""

    def principal_of(self, credential: str) -> Principal | None:
        """Whom it stands for; None where it is not one of these, or not valid."""


class Guard:
    """Asks every call who it is. Without ``credentials`` it asks nobody, and everybody is one principal."""

    def __init__(
        self, credentials: tuple[Credentials, ...], default: Allowance, quotas: Quotas, metrics: Metrics
    ) -> None:
        """``default``: of those for whom nothing else is said."""
        self._credentials = credentials
        self._anyone = Principal(ANYONE.name, default)
        self._quotas = quotas
        self._metrics = metrics

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked."""
        return not self._credentials

    def admit(self, authorization: str | None) -> Principal:
        """Who calls. The call counts against what they may ask for.

        Raises:
            Unauthenticated: nobody that is known here. LimitReached: too many calls in a minute.
        """
        principal = self._anyone if self.is_open else self._identify(authorization)
        self._quotas.count_request(principal)
        return principal

    def _identify(self, authorization: str | None) -> Principal:
        if authorization is not None and authorization[: len(_SCHEME)].lower() == _SCHEME:
            credential = authorization[len(_SCHEME) :].strip()
            if 0 < len(credential) <= MAX_CREDENTIAL_CHARACTERS:
                for credentials in self._credentials:
                    if (principal := credentials.principal_of(credential)) is not None:
                        return principal
        self._metrics.unauthenticated.inc()
        raise Unauthenticated(REFUSED)
