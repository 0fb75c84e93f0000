"""csf24 health against a running page, as a container engine asks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.monitoring.server import StatusServer, TlsFiles
from tests.builders.network import LOOPBACK, make_certificates
from tests.builders.programs import free_ports, needs
from tests.builders.service_process import csf24
from tests.builders.status import snapshot


@pytest.fixture
def port() -> int:
    return free_ports()[0]


def config(folder: Path, page: str) -> str:
    path = folder / "csf24.toml"
    path.write_text(f'[storage]\ndirectory = "{folder}"\n[status_page]\n{page}\n')
    return str(path)


def not_ready_snapshot() -> object:
    whole = snapshot()
    return replace(whole, listener=replace(whole.listener, listening=False))


def test_a_living_service_answers_and_readiness_is_asked_for_by_name(tmp_path: Path, port: int) -> None:
    server = StatusServer(LOOPBACK, port, SimpleNamespace(snapshot=not_ready_snapshot))
    server.start()
    try:
        alive = csf24("health", "--config", config(tmp_path, f"port = {port}"), cwd=tmp_path)
        ready = csf24("health", "--ready", "--config", config(tmp_path, f"port = {port}"), cwd=tmp_path)
    finally:
        server.stop()
    assert (alive.returncode, alive.stdout) == (0, "alive\n")
    assert ready.returncode == 1
    assert "503" in ready.stderr and "LISTENER_DOWN" in ready.stderr


@needs("openssl")
def test_a_page_with_a_certificate_is_asked_over_https_on_the_address_it_is_bound_to(tmp_path: Path, port: int) -> None:
    made = make_certificates(tmp_path)
    files = TlsFiles(certificate=Path(made.server), key=Path(made.server_key))
    users = tmp_path / "users"
    users.write_text("")
    page = f'port = {port}\nhost = "0.0.0.0"\nauthentication = "users"\nusers_file = "{users}"\n'
    page += f'certificate = "{made.server}"\nkey = "{made.server_key}"'
    server = StatusServer("0.0.0.0", port, SimpleNamespace(snapshot=snapshot), tls=files)
    server.start()
    try:
        done = csf24("health", "--config", config(tmp_path, page), cwd=tmp_path)
    finally:
        server.stop()
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_where_nothing_answers_the_address_is_named(tmp_path: Path, port: int) -> None:
    done = csf24("health", "--config", config(tmp_path, f"port = {port}"), cwd=tmp_path)
    assert done.returncode == 1
    assert f"http://127.0.0.1:{port}/healthz: no answer" in done.stderr


def test_a_page_that_is_switched_off_cannot_be_asked(tmp_path: Path) -> None:
    done = csf24("health", "--config", config(tmp_path, "enabled = false"), cwd=tmp_path)
    assert done.returncode == 2
    assert "status_page.enabled is false" in done.stderr
