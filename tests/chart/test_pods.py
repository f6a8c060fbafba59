"""What runs in the pods: the services understand it, it is as restricted as can be, and it ends in order."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main

from draft_service.settings import DraftSettings
from orchestrator.settings import OrchestratorSettings
from tandem.cli.main import app
from tandem.fetching import COMPLETE
from tandem.rpc.server import DRAIN_SECONDS, STOP_SECONDS
from tandem.settings import ServiceSettings
from tests.chart.rendering import CASES, Object, merged, of_kind, pods, render_with_helm_4, rendered, values_of
from verify_service.settings import VerifySettings

ROLES: dict[str, type[ServiceSettings]] = {
    "orchestrator": OrchestratorSettings,
    "draft": DraftSettings,
    "verify": VerifySettings,
}
ALL = [(case, name) for case in CASES for name in pods(case)]
SERVICES = [(case, name) for case, name in ALL if name in ROLES]

SELECTOR = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component")


def container(case: str, name: str) -> Object:
    """The container of a pod that does what the pod is for."""
    found: Object = pods(case)[name]["spec"]["containers"][0]
    return found


def environment(made: Object) -> dict[str, str]:
    """A container's variables; those from secrets and resources with a value that fits."""
    given = {"TANDEM_ORCHESTRATOR_REDIS_URL": "redis://there:6379/0", "HF_TOKEN": "hf_token"}
    return {one["name"]: str(one.get("value", given.get(one["name"], "2"))) for one in made.get("env", [])}


def settings(case: str, role: str) -> Any:
    """A service's settings as it reads them in its pod."""
    made = container(case, role)
    return ROLES[role].load(made["args"], environment(made))


@pytest.mark.parametrize(("case", "role"), SERVICES)
def test_services_understand_their_flags_and_variables(case: str, role: str) -> None:
    read = settings(case, role)
    ports = {port["name"]: port["containerPort"] for port in container(case, role)["ports"]}
    expected = {"grpc": read.port, "metrics": read.metrics_port}
    assert ports == (expected | {"http": read.http_port} if role == "orchestrator" else expected)
    assert read.host == "0.0.0.0"
    mounted = [mount["mountPath"] for mount in container(case, role)["volumeMounts"]]
    for path in (value for name, value in read if name in FILES and value not in (None, "")):
        assert any(str(path).startswith(f"{folder}/") for folder in mounted), path


FILES = {
    "tls_cert",
    "tls_key",
    "tls_ca",
    "public_tls_cert",
    "public_tls_key",
    "api_keys",
    "jwt_keys",
    "target",
    "draft",
}
FILES -= {"draft"}  # of an orchestrator, addresses


def test_values_come_through_as_settings() -> None:
    assert not settings("settings", "orchestrator").playground
    assert settings("settings", "orchestrator").session_ttl == 2000000
    assert settings("settings", "orchestrator").threshold == 0.3
    assert settings("settings", "verify").kv_blocks == 3000000
    assert settings("settings", "verify").threads == 2  # its limit of processors
    assert settings("settings", "draft").dtype == "float32"
    assert settings("two-pools", "verify").parallelism == 4
    assert settings("secrets", "verify").tls_name == "tandem.internal"
    assert settings("secrets", "orchestrator").jwt_issuer == "https://id.example.com"


def test_models_are_where_the_job_puts_them() -> None:
    jobs = {name: pod["spec"]["containers"][0] for name, pod in pods("two-pools").items() if "-fetch-" in name}
    into = {job["args"][0]: job["args"][1].removeprefix("--into=") for job in jobs.values()}
    assert settings("two-pools", "verify").target == into["meta-llama/Llama-3.1-70B-Instruct"]
    assert settings("two-pools", "orchestrator").tokenizer == settings("two-pools", "verify").target
    assert settings("two-pools", "draft").draft == into["meta-llama/Llama-3.2-1B-Instruct"]
    for pod in (pods("two-pools")[role] for role in ROLES):
        (wait,) = pod["spec"]["initContainers"]
        (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "models"]
        assert wait["args"][-1] in into.values()
        assert f'"$0/{COMPLETE}"' in wait["args"][0]
        assert volume["persistentVolumeClaim"] == {"claimName": "t-tandem-models", "readOnly": True}


def test_jobs_call_tandem_fetch_as_it_is() -> None:
    command = typer.main.get_command(app).commands["fetch"]  # type: ignore[attr-defined]
    for name, pod in pods("all-components").items():
        if "-fetch-" in name:
            made = pod["spec"]["containers"][0]
            assert made["command"] == ["tandem", "fetch"]
            read = command.make_context("fetch", list(made["args"])).params
            assert read["model"] == "owner/draft"
            assert str(read["into"]) == settings("all-components", "draft").draft
            assert read["revision"] == "v1/a"
            assert "@v1--a" in str(read["into"])


def test_a_model_of_ones_own_volume() -> None:
    assert settings("own-volume", "verify").target == "/var/lib/tandem/models/llama/8b"
    assert settings("own-volume", "orchestrator").tokenizer == "/var/lib/tandem/models/llama/8b"
    assert not of_kind("own-volume", "Job", "PersistentVolumeClaim")


def test_orchestrators_are_told_of_the_pools() -> None:
    def addresses(case: str) -> tuple[Any, Any]:
        return settings(case, "orchestrator").verify, settings(case, "orchestrator").draft

    verify, draft = "kubernetes:///t-tandem-verify:grpc", "kubernetes:///t-tandem-draft:grpc"
    assert addresses("laptop") == ((verify,), (draft,))
    assert addresses("no-drafting") == ((verify,), ())
    assert addresses("other-replicas-too") == ((verify, "kubernetes:///newer-tandem-verify:grpc"), (draft,))
    headless = {one["metadata"]["name"]: one["spec"] for one in of_kind("laptop", "Service")}
    for name in ("t-tandem-verify", "t-tandem-draft", "t-tandem-orchestrators"):
        assert headless[name]["clusterIP"] == "None"
        assert {"name": "grpc", "port": 7070}.items() <= headless[name]["ports"][0].items()


@pytest.mark.parametrize(("case", "role"), SERVICES)
def test_life_cycle(case: str, role: str) -> None:
    made = container(case, role)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert made[probe]["httpGet"]["port"] == "metrics"  # plain HTTP, whatever TLS the other ports speak
    assert made["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert made["readinessProbe"]["httpGet"]["path"] == "/readyz"
    if role == "orchestrator":  # its readiness depends on others, which must never have it started anew
        assert made["startupProbe"]["httpGet"]["path"] == "/healthz"
    pause = int(made["lifecycle"]["preStop"]["exec"]["command"][1]) if "lifecycle" in made else 0
    drain = settings(case, role).drain_timeout + DRAIN_SECONDS / 2 if role == "orchestrator" else DRAIN_SECONDS
    assert pods(case)[role]["spec"]["terminationGracePeriodSeconds"] >= pause + drain + STOP_SECONDS + 5


def test_pods_load_as_long_as_they_may() -> None:
    probe = container("two-pools", "verify")["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 1800


@pytest.mark.parametrize(("case", "name"), ALL)
def test_pods_are_restricted(case: str, name: str) -> None:
    """Pod Security "restricted", and a root that cannot be written to."""
    spec = pods(case)[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["enableServiceLinks"] is False  # Service variables begin with TANDEM_ where a Service does
    assert spec["automountServiceAccountToken"] is (name in ("orchestrator", "annotator"))
    for made in [*spec["containers"], *spec.get("initContainers", [])]:
        assert made["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert made["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in made["resources"]["limits"]
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "secret", "persistentVolumeClaim"}


@pytest.mark.parametrize(("case", "name"), ALL)
def test_what_is_mounted_is_there_and_what_is_there_is_mounted(case: str, name: str) -> None:
    spec = pods(case)[name]["spec"]
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    mounts = {mount["name"] for made in containers for mount in made["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_the_pods_of_their_component_and_no_others(case: str) -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(case).items()}
    for found in of_kind(case, "Deployment", "Service", "PodDisruptionBudget"):
        selector = found["spec"]["selector"].get("matchLabels", found["spec"]["selector"])
        assert tuple(selector) == SELECTOR
        matched = [name for name, own in labels.items() if selector.items() <= own.items()]
        assert matched == [found["metadata"]["labels"]["app.kubernetes.io/component"]]
    for found in of_kind(case, "Service"):
        (component,) = {found["spec"]["selector"]["app.kubernetes.io/component"]}
        names = {port["name"] for port in pods(case)[component]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in found["spec"]["ports"]} <= names


@pytest.mark.parametrize("case", CASES)
def test_roles_say_the_least_and_are_bound_to_the_pods_accounts(case: str) -> None:
    may = {found["metadata"]["name"]: found["rules"] for found in of_kind(case, "Role")}
    expected = {
        "t-tandem-orchestrator": [
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": ["get", "list", "watch"],
            }
        ],
        "t-tandem-annotator": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]}],
    }
    assert may.items() <= expected.items()
    assert not of_kind(case, "ClusterRole", "ClusterRoleBinding")
    bound = {one["roleRef"]["name"]: one["subjects"][0]["name"] for one in of_kind(case, "RoleBinding")}
    assert bound.keys() == may.keys()
    for role, account in bound.items():
        assert pods(case)[role.removeprefix("t-tandem-")]["spec"]["serviceAccountName"] == account
    accounts = {found["metadata"]["name"] for found in of_kind(case, "ServiceAccount")}
    for name, pod in pods(case).items():
        if name != "test" and "-fetch-" not in name:  # who have no token and need no name
            assert pod["spec"]["serviceAccountName"] in accounts


def test_gpus() -> None:
    assert container("two-pools", "verify")["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert container("two-pools", "draft")["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "/dev/shm" in {mount["mountPath"] for mount in container("two-pools", "verify")["volumeMounts"]}
    assert "nvidia.com/gpu" not in container("laptop", "verify")["resources"]["limits"]
    deployments = {found["metadata"]["name"]: found["spec"] for found in of_kind("one-gpu-node", "Deployment")}
    rolling = deployments["t-tandem-verify"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": 1, "maxSurge": 0}  # no GPU is left for one more


def test_replicas_are_said_only_where_nothing_scales_them() -> None:
    for case in ("laptop", "hpa", "keda"):
        scaled = {
            found["spec"]["scaleTargetRef"]["name"]
            for found in of_kind(case, "HorizontalPodAutoscaler", "ScaledObject")
        }
        for found in of_kind(case, "Deployment"):
            assert ("replicas" in found["spec"]) is (found["metadata"]["name"] not in scaled)
    (draft,) = [one for one in of_kind("none-drafting-yet", "Deployment") if one["metadata"]["name"].endswith("-draft")]
    assert draft["spec"]["replicas"] == 0


def test_secrets_that_pods_name_are_given_or_made() -> None:
    """Names that no value has come from cert-manager's certificates."""
    for case in CASES:
        made = {found["spec"]["secretName"] for found in of_kind(case, "Certificate")}
        for pod in pods(case).values():
            named = {one["secret"]["secretName"] for one in pod["spec"]["volumes"] if "secret" in one}
            assert {name for name in named if name.startswith("t-tandem-")} <= made


def test_certificates_carry_the_name_that_services_ask_for() -> None:
    names = {found["metadata"]["name"]: found["spec"]["dnsNames"] for found in of_kind("certificates", "Certificate")}
    assert settings("certificates", "draft").tls_name in names["t-tandem-services"]
    assert {"t-tandem-orchestrator", "llm.example.com"} <= set(names["t-tandem-public"])


def test_the_test_generates_through_the_api() -> None:
    (pod,) = of_kind("certificates", "Pod")
    args = pod["spec"]["containers"][0]["args"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert {"--address=t-tandem-orchestrator:7070", "--api-key-file=/etc/tandem/api-key/key"} <= set(args)
    assert "--tls-ca=/etc/tandem/public-tls/ca.crt" in args
    command = typer.main.get_command(app).commands["generate"]  # type: ignore[attr-defined]
    assert command.make_context("generate", list(args)).params["prompt"].endswith("\nSQL:")
    assert not [found for found in rendered("replicas-alone") if found["kind"] == "Pod"]


def test_jobs_are_new_ones_where_anything_about_them_changed() -> None:
    """Kubernetes refuses to change a Job, and would fail the upgrade."""

    def jobs(**changes: Any) -> dict[str, Object]:
        made = render_with_helm_4(merged(values_of("two-pools"), changes))
        return {one["metadata"]["name"]: one["spec"]["template"] for one in made if one["kind"] == "Job"}

    before = jobs()
    assert len(before) == 2
    for changes in ({"orchestrator": {"image": {"tag": "next"}}}, {"modelCache": {"tokenSecret": "another"}}):
        after = jobs(**changes)
        assert len(after) == 2
        assert not before.keys() & after.keys()
    same = jobs(orchestrator={"settings": {"maxSessions": 5}})
    assert same == before


def test_spread() -> None:
    def constraints(case: str, role: str) -> dict[str, str]:
        spec = pods(case)[role]["spec"]
        return {one["topologyKey"]: one["whenUnsatisfiable"] for one in spec["topologySpreadConstraints"]}

    host, zone = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
    assert constraints("two-pools", "orchestrator") == {host: "DoNotSchedule", zone: "ScheduleAnyway"}
    assert constraints("two-pools", "verify") == {host: "ScheduleAnyway", zone: "ScheduleAnyway"}
