"""deploy/kubernetes, as kustomize builds it, judged by Kubernetes' own schemas and by csf24."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config import Config, load_config
from service.monitoring.guard import FOR_MACHINES
from tests.builders.page_files import make_page_files
from tests.builders.programs import needs, path_of

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
BASE, GPU = FOLDER / "base", FOLDER / "overlays" / "gpu"
OLDEST, NEWEST = "1.27", "1.33"
"""The first has what the volume claims' retention needs switched on."""


def written() -> Iterator[dict[str, Any]]:
    """The objects as they stand in the files."""
    for path in sorted(BASE.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


@pytest.fixture(params=[BASE, GPU], ids=["base", "gpu"])
def built(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The objects as they reach the cluster."""
    kubectl = path_of("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, which builds them (kubectl kustomize)")
    done = subprocess.run([kubectl, "kustomize", str(request.param)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [found for found in objects if found["kind"] == kind]
    return found


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return one(objects, "StatefulSet")["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_as_kubernetes_has_it(version: str) -> None:
    for found in written():
        kubernetes_validate.validate(found, version, strict=True)


def test_what_kustomize_builds_is_too(built: list[dict[str, Any]]) -> None:
    assert len(built) == len(list(written())) + 1  # the configuration
    for found in built:
        kubernetes_validate.validate(found, NEWEST, strict=True)


def test_a_schema_would_find_a_wrong_key() -> None:
    found = next(found for found in written() if found["kind"] == "NetworkPolicy")
    found["spec"]["ingres"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, NEWEST, strict=True)


def test_the_pod_is_restricted_as_pod_security_standards_have_it(built: list[dict[str, Any]]) -> None:
    assert one(built, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pod(built)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"}
    assert spec["automountServiceAccountToken"] is False


def test_labels_lead_from_services_and_policy_to_the_one_pod(built: list[dict[str, Any]]) -> None:
    stateful = one(built, "StatefulSet")["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    services = [found for found in built if found["kind"] == "Service"]
    selectors = [service["spec"]["selector"] for service in services]
    selectors += [
        stateful["selector"]["matchLabels"],
        one(built, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert len(selectors) == 4
    for selector in selectors:
        assert selector and selector.items() <= labels.items()
    assert stateful["replicas"] == 1
    assert stateful["serviceName"] in {service["metadata"]["name"] for service in services}


def test_ports_and_probes_are_those_of_the_configuration(built: list[dict[str, Any]]) -> None:
    (container,) = pod(built)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"dicom": Config().listener.port, "page": Config().status_page.port}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[name]["httpGet"]
        assert asked["path"] in FOR_MACHINES
        assert (asked["port"], asked["scheme"]) == ("page", "HTTPS")
    offered = {port["targetPort"] for found in built if found["kind"] == "Service" for port in found["spec"]["ports"]}
    admitted = {port["port"] for rule in one(built, "NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]}
    assert offered == admitted == set(ports)


@needs("openssl")
def test_csf24_takes_its_configuration_and_finds_what_is_mounted(tmp_path: Path) -> None:
    text = (BASE / "csf24.toml").read_text()
    spec = pod([found for found in written() if found["kind"] == "StatefulSet"])
    places = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    made = make_page_files(tmp_path)
    for named, file in (
        ("/run/secrets/users/users", made.users),
        ("/run/secrets/page/tls.crt", made.certificate),
        ("/run/secrets/page/tls.key", made.key),
        ("/var/lib/csf24", tmp_path / "csf24-data"),
    ):
        assert any(named.startswith(place) for place in places)
        assert f'"{named}"' in text
        text = text.replace(f'"{named}"', f'"{file}"')
    path = tmp_path / "csf24.toml"
    path.write_text(text)
    config = load_config(path, {})
    (rule,) = [
        rule for rule in one(list(written()), "NetworkPolicy")["spec"]["egress"] if rule["ports"][0]["port"] != 53
    ]
    assert [port["port"] for port in rule["ports"]] == [destination.port for destination in config.destinations]


def test_the_gpu_s_overlay_changes_image_and_node_alone(built: list[dict[str, Any]]) -> None:
    (container,) = pod(built)["containers"]
    asks = "nvidia.com/gpu" in container["resources"]["limits"]
    assert container["image"] == ("csf24:gpu" if asks else "csf24:cpu")
    assert ("nodeSelector" in pod(built)) == asks
    assert container["resources"]["limits"]["memory"] == "6Gi"
