"""Builds the images, starts a node, installs the chart with its laptop values, and writes down what happened.

    python -m tests.cluster.node_proof --cluster COMMAND --node COMMAND [--out docs/install-log.md]

COMMAND of ``--cluster``: called with ``up FOLDER --nodes-real`` it starts a control plane and prints its kubeconfig,
with ``down FOLDER`` it ends it. COMMAND of ``--node``: called with ``up FOLDER ADDRESS IMAGE.tar…`` it starts a node of
that control plane that has these images, with ``down FOLDER`` it ends it. All of it runs in a network of its own, so
it needs root. The settings of ``docker/build`` hold for the images.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes import client, config

from tests.cluster.node_proof.addons import resolver_file, serve_api, serve_names
from tests.cluster.node_proof.transcript import Transcript

ROOT = Path(__file__).resolve().parents[3]
NODE_ADDRESS = "10.214.0.1"
NAMESPACE = "tandem"
IN_NETWORK = "TANDEM_TEST_NODE_PROOF_NETWORK"
PROMPT = "Schema: clients ( client_id , phone )\nQuestion: How many clients are there?\nSQL:"


def main() -> int:
    """All of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.node_proof", description=__doc__)
    parser.add_argument("--cluster", required=True, help="command that starts a control plane")
    parser.add_argument("--node", required=True, help="command that starts a node")
    parser.add_argument("--out", type=Path, help="where the log goes")
    parser.add_argument("--images", type=Path, help="folder with NAME.tar of each image; built if not given")
    given = parser.parse_args()
    if IN_NETWORK not in os.environ:
        images = given.images or built()
        again = [sys.executable, "-m", "tests.cluster.node_proof", *sys.argv[1:], "--images", str(images)]
        return subprocess.run(["unshare", "--net", "--mount", *again], env={**os.environ, IN_NETWORK: "1"}).returncode
    os.environ.setdefault("PY", sys.executable)  # what the commands' own helpers run on
    folder = Path(tempfile.mkdtemp(prefix="tandem-node-"))
    network(folder)
    cluster, node = given.cluster.split(), given.node.split()
    kubeconfig = subprocess.run(
        [*cluster, "up", str(folder), "--nodes-real"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    try:
        with config.new_client_from_config(kubeconfig) as api:
            server = urlsplit(api.configuration.host)
            serve_names(api, NODE_ADDRESS)
            serve_api(api, NODE_ADDRESS, (server.hostname or "", server.port or 443))
            subprocess.run(
                [*node, "up", str(folder), NODE_ADDRESS, *map(str, sorted(given.images.glob("*.tar")))], check=True
            )
            os.environ["KUBECONFIG"] = kubeconfig
            log = Transcript({str(ROOT) + "/": "", str(folder): "FOLDER"})
            try:
                prove(api, log)
            finally:
                if given.out:
                    log.write(given.out)
    finally:
        for command in (node, cluster):
            subprocess.run([*command, "down", str(folder)])
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def built() -> Path:
    """Builds the images of all roles, and of Redis, and packs them."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-images-"))
    subprocess.run([ROOT / "docker" / "build"], check=True)
    subprocess.run([ROOT / "tests" / "cluster" / "node_proof" / "pack", str(folder)], check=True)
    return folder


def network(folder: Path) -> None:
    """An address that pods reach, and a resolver file that names it."""
    for command in (
        "ip link set lo up",
        "ip link add node0 type veth peer name node1",
        "ip link set node1 up",
        f"ip address add {NODE_ADDRESS}/24 dev node0",
        "ip link set node0 up",
        "ip route add default dev node0",
    ):
        subprocess.run(command.split(), check=True)
    file = folder / "resolv.conf"
    file.write_text(resolver_file(NODE_ADDRESS, NAMESPACE))
    subprocess.run(["mount", "--bind", str(file), "/etc/resolv.conf"], check=True)


def prove(api: client.ApiClient, log: Transcript) -> None:
    """Installs, tests, calls and uninstalls."""
    log.say("# The chart on a node, from images to text")
    log.say(
        "What `python -m tests.cluster.node_proof` ran and saw: images built from `docker/Dockerfile`, a Kubernetes\n"
        "node with nothing but them, and the chart with the values of a laptop. Two processor cores, shared with the\n"
        "control plane and other work; the image of Redis is built from Debian's package, since no registry is asked."
    )
    log.run("kubectl", "get", "nodes")
    since = time.monotonic()
    log.run(
        *("helm", "install", "tandem", "helm/tandem", "--values", "helm/tandem/values-laptop.yaml"),
        *("--set", "image.registry=localhost,image.tag=dev,image.pullPolicy=Never"),
        *("--set", "redis.bundled.image=localhost/redis:dev"),
        *("--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"),
    )
    installed = time.monotonic() - since
    first = first_token(api)
    log.say(
        f"All pods were ready {installed:.0f} s after `helm install` had begun. From there to the first token of the\n"
        f"first text, asked for over HTTP at the Service: {first:.2f} s. **From install to first token:\n"
        f"{installed + first:.0f} s**."
    )
    log.run("kubectl", "--namespace", NAMESPACE, "get", "pods,services,endpointslices")
    log.run("helm", "test", "tandem", "--namespace", NAMESPACE, "--logs")
    log.run("helm", "uninstall", "tandem", "--namespace", NAMESPACE)
    log.run("kubectl", "delete", "namespace", NAMESPACE, "--timeout=90s")  # with the test's pod, which helm leaves


def first_token(api: client.ApiClient) -> float:
    """Seconds until the first text came over HTTP from the Service, as a client in the cluster calls it."""
    service = client.CoreV1Api(api).read_namespaced_service("tandem-orchestrator", NAMESPACE)
    body = {"prompt": PROMPT, "seed": 1, "stream": True}
    request = urllib.request.Request(
        f"http://{service.spec.cluster_ip}:8080/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    since = time.monotonic()
    with urllib.request.urlopen(request, timeout=30) as answer:
        for line in answer:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["text"]:
                return time.monotonic() - since
    raise SystemExit("no text came")


if __name__ == "__main__":
    sys.exit(main())
