"""What a cluster has beside its control plane and a bare node has not: names of Services, and the API behind its own.

Both are asked by pods, on the node's address: port 53 answers names of Services from the API, and `API_PORT` leads to
the API server, as the endpoint of the Service `kubernetes`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from dnslib import QTYPE, RR, A
from dnslib.server import DNSLogger, DNSServer
from kubernetes import client

DOMAIN = "svc.cluster.local"
API_PORT = 6443


def resolver_file(address: str, namespace: str) -> str:
    """What the node's pods find in /etc/resolv.conf."""
    return f"nameserver {address}\nsearch {namespace}.{DOMAIN} {DOMAIN} cluster.local\noptions ndots:5\n"


def serve_names(api: client.ApiClient, address: str) -> None:
    """Answers for Services, headless ones by their ready endpoints, and for nodes, until the process ends."""
    DNSServer(_Names(client.CoreV1Api(api)), address=address, port=53, logger=DNSLogger("error")).start_thread()


class _Names:
    def __init__(self, core: client.CoreV1Api) -> None:
        self._core = core

    def resolve(self, request: Any, _: Any) -> Any:
        """Answers one question."""
        reply = request.reply()
        name = str(request.q.qname).rstrip(".")
        addresses = self._addresses(name)
        if addresses is None:
            reply.header.rcode = 3  # no such name
        elif request.q.qtype == QTYPE.A:
            for address in addresses:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=1))
        return reply

    def _addresses(self, name: str) -> list[str] | None:
        service, _, rest = name.partition(".")
        namespace, _, domain = rest.partition(".")
        try:
            if not rest:  # the API server asks for the node whose logs it is to show
                return [one.address for one in self._core.read_node(name).status.addresses if one.type == "InternalIP"]
            if domain != DOMAIN:
                return None
            found = self._core.read_namespaced_service(service, namespace)
            if found.spec.cluster_ip != "None":
                return [found.spec.cluster_ip]
            endpoints = self._core.read_namespaced_endpoints(service, namespace)
        except client.ApiException:
            return None
        return [one.ip for subset in endpoints.subsets or () for one in subset.addresses or ()]


def serve_api(api: client.ApiClient, address: str, server: tuple[str, int]) -> None:
    """Leads the Service `kubernetes` to the API server, until the process ends."""
    listener = socket.create_server((address, API_PORT))
    threading.Thread(target=_forward_all, args=(listener, server), daemon=True).start()
    endpoints = {
        "metadata": {"name": "kubernetes"},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": API_PORT}]}],
    }
    core = client.CoreV1Api(api)
    try:
        core.create_namespaced_endpoints("default", endpoints)
    except client.ApiException as error:
        if error.status != 409:
            raise
        core.replace_namespaced_endpoints("kubernetes", "default", endpoints)


def _forward_all(listener: socket.socket, server: tuple[str, int]) -> None:
    while True:
        caller, _ = listener.accept()
        called = socket.create_connection(server)
        for source, target in ((caller, called), (called, caller)):
            threading.Thread(target=_forward, args=(source, target), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
