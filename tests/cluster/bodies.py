"""What runs in the place of a pod's container: the real service, on the pod's own loopback address.

Draft and verify have tables for models (`tests.faults.replica`). Everything else, arguments, environment, ports and
the service account's token, is what the pod says.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubernetes import client

from tests.faults.tables import make_words

MODEL_FLAGS = {"verify": "--target", "draft": "--draft", "orchestrator": "--tokenizer"}


@dataclass(frozen=True)
class Body:
    """A process to fork."""

    module: str
    argv: list[str]
    environ: dict[str, str]


class Bodies:
    """Tells for each pod what to fork."""

    def __init__(self, api: client.ApiClient, folder: Path) -> None:
        self._api = api
        self._folder = folder
        self._tokenizer = folder / "tokenizer"
        make_words(self._tokenizer)

    def of(self, pod: Any, ip: str) -> Body:
        """The body of a pod's one container."""
        (container,) = pod.spec.containers
        role = pod.metadata.labels["app.kubernetes.io/component"]
        environ = {one.name: one.value for one in container.env or () if one.value is not None}
        flags = [flag.replace("0.0.0.0", ip) for flag in container.args or ()]
        if role in MODEL_FLAGS:
            assert not any(flag.startswith(f"{MODEL_FLAGS[role]}=") for flag in flags), (
                "pods have the image's model here"
            )
            flags.append(f"{MODEL_FLAGS[role]}={self._tokenizer}")
        if not pod.spec.automount_service_account_token:
            return Body("tests.faults.replica", [role, pod.metadata.name, str(self._folder), *flags], environ)
        server = urlsplit(self._api.configuration.host)
        environ |= {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
        return Body("tests.cluster.account_body", [role, str(self._secrets(pod)), *flags], environ)

    def _secrets(self, pod: Any) -> Path:
        """What is mounted where pods look for the API: a token of the pod's own service account."""
        folder = self._folder / pod.metadata.name
        folder.mkdir()
        (folder / "namespace").write_text(pod.metadata.namespace)
        (folder / "token").write_text(token_of(self._api, pod.metadata.namespace, pod.spec.service_account_name))
        secrets = client.CoreV1Api(self._api).list_namespaced_secret(
            pod.metadata.namespace, field_selector="type=kubernetes.io/service-account-token"
        )
        (folder / "ca.crt").write_bytes(base64.b64decode(secrets.items[0].data["ca.crt"]))
        return folder


def token_of(api: client.ApiClient, namespace: str, service_account: str) -> str:
    """A token of a service account, as the kubelet asks for one."""
    request = {"spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600}}
    made = client.CoreV1Api(api).create_namespaced_service_account_token(service_account, namespace, request)
    return str(made.status.token)
