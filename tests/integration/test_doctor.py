"""csf24 doctor against real ports, peers, certificates and model files: what an installer gets wrong, one by one."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from service.doctor import examine, render
from service.finding import Finding
from service.inference.onnx import bundled_models_path
from service.monitoring.role import Role
from service.monitoring.server import StatusServer, TlsFiles
from service.monitoring.users_file import set_user
from service.network import tls
from service.network.listener import Listener
from service.network.storage_scp import storage_listener
from tests.builders.network import LOOPBACK, Certificates, Inbox, make_certificates, scripted_peer, settings
from tests.builders.orthanc import Modality, Orthanc
from tests.builders.programs import free_ports, needs, required
from tests.builders.service_process import csf24
from tests.builders.status import snapshot

INSTALLED = bundled_models_path()
DEFAULT = max(INSTALLED.glob("volume3d-*"))


@dataclass(kw_only=True)
class Site:
    """A configuration to be examined; sections are TOML, by name."""

    root: Path
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    sections: dict[str, str] = field(default_factory=dict)
    destinations: str = ""

    @property
    def data(self) -> Path:
        return self.root / "csf24-data"

    def config(self) -> Path:
        port, page_port = self.ports
        given = {
            "listener": f"port = {port}\n",
            "status_page": f"port = {page_port}\n",
            "storage": f'directory = "{self.data}"\nmin_free_mb = 1\n',
        }
        for name, text in self.sections.items():
            given[name] = given.get(name, "") + text
        path = self.root / "csf24.toml"
        path.write_text("".join(f"[{name}]\n{text}\n" for name, text in given.items()) + self.destinations)
        return path

    def examine(self) -> dict[str, list[Finding]]:
        """Findings by subject."""
        found: dict[str, list[Finding]] = {}
        for finding in examine(self.config(), {}, phantom=False):
            found.setdefault(finding.subject, []).append(finding)
        return found

    def failed(self) -> list[tuple[str, str]]:
        """(subject, text) of what failed."""
        return [(f.subject, f.text) for group in self.examine().values() for f in group if f.failed]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """With one small model, so that its sessions are quick."""
    from tests.builders.models import tiny_model  # noqa: PLC0415 - onnx is slow to import

    monkeypatch.setattr("service.wiring.bundled_models_path", lambda: tmp_path / "none")
    (tmp_path / "models").mkdir()
    tiny_model(tmp_path / "models", (1, 1, 8, 8))
    return Site(root=tmp_path, sections={"models": f'path = ["{tmp_path}/models"]\ndefault = "tiny"\n'})


@pytest.fixture
def listening() -> Iterator[Callable[..., Listener]]:
    started: list[Listener] = []

    def start(**given: object) -> Listener:
        context = given.pop("tls", None)
        listener = storage_listener(settings(**given), receive=Inbox(), admit=lambda _: None, tls=context)  # type: ignore[arg-type]
        listener.start()
        started.append(listener)
        return listener

    yield start
    for listener in started:
        listener.stop()


def destination(name: str, ae_title: str, port: int, extra: str = "") -> str:
    return f'[[destinations]]\nname = "{name}"\nae_title = "{ae_title}"\nhost = "{LOOPBACK}"\nport = {port}\n{extra}'


def text_of(findings: list[Finding]) -> str:
    return " | ".join(f"{finding.verdict}: {finding.text}" for finding in findings)


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_good_installation_passes_and_nothing_is_left_behind(
    site: Site, listening: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.root)
    site.destinations = destination("pacs", "PEER", listening(ae_title="PEER").port)
    site.config()
    before = everything_below(site.root)
    found = site.examine()
    assert site.failed() == []
    assert everything_below(site.root) == before
    assert text_of(found["destination pacs"]).startswith("ok: PEER at 127.0.0.1:")
    assert "(made at the first start)" in text_of(found["disk"])
    assert "is made at the first start" in text_of(found["database"])
    assert "golden answer agree" in text_of(found["model tiny 0.0.1"])
    assert text_of(found["execution provider"]) == "ok: asked for cpu, runs on CPUExecutionProvider"


def test_an_installation_that_has_run_is_examined_where_it_lies(site: Site) -> None:
    from service.storage.ledger import Ledger  # noqa: PLC0415
    from service.storage.spool import Spool  # noqa: PLC0415

    Spool(site.data / "spool", min_free_bytes=0).close()
    Ledger.open(f"sqlite:///{site.data}/ledger.sqlite").close()
    before = everything_below(site.data)
    found = site.examine()
    assert text_of(found["database"]) == "ok: SQLite: schema up to date, 0 instances, 0 cases"
    assert everything_below(site.data) == before
    (site.data / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    assert [subject for subject, _ in site.failed()] == ["database"]


def test_a_port_that_something_else_uses_is_told_from_one_of_a_running_service(
    site: Site, listening: Callable[..., Listener]
) -> None:
    port, page_port = site.ports
    with socket.create_server((LOOPBACK, port)), socket.create_server((LOOPBACK, page_port)):
        failed = dict(site.failed())
    assert set(failed) == {"DICOM listener", "status page"}
    assert "the port is taken and does not answer as CSF24" in failed["DICOM listener"]
    assert "does not answer as a status page" in failed["status page"]

    listening(port=port)
    server = StatusServer(LOOPBACK, page_port, SimpleNamespace(snapshot=snapshot))
    server.start()
    try:
        found = site.examine()
    finally:
        server.stop()
    assert "running, answers C-ECHO" in text_of(found["DICOM listener"])
    assert text_of(found["status page"]) == f"ok: http://127.0.0.1:{page_port}/: running, answers"


@needs("openssl")
def test_a_page_with_log_in_is_examined_and_answers_over_https(site: Site, tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    users = tmp_path / "users"
    set_user(users, "anna", Role.ACT, "correct horse")
    site.sections["status_page"] = (
        f'authentication = "users"\nusers_file = "{users}"\ncertificate = "{made.server}"\nkey = "{made.server_key}"\n'
    )
    tls_files = TlsFiles(certificate=Path(made.server), key=Path(made.server_key))
    server = StatusServer(LOOPBACK, site.ports[1], SimpleNamespace(snapshot=snapshot), tls=tls_files)
    server.start()
    try:
        found = site.examine()
    finally:
        server.stop()
    assert text_of(found["status page"]) == f"ok: https://127.0.0.1:{site.ports[1]}/: running, answers"
    assert "1 may log in, 1 of them may act" in text_of(found["status page users"])

    users.write_text("# nobody\n")
    site.sections["status_page"] = site.sections["status_page"].replace(str(made.server_key), str(made.client_key))
    assert {subject for subject, _ in site.failed()} == {"status page users", "status page certificate"}


def test_a_running_service_of_another_name_is_not_ours(site: Site, listening: Callable[..., Listener]) -> None:
    from service.network.admission import accept_policy  # noqa: PLC0415

    other = storage_listener(
        settings(port=site.ports[0], ae_title="OTHER"),
        receive=Inbox(),
        admit=accept_policy((), False, "OTHER", lambda: True),
    )
    other.start()
    try:
        ((subject, text),) = site.failed()
    finally:
        other.stop()
    assert subject == "DICOM listener"
    assert "does not recognise 'CSF24' as its AE title" in text


@needs("openssl")
def test_a_running_service_that_speaks_tls_is_recognised(
    site: Site, certificates: Certificates, listening: Callable[..., Listener]
) -> None:
    site.sections["tls"] = _own_tls(certificates)
    context = tls.server_context(
        certificate=certificates.server, key=certificates.server_key, trusted=certificates.authority
    )
    listening(port=site.ports[0], tls=context)
    found = site.examine()
    assert "running, answers C-ECHO" in text_of(found["DICOM listener"])
    assert text_of(found["TLS"]).startswith("warning: ")  # these certificates last a day


@pytest.mark.parametrize(
    ("host", "said"), [("192.0.2.7", "does not have that address"), ("no.such.invalid", "resolved")]
)
def test_an_address_that_is_not_of_this_machine_is_not_called_taken(site: Site, host: str, said: str) -> None:
    site.sections["listener"] = f'host = "{host}"\ncalling_ae_titles = ["CT1"]\n'
    ((subject, text),) = site.failed()
    assert subject == "DICOM listener"
    assert said in text and "taken" not in text


@needs("Orthanc")
@pytest.mark.needs_orthanc
def test_a_pacs_that_is_down_or_does_not_know_us_is_told_with_what_to_correct(site: Site) -> None:
    (nobody,) = free_ports()
    with Orthanc({"csf24": Modality(ae_title="CSF24", port=site.ports[0])}) as pacs:
        site.destinations = (
            destination("right", "ORTHANC", pacs.dicom_port)
            + destination("misnamed", "ORTANC", pacs.dicom_port)
            + destination("down", "PACS", nobody)
        )
        failed = dict(site.failed())
        assert set(failed) == {"destination misnamed", "destination down"}
        assert "does not recognise 'ORTANC' as its AE title; correct" in failed["destination misnamed"]
        assert "connection refused" in failed["destination down"]

        site.sections["listener"] = 'ae_title = "CSF25"\n'
        assert set(dict(site.failed())) == {"destination right", "destination misnamed", "destination down"}


def test_a_model_with_one_flipped_bit_is_not_trusted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real default model, whose copy in the site's folder comes before the shipped one."""
    monkeypatch.undo()
    copy = site.root / "own" / DEFAULT.name
    shutil.copytree(DEFAULT, copy)
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    site.sections["models"] = f'path = ["{copy.parent}"]\n'
    failed = site.failed()
    assert [subject for subject, _ in failed] == [f"model {DEFAULT.name.replace('-', ' ')}", "execution provider"]
    assert all("was altered: its sha256 is" in text for _, text in failed)


def test_a_broken_model_beside_the_default_is_a_warning(site: Site) -> None:
    from tests.builders.models import tiny_model  # noqa: PLC0415

    other = tiny_model(site.root / "models", (1, 1, 8, 8), name="other")
    (other / "parity.npz").unlink()
    found = site.examine()
    assert site.failed() == []
    assert text_of(found["model other 0.0.1"]).startswith("warning: parity.npz of other-0.0.1 cannot be used")


def test_a_gpu_that_is_required_and_not_there_fails(site: Site) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine's onnxruntime has CUDA")
    site.sections["inference"] = 'provider = "cuda"\nrequire_gpu = true\n'
    ((subject, text),) = site.failed()
    assert subject == "execution provider"
    assert "CUDAExecutionProvider was asked for" in text and "csf24[gpu]" in text


def test_a_reserve_larger_than_the_disk_can_never_be_met(site: Site) -> None:
    total_mb = shutil.disk_usage(site.root).total // 1024**2
    site.sections["storage"] = ""
    config = site.config().read_text().replace("min_free_mb = 1", f"min_free_mb = {total_mb + 1}")
    (site.root / "csf24.toml").write_text(config)
    failed = [f for f in examine(site.root / "csf24.toml", {}, phantom=False) if f.failed]
    assert [f.subject for f in failed] == ["disk"]
    assert "more than the whole disk has" in failed[0].text and "storage.min_free_mb" in failed[0].text


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root can write to")
def test_a_data_folder_that_cannot_be_written_fails_whoever_asks(site: Site) -> None:
    site.sections["storage"] = ""
    config = site.config().read_text().replace(f'"{site.data}"', '"/proc/csf24-data"')
    (site.root / "csf24.toml").write_text(config)
    failed = [f for f in examine(site.root / "csf24.toml", {}, phantom=False) if f.failed]
    assert failed[0].subject in ("disk", "configuration")  # for anyone but root the rights alone say it
    assert "/proc" in failed[0].text and "cannot be written to" in failed[0].text


def test_a_ledger_in_a_folder_that_is_not_there_fails(site: Site) -> None:
    site.sections["storage"] = f'database = "sqlite:///{site.root}/missing/ledger.sqlite"\n'
    assert [subject for subject, _ in site.failed()] == ["database"]
    (site.root / "missing").mkdir()
    assert site.failed() == []
    assert list((site.root / "missing").iterdir()) == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def _own_tls(certificates: Certificates, certificate: Path | None = None) -> str:
    return (
        f'listener = true\ncertificate = "{certificate or certificates.server}"\n'
        f'key = "{certificates.server_key}"\ntrusted = "{certificates.authority}"\n'
    )


@needs("openssl")
def test_a_key_that_everybody_may_read_is_a_warning(site: Site, certificates: Certificates, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(certificates.server_key.read_bytes())
    site.sections["tls"] = _own_tls(certificates).replace(str(certificates.server_key), str(key))
    key.chmod(0o640)
    assert "secrets" not in site.examine()
    key.chmod(0o644)
    assert text_of(site.examine()["secrets"]).startswith("warning: tls.key: every user of this machine may read")


@needs("openssl")
def test_a_certificate_that_is_over_fails_before_the_first_connection_does(
    site: Site, certificates: Certificates
) -> None:
    over = site.root / "over.pem"
    folder = certificates.authority.parent
    signing = ["-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", str(over)]
    dates = ["-not_before", "20200101000000Z", "-not_after", "20210101000000Z"]
    made = subprocess.run(
        [required("openssl"), "x509", "-req", *signing, *dates], cwd=folder, capture_output=True, text=True, check=False
    )
    if made.returncode:  # before OpenSSL 3.4 only days count, and -1 is yesterday
        days = ["-days", "-1"]
        subprocess.run([required("openssl"), "x509", "-req", *signing, *days], cwd=folder, check=True)
    site.sections["tls"] = _own_tls(certificates, over)
    ((subject, text),) = site.failed()
    assert subject == "TLS"
    assert "which is over; renew it" in text


@needs("openssl")
def test_a_key_of_another_certificate_is_found_without_a_peer(site: Site, certificates: Certificates) -> None:
    site.sections["tls"] = _own_tls(certificates, certificates.client)
    failed = dict(site.failed())
    assert "PEM files that belong together" in failed["TLS"]


def test_a_configuration_with_faults_lists_them_all_and_tries_nothing_else(site: Site) -> None:
    site.sections["listener"] = 'ae_tittle = "X"\nhost = "0.0.0.0"\n'
    assert [subject for subject, _ in site.failed()] == ["configuration", "configuration"]


def test_the_command_prints_lines_or_json_and_its_status_says_whether_all_is_well(site: Site) -> None:
    config = str(site.config())
    good = csf24("doctor", "--config", config, "--json", cwd=site.root)
    findings = json.loads(good.stdout)
    assert good.returncode == 0
    assert {"subject", "verdict", "text"} == set(findings[0])
    assert {finding["verdict"] for finding in findings} == {"ok", "warning"}

    (nobody,) = free_ports()
    site.destinations = destination("down", "PACS", nobody)
    bad = csf24("doctor", "--config", str(site.config()), cwd=site.root)
    assert (bad.returncode, bad.stderr) == (1, "")
    (line,) = [line for line in bad.stdout.splitlines() if line.startswith("FAILED")]
    assert "destination down" in line and "connection refused" in line
    assert "1 of 16 checks failed." in bad.stdout


def test_the_screen_counts_failures_and_warnings() -> None:
    shown = StringIO()
    findings = tuple(Finding(subject="s", verdict=v, text="[not markup]") for v in ("ok", "warning", "ok"))
    render(findings, Console(file=shown, width=80))
    assert "All 3 checks passed, 1 with a warning." in shown.getvalue()
    assert shown.getvalue().count("[not markup]") == 3


@pytest.mark.parametrize(
    ("offered", "verdict", "said"),
    [
        (("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"), "ok", "it must know CSF24"),
        (("1.2.840.10008.5.1.4.1.2.2.1",), "FAILED", "does not offer us C-MOVE"),
        ((), "FAILED", "does not offer us C-FIND and C-MOVE"),
    ],
    ids=["both", "no C-MOVE", "neither"],
)
def test_a_pacs_that_priors_are_to_come_from_is_asked_what_it_offers(
    site: Site, offered: tuple[str, ...], verdict: str, said: str
) -> None:
    with scripted_peer([], "1.2.840.10008.1.1", *offered, ae_title="PACS") as pacs:
        site.destinations = destination("pacs", "PACS", pacs.port)
        site.sections["priors"] = 'source = "pacs"\n'
        (finding,) = site.examine()["priors"]
    assert finding.verdict == verdict
    assert said in finding.text
