"""deploy/compose.yaml and what it mounts, judged by the Compose specification, promtool, Orthanc and csf24 itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cases import CaseOutcome, CaseState
from service.config import Config, load_config
from service.network.peers import LocalEntity
from service.network.storage_scu import store
from tests.builders.network import outgoing, peer
from tests.builders.orthanc import Orthanc
from tests.builders.page_files import make_page_files
from tests.builders.patients import unpack_shipped
from tests.builders.programs import needs, required
from tests.builders.service_process import CALLING, ServiceProcess

DEPLOY = Path(__file__).parents[3] / "deploy"
FILES = DEPLOY / "compose.yaml", DEPLOY / "compose.gpu.yaml"
SETTINGS = DEPLOY / "compose"
SCANNER = "MRSCANNER"


def composed() -> dict[str, Any]:
    return yaml.safe_load(FILES[0].read_text())


SERVICES: dict[str, dict[str, Any]] = composed()["services"]
every_service = pytest.mark.parametrize("name", SERVICES)


def mounts() -> Iterator[tuple[str, str, str]]:
    """(service, file on the host, place in the container)."""
    for name, service in SERVICES.items():
        for volume in service["volumes"]:
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert mode == ["ro"]
                yield name, source, target


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_as_the_compose_specification_has_it(path: Path) -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@every_service
def test_a_service_is_closed_watched_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in service and "privileged" not in service and "network_mode" not in service
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert not service["image"].endswith(":latest") and ":" in service["image"]
    for port in service["ports"]:
        assert port.startswith(("${BIND_ADDRESS:-127.0.0.1}:", "127.0.0.1:")), "open to the network unasked"


def test_every_file_that_is_mounted_is_there() -> None:
    assert len(list(mounts())) >= 7
    for _, source, _ in mounts():
        assert (DEPLOY / source).exists(), source


def test_secrets_are_files_that_the_script_makes_and_git_ignores() -> None:
    script = (SETTINGS / "secrets.sh").read_text()
    for secret in composed()["secrets"].values():
        folder, file = Path(secret["file"]).parts
        assert folder == "secrets"
        assert re.search(rf"(>|-out |-keyout |page-users\.new ){re.escape(file)}\b", script), file
    assert "/deploy/secrets/" in (DEPLOY.parent / ".gitignore").read_text().splitlines()
    used = {name if isinstance(name, str) else name["source"] for s in SERVICES.values() for name in s["secrets"]}
    assert used == set(composed()["secrets"])
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or name.endswith("__FILE"), (name, value)


def test_the_gpu_s_file_changes_the_image_and_asks_for_a_device() -> None:
    changed = yaml.safe_load(FILES[1].read_text())["services"]
    assert set(changed) == {"csf24"}
    assert changed["csf24"]["build"]["target"] == "gpu"
    (device,) = changed["csf24"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def csf24_configuration(folder: Path) -> str:
    """compose/csf24.toml with the places inside the container replaced by places here."""
    made = make_page_files(folder)
    text = (SETTINGS / "csf24.toml").read_text()
    for there, here in (
        ("/run/secrets/page_users", made.users),
        ("/run/secrets/page_certificate", made.certificate),
        ("/run/secrets/page_key", made.key),
        ("/var/lib/csf24", folder / "csf24-data"),
    ):
        assert f'"{there}"' in text
        text = text.replace(f'"{there}"', json.dumps(str(here)))
    return text


@needs("openssl")
def test_csf24_takes_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "csf24.toml"
    path.write_text(csf24_configuration(tmp_path))
    config = load_config(path, {})
    assert (config.listener.host, config.status_page.host) == ("0.0.0.0", "0.0.0.0")
    assert (config.listener.port, config.status_page.port) == (Config().listener.port, Config().status_page.port)
    (destination,) = config.destinations
    orthanc = json.loads((SETTINGS / "orthanc.json").read_text())
    assert destination.host in SERVICES
    assert (destination.ae_title, destination.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    ours = orthanc["DicomModalities"]["csf24"]
    assert (ours["AET"], ours["Port"]) == (config.listener.ae_title, config.listener.port)
    assert ours["Host"] in SERVICES and ours["AllowStorageCommitment"]
    assert config.listener.calling_ae_titles == (orthanc["DicomAet"],)


@needs("promtool")
def test_prometheus_takes_its_configuration_and_finds_csf24_by_the_alerts_name(tmp_path: Path) -> None:
    places = {target: DEPLOY / source for name, source, target in mounts() if name == "prometheus"}
    text = (SETTINGS / "prometheus.yml").read_text()
    certificate = tmp_path / "page.pem"
    certificate.write_text("")
    for there, here in {**places, "/run/secrets/page_certificate": certificate}.items():
        text = text.replace(there, str(here))
    path = tmp_path / "prometheus.yml"
    path.write_text(text)
    done = subprocess.run(
        [required("promtool"), "check", "config", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 rules found" in done.stdout
    (job,) = yaml.safe_load(text)["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert job["scheme"] == "https"
    assert target.split(":")[0] in SERVICES and target.endswith(f":{Config().status_page.port}")
    assert f'up{{job="{job["job_name"]}"}}' in (DEPLOY / "csf24.alerts.yml").read_text()


@pytest.mark.slow
@needs("Orthanc")
@needs("openssl")
@pytest.mark.needs_orthanc
@pytest.mark.xdist_group("orthanc")
def test_a_patient_sent_to_orthanc_comes_back_to_it_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orthanc and csf24 with the files of compose, on loopback in place of the containers' network."""
    for name, value in SERVICES["orthanc"]["environment"].items():
        monkeypatch.setenv(name, value)
    places = {target: DEPLOY / source for name, source, target in mounts() if name == "orthanc"}
    options = json.loads((SETTINGS / "orthanc.json").read_text())
    options["LuaScripts"] = [str(places[script]) for script in options["LuaScripts"]]
    for place in ("StorageDirectory", "IndexDirectory", "TemporaryDirectory", "DicomPort", "AuthenticationEnabled"):
        del options[place]
    service = ServiceProcess(tmp_path)
    options["DicomModalities"]["csf24"] |= {"Host": "127.0.0.1", "Port": service.port}
    with Orthanc(options={**options, "StableAge": 3}) as orthanc:
        text = csf24_configuration(tmp_path)
        text = text.replace('host = "orthanc"\nport = 4242', f'host = "127.0.0.1"\nport = {orthanc.dicom_port}')
        text = text.replace("[listener]", f"[listener]\nport = {service.port}")
        text = text.replace('["ORTHANC"]', f'["ORTHANC", "{CALLING}"]')  # asks whether the service is up
        text = re.sub(r"\[status_page\](?s:.*?)\n\n", f"[status_page]\nport = {service.page_port}\n\n", text)
        service.config.write_text(text)
        with service:
            for series in unpack_shipped(tmp_path / "patient"):
                there = peer(orthanc.dicom_port, orthanc.ae_title)
                sent = store(there, LocalEntity(ae_title=SCANNER), outgoing(series))
                assert all(result.accepted for result in sent)
            (case,) = service.await_settled()
            assert (case.state, case.outcome) == (CaseState.DONE, CaseOutcome.PREDICTED)
            series = orthanc.json("series?expand")
            assert isinstance(series, list)
            found = [one["MainDicomTags"]["SeriesDescription"] for one in series]
            assert sum(text.startswith("PREDICTED 24 h") for text in found) == 1
