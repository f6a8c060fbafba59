"""How this process reaches the Kubernetes API: as the pod that it is, else as whoever runs it."""

from __future__ import annotations

import os
from pathlib import Path

import kubernetes.client
import kubernetes.config

from tandem.errors import InvalidArgument

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def reach() -> kubernetes.client.ApiClient:
    """A client by the pod's service account, whose token it reads again when it changes; else by the kubeconfig.

    Raises:
        InvalidArgument: there is neither.
    """
    # Not the library's default object, which is one for the process: its retries would hide what goes wrong.
    configuration = kubernetes.client.Configuration()
    try:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    except kubernetes.config.ConfigException as inside:
        try:
            kubernetes.config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except (kubernetes.config.ConfigException, OSError) as outside:
            raise InvalidArgument(
                f"Kubernetes cannot be reached: neither a pod's service account ({inside}) nor a kubeconfig ({outside})"
            ) from None
    configuration.retries = False
    return kubernetes.client.ApiClient(configuration)


def namespace_here() -> str:
    """The namespace of this pod, else of the kubeconfig's context, else ``default``."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        pass
    try:
        _, active = kubernetes.config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    except (kubernetes.config.ConfigException, OSError):
        return "default"
    return str(active["context"].get("namespace") or "default")
