"""The pods behind a service, by its EndpointSlices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import kubernetes.client

from orchestrator.discovery.cluster import namespace_here, reach
from orchestrator.discovery.listing import Listing, Objects
from orchestrator.discovery.source import Endpoints, Standing, Tell


class Kubernetes:
    """Replicas by the EndpointSlices of a service, without the service's own address between: one channel a pod.

    Whether a pod is *ready* is not looked at. The replica says so itself in Describe, sooner and more truly than its
    probes do, and sessions stay with one whose probe failed once: their KV is there. *terminating* is looked at: it
    comes with the pod's SIGTERM, or before.
    """

    def __init__(self, namespace: str, service: str, port: str) -> None:
        """``namespace``: empty for that of this pod, or of the kubeconfig. ``port``: a number, or the port's name.

        Raises:
            InvalidArgument: this is no pod with a service account, and there is no kubeconfig.
        """
        self.name = f"kubernetes:///{namespace}{'/' if namespace else ''}{service}:{port}"
        self._service, self._port = service, port
        self._list = partial(
            kubernetes.client.DiscoveryV1Api(reach()).list_namespaced_endpoint_slice,
            namespace or namespace_here(),
            label_selector=f"kubernetes.io/service-name={service}",
        )
        self._listing: Listing | None = None
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Of the API server, or of the service."""
        return (self._listing.trouble if self._listing is not None else "") or self._trouble

    async def follow(self, tell: Tell) -> None:
        """Tells whenever a slice changes."""
        loop = asyncio.get_running_loop()

        def heard(slices: Objects) -> None:
            endpoints = self._endpoints(list(slices.values()))
            try:
                loop.call_soon_threadsafe(tell, endpoints)
            except RuntimeError:
                listing.stop()  # the loop has ended

        listing = self._listing = Listing(f"endpointslices of {self._service}", self._list, heard)
        listing.start()
        try:
            await loop.create_future()
        finally:
            listing.stop()

    def _endpoints(self, slices: Iterable[Mapping[str, Any]]) -> Endpoints:
        filled = [one for one in slices if one.get("endpoints")]
        families = {one["addressType"] for one in filled}
        found: dict[str, Standing] = {}
        ports_seen: set[str] = set()
        for one in filled:
            # A pod of two families stands in slices of both: it is one replica all the same.
            if one["addressType"] != ("IPv4" if "IPv4" in families else "IPv6"):
                continue
            ports_seen |= {str(port.get("name") or port.get("port")) for port in one.get("ports") or ()}
            port = self._port_in(one)
            if port is None:
                continue
            for endpoint in one["endpoints"]:
                ip = endpoint["addresses"][0]
                address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
                terminating = bool((endpoint.get("conditions") or {}).get("terminating"))
                # While a pod moves from slice to slice it may stand in both, and nobody comes back from the end.
                if terminating or address not in found:
                    found[address] = "terminating" if terminating else "serving"
        self._trouble = ""
        if filled and not found:
            named = ", ".join(sorted(ports_seen)) or "none"
            self._trouble = f"the service has no port {self._port}, but {named}"
        return found

    def _port_in(self, one: Mapping[str, Any]) -> int | None:
        if self._port.isdecimal():
            return int(self._port)
        return next((port["port"] for port in one.get("ports") or () if port.get("name") == self._port), None)
