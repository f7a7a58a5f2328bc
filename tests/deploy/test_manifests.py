"""The manifests against Kubernetes' own schemas, and against the service that they start."""

import re
import shutil
import subprocess
import warnings
from typing import Any

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import kubernetes_validate

from service.cluster.options import Options
from service.setting_sources import ENV_PREFIX
from service.settings import Settings, load_settings
from tests.deploy.manifests import DEPLOY, KUBERNETES, ROOT, documents, manifests, only, pod_containers

VERSION = "1.34"
CUSTOM = {
    "ScaledObject": "keda.sh/v1alpha1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "ServingRuntime": "serving.kserve.io/v1alpha1",
    "InferenceService": "serving.kserve.io/v1beta1",
    "InferencePool": "inference.networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
}
NAME = {"app.kubernetes.io/name": "gemmule"}
ALL = dict(manifests())


@pytest.mark.parametrize("name", ALL)
def test_it_is_what_its_schema_says(name: str) -> None:
    """Custom resources have no schema in Kubernetes: theirs are the versions that their projects serve."""
    document = ALL[name]
    if document["kind"] in CUSTOM:
        assert document["apiVersion"] == CUSTOM[document["kind"]]
        assert document["metadata"]["name"] == "gemmule"
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_validator_finds_a_wrong_field() -> None:
    document = {**only("PodDisruptionBudget"), "spec": {"maxUnavailableX": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_a_kustomization_names_what_is_there(path: Any) -> None:
    (document,) = documents(path)
    listed = {(path.parent / resource).resolve() for resource in document["resources"]}
    assert all(resource.exists() for resource in listed)
    own = {other for other in path.parent.glob("*.yaml") if other != path}
    assert own <= listed, "a file that nobody applies"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
@pytest.mark.parametrize("folder", sorted(path.parent.name for path in KUBERNETES.rglob("kustomization.yaml")))
def test_it_renders(folder: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_everything_selects_the_pods() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        only("Deployment")["spec"]["selector"]["matchLabels"],
        only("Service")["spec"]["selector"],
        only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        only("InferencePool", "gateway")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector == NAME
        assert selector.items() <= labels.items()
    monitored = only("ServiceMonitor", "monitoring")["spec"]["selector"]["matchLabels"]
    (base,) = documents(KUBERNETES / "base" / "kustomization.yaml")
    assert monitored.items() <= base["labels"][0]["pairs"].items(), "kustomize labels the Service"


@pytest.mark.parametrize(("name", "container"), list(pod_containers()), ids=[name for name, _ in pod_containers()])
def test_a_pod_is_hardened_probed_and_drained(name: str, container: dict[str, Any]) -> None:
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live", "a drain must not be a death"
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 120
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    assert container["resources"]["requests"] == container["resources"]["limits"], (
        "guaranteed, so that CPUs are its own"
    )
    assert float(container["resources"]["limits"]["cpu"]).is_integer()


def test_a_drain_fits_into_the_grace() -> None:
    pod = only("Deployment")["spec"]["template"]["spec"]
    drain_s = float(only("ConfigMap")["data"]["GEMMULE_DRAIN_S"])
    pre_stop_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pre_stop_s + drain_s + 5 <= pod["terminationGracePeriodSeconds"]
    unit = (DEPLOY / "systemd" / "gemmule@.service").read_text()
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(stop_s) > Settings().drain_s
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    assert int(compose["services"]["gemmule"]["stop_grace_period"].removesuffix("s")) > Settings().drain_s


def test_settings_are_known() -> None:
    load_settings({}, only("ConfigMap")["data"])
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    environment = compose["services"]["gemmule"]["environment"]
    given = {name: value for name, value in environment.items() if not value.startswith("$")}
    load_settings({}, given)
    unit = (DEPLOY / "systemd" / "gemmule@.service").read_text()
    for name in {*environment, *re.findall(rf"{ENV_PREFIX}[A-Z_]+", unit)}:
        assert name.removeprefix(ENV_PREFIX).lower() in Settings.model_fields


def test_a_rollout_keeps_the_replicas_that_the_budget_wants() -> None:
    deployment = only("Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert only("PodDisruptionBudget")["spec"]["maxUnavailable"] < deployment["replicas"]
    assert only("HorizontalPodAutoscaler")["spec"]["minReplicas"] == deployment["replicas"]


def test_metrics_that_are_asked_for_exist() -> None:
    """In the picker's flags, the HPA, KEDA's query."""
    series = (ROOT / "service" / "metrics" / "engine_metrics.py").read_text()
    asked = {
        name
        for path in (KUBERNETES / "base" / "autoscaler.yaml", *KUBERNETES.glob("keda/*"), *KUBERNETES.glob("gateway/*"))
        for name in re.findall(r"gemmule_[a-z_]+", path.read_text())
    }
    assert asked == {"gemmule_requests_waiting", "gemmule_kv_usage_ratio"}
    assert all(f'"{name}"' in series for name in asked)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Any) -> None:
    """Of one node; that the programs are not installed on this machine is all it may say."""
    unit = tmp_path / "gemmule@0.service"
    shutil.copy(DEPLOY / "systemd" / "gemmule@.service", unit)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if unit.name in line or "gemmule@" in line]
    assert all("is not executable" in line for line in said), done.stderr


def test_ray_is_asked_for_what_there_is() -> None:
    (serve,) = documents(DEPLOY / "ray" / "serve.yaml")
    (service,) = documents(DEPLOY / "ray" / "rayservice.yaml")
    for described in (serve, yaml.safe_load(service["spec"]["serveConfigV2"])):
        (application,) = described["applications"]
        module, _, name = application["import_path"].partition(":")
        assert f"def {name}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()
        options = Options.model_validate(application["args"])
        load_settings({}, {f"{ENV_PREFIX}{key.upper()}": str(value) for key, value in options.settings.items()})
    group = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert int(group["rayStartParams"]["num-cpus"]) == options.threads, "a replica a node"
    assert group["maxReplicas"] >= options.max_replicas


def test_compose_mounts_what_is_there() -> None:
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    services = compose["services"]
    assert services["gemmule"]["read_only"] is True
    assert "../prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]
    (prometheus,) = documents(DEPLOY / "prometheus" / "prometheus.yml")
    assert prometheus["rule_files"] == ["rules/*.yml"]
    targets = [
        target for job in prometheus["scrape_configs"] for one in job["static_configs"] for target in one["targets"]
    ]
    assert targets == ["gemmule:8080"]
    (provider,) = documents(DEPLOY / "compose" / "grafana" / "provisioning" / "dashboards" / "gemmule.yaml")
    folder = provider["providers"][0]["options"]["path"]
    assert f"../grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in services["grafana"]["volumes"]
