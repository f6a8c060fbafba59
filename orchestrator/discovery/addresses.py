"""Addresses of replicas as the settings give them, and the sources that they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.discovery.dns import Dns
from orchestrator.discovery.registered import Registered
from orchestrator.discovery.several import Several
from orchestrator.discovery.source import Source
from orchestrator.discovery.static import Static
from tandem.errors import InvalidArgument
from tandem.rpc.channel import check_address

EXPECTED = "expected host:port, dns:///host:port, kubernetes:///[NAMESPACE/]SERVICE:PORT or redis:///ROLE"

_KUBERNETES = re.compile(r"kubernetes:///(?:([a-z0-9-]{1,63})/)?([a-z0-9-]{1,63}):([a-z0-9-]{1,63})")
_REDIS = re.compile(r"redis:///(draft|verify)")


def check(address: str) -> str:
    """Returns ``address`` where it has one of the forms that there are.

    Raises:
        InvalidArgument: it has none of them.
    """
    scheme = address.partition(":///")[0]
    if ":///" not in address:
        return check_address(address)
    if scheme == "dns":
        check_address(address.removeprefix("dns:///"))
    elif not _KUBERNETES.fullmatch(address) and not _REDIS.fullmatch(address):
        raise InvalidArgument(f"address is {address[:100]!r}; {EXPECTED}")
    return address


def source_of(addresses: Sequence[str], redis_url: str) -> Source:
    """What finds the replicas at ``addresses``; ``redis_url``: where they register.

    Raises:
        InvalidArgument: an address has no form that is known, or Kubernetes is named and cannot be reached from here.
    """
    listed = [check(address) for address in addresses if ":///" not in address]
    sources = [_one(check(address), redis_url) for address in addresses if ":///" in address]
    if listed or not sources:
        sources.insert(0, Static(listed))
    return sources[0] if len(sources) == 1 else Several(sources)


def _one(address: str, redis_url: str) -> Source:
    if found := _KUBERNETES.fullmatch(address):
        try:
            from orchestrator.discovery.kubernetes import Kubernetes
        except ImportError:
            raise InvalidArgument(f"{address} needs the Kubernetes client: pip install 'tandem[kubernetes]'") from None
        return Kubernetes(found[1] or "", found[2], found[3])
    if found := _REDIS.fullmatch(address):
        return Registered(redis_url, found[1])
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    return Dns(host.strip("[]"), int(port))
