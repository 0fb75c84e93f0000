"""What deploy/ has for several machines, for compose and for kustomize: judged by their schemas and by csf24."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config import Config, load_config
from tests.builders.page_files import make_page_files
from tests.builders.programs import needs, path_of

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE, SETTINGS = DEPLOY / "compose.machines.yaml", DEPLOY / "compose" / "machines.toml"
OVERLAY = DEPLOY / "kubernetes" / "overlays" / "machines"
COMPOSED: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
PASSWORD = "/run/secrets/database/password"


@pytest.fixture(scope="module")
def built() -> list[dict[str, Any]]:
    """The objects as they reach the cluster."""
    kubectl = path_of("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, which builds them (kubectl kustomize)")
    done = subprocess.run([kubectl, "kustomize", str(OVERLAY)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [found for found in objects if found["kind"] == kind and found["metadata"]["name"] == name]
    return found


def variables(pod: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in pod["containers"][0].get("env", [])}


def configured(path: Path, folder: Path, settings: str, environment: dict[str, str]) -> Config:
    """A configuration with the places inside containers replaced by places here."""
    made = make_page_files(folder)
    password = folder / "password"
    password.write_text("p4ss")
    text = path.read_text()
    for place, here in (
        ("users/users", made.users), ("page_users", made.users), ("page/tls.crt", made.certificate),
        ("page_certificate", made.certificate), ("page/tls.key", made.key), ("page_key", made.key),
        ("database_password", password),
    ):  # fmt: skip
        text = text.replace(f'"/run/secrets/{place}"', f'"{here}"')
    text = text.replace('"/var/lib/csf24"', f'"{folder / settings}"')
    written = folder / f"{settings}.toml"
    written.write_text(text)
    return load_config(written, {key: value.replace(PASSWORD, str(password)) for key, value in environment.items()})


# Compose


def test_the_file_is_as_the_compose_specification_has_it() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_profile_and_is_closed_watched_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["profiles"] == [name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert ":" in service["image"] and not service["image"].endswith(":latest")
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in service["ports"]), "open unasked"
    for key, value in service["environment"].items():
        assert "PASSWORD" not in key or key.endswith("_FILE"), value


def test_listener_and_worker_share_all_but_role_and_name() -> None:
    listener, worker = SERVICES["listener"], SERVICES["worker"]
    assert listener["volumes"] == worker["volumes"]
    assert listener["hostname"] != worker["hostname"] and "${MACHINE" in listener["hostname"]
    environments = [dict(service["environment"]) for service in (listener, worker)]
    assert [environment.pop("CSF24_SERVICE__ROLES") for environment in environments] == ["listen", "work"]
    assert environments[0] == environments[1]
    secrets = COMPOSED["secrets"]
    script = (DEPLOY / "compose" / "secrets.sh").read_text()
    assert all(Path(secret["file"]).name in script for secret in secrets.values())
    assert set(secrets) == {name for service in SERVICES.values() for name in service["secrets"]}


@needs("openssl")
@pytest.mark.parametrize("name", ["listener", "worker"])
def test_csf24_takes_the_configuration_of_each(name: str, tmp_path: Path) -> None:
    environment = dict(SERVICES[name]["environment"])
    url = environment["CSF24_STORAGE__DATABASE"]
    environment["CSF24_STORAGE__DATABASE"] = url.replace("${DATABASE_HOST:-database}", "database")
    assert environment["CSF24_STORAGE__DATABASE"] != url and "database" in SERVICES
    config = configured(SETTINGS, tmp_path, "shared", environment)
    assert (config.service.listens, config.service.works) == (name == "listener", name == "worker")
    database = SERVICES["database"]["environment"]
    user, place = database["POSTGRES_USER"], database["POSTGRES_DB"]
    assert config.storage.ledger_url == f"postgresql+psycopg://{user}:p4ss@database/{place}"


# Kubernetes


def test_what_kustomize_builds_is_as_kubernetes_has_it(built: list[dict[str, Any]]) -> None:
    for found in built:
        kubernetes_validate.validate(found, "1.33", strict=True)


def test_listeners_and_workers_share_volume_and_database_and_differ_in_their_role(
    built: list[dict[str, Any]], tmp_path: Path
) -> None:
    shared = named(built, "PersistentVolumeClaim", "csf24-shared")
    assert shared["spec"]["accessModes"] == ["ReadWriteMany"]
    settings = next(found for found in built if found["metadata"]["name"].startswith("csf24-machines-"))
    for name, role, replicas in (("csf24-listener", "listen", 2), ("csf24", "work", 3)):
        stateful = named(built, "StatefulSet", name)["spec"]
        pod = stateful["template"]["spec"]
        assert stateful["replicas"] == replicas
        assert not stateful.get("volumeClaimTemplates")
        (data,) = [volume for volume in pod["volumes"] if volume["name"] == "data"]
        assert data["persistentVolumeClaim"]["claimName"] == "csf24-shared"
        container = pod["containers"][0]
        assert container["securityContext"]["readOnlyRootFilesystem"] and pod["securityContext"]["runAsNonRoot"]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {
            "/var/lib/csf24",
            "/run/secrets/database",
        }
        assert [source["configMapRef"]["name"] for source in container["envFrom"]] == [settings["metadata"]["name"]]
        ports = {port["name"] for port in container["ports"]}
        assert ports == ({"dicom", "page"} if role == "listen" else {"page"})
        folder = tmp_path / name
        folder.mkdir()
        if path_of("openssl"):
            base = DEPLOY / "kubernetes" / "base" / "csf24.toml"
            config = configured(base, folder, "data", {**settings["data"], **variables(pod)})
            assert config.service.roles == (role,)
            assert config.storage.ledger_url == "postgresql+psycopg://csf24:p4ss@csf24-database/csf24"


def test_labels_lead_dicom_to_listeners_alone_and_to_the_database_from_both(built: list[dict[str, Any]]) -> None:
    pods = {
        name: named(built, "StatefulSet", name)["spec"]["template"]["metadata"]["labels"]
        for name in ("csf24", "csf24-listener", "csf24-database")
    }

    def led_to(selector: dict[str, str]) -> set[str]:
        return {name for name, labels in pods.items() if selector.items() <= labels.items()}

    for name, wanted in (
        ("csf24-dicom", {"csf24-listener"}),
        ("csf24", {"csf24", "csf24-listener"}),
        ("csf24-database", {"csf24-database"}),
    ):
        assert led_to(named(built, "Service", name)["spec"]["selector"]) == wanted
    for name in pods:
        selector = named(built, "StatefulSet", name)["spec"]["selector"]["matchLabels"]
        assert led_to(selector) == {name}
    policy = named(built, "NetworkPolicy", "csf24-database")["spec"]["ingress"][0]["from"][0]
    assert led_to(policy["podSelector"]["matchLabels"]) == {"csf24", "csf24-listener"}
    rules = named(built, "NetworkPolicy", "csf24")["spec"]["egress"]
    assert any(led_to(to.get("podSelector", {}).get("matchLabels", {"": ""})) == {"csf24-database"}
               for rule in rules for to in rule["to"])  # fmt: skip
