from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import StorageUnavailable
from service.monitoring.server import StatusServer
from service.monitoring.snapshot import CaseView, SectionRequest, StatusSnapshot
from tests.builders.html import parse
from tests.builders.status import cases, snapshot

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
PREDICTED = "c000000000007"


@dataclass(slots=True)
class Sources:
    """What the server asks; a test changes it while it runs."""

    now: StatusSnapshot = field(default_factory=snapshot)
    fault: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def snapshot(self) -> StatusSnapshot:
        if self.fault is not None:
            raise self.fault
        return self.now

    def case(self, case_id: str) -> CaseView | None:
        self.asked.append(case_id)
        return next((view for view in cases() if view.case.case_id == case_id), None)

    def picture(self, case_id: str) -> bytes | None:
        self.asked.append(case_id)
        return PNG if case_id == PREDICTED else None

    def section(self, case_id: str, request: SectionRequest) -> bytes | None:
        self.asked.append(case_id)
        return PNG if case_id == PREDICTED and request.index < 100 else None


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
def server(sources: Sources) -> Iterator[StatusServer]:
    running = StatusServer("127.0.0.1", 0, sources, config_path="/etc/csf24.toml")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(server: StatusServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=10) as made:
        yield made


def test_the_list_is_served_and_shows_the_newest_state(client, sources):
    assert "3 cases need attention" in client.get("/").text

    sources.now = snapshot(cases=(), peers=())

    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert parse(answer.text).one("h1").text == "Ready; nothing needs attention"


def test_every_case_of_the_list_has_its_page(client):
    links = [link.attributes["href"] for link in parse(client.get("/").text).all("a")]

    pages = [link for link in links if link.startswith("/cases/")]
    assert len(pages) == len(cases())
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200
        assert page.removeprefix("/cases/") in parse(answer.text).one("h1").text


def test_commands_name_the_configuration_of_the_service(client):
    assert "csf24 cases retry c000000000006 --config /etc/csf24.toml" in parse(client.get("/").text).text


def test_refreshing_can_be_stopped(client):
    assert 'http-equiv="refresh"' in client.get("/").text
    assert 'http-equiv="refresh"' not in client.get("/?refresh=off").text


def test_the_picture_is_served_as_it_is(client):
    answer = client.get(f"/cases/{PREDICTED}/preview.png")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == PNG


def test_a_section_is_served_and_what_is_none_is_404(client, sources):
    path = f"/cases/{PREDICTED}/sections/increase/axial"

    answer = client.get(f"{path}/12.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    asked = len(sources.asked)
    for wrong in ("100.png", "99999.png", "-1.png", "x.png", "../12.png"):
        assert client.get(f"{path}/{wrong}").status_code == 404
    assert client.get(f"/cases/{PREDICTED}/sections/secret/axial/1.png").status_code == 404
    assert len(sources.asked) == asked + 1  # only what could be a section was looked for


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/cases/c0000000000ff",
        "/cases/c00000000fff0",
        "/cases/C000000000007",
        "/cases/c000000000007%0a",
        "/cases/..%2f..%2fetc%2fpasswd",
        "/cases/%3Cscript%3E",
        "/cases/c000000000001/preview.png",
        "/cases/..%2f/preview.png",
        f"/cases/{PREDICTED}/report.json",
    ],
)
def test_what_is_not_there_is_404_and_not_repeated(client, path):
    answer = client.get(path)

    assert answer.status_code == 404
    assert parse(answer.text).one("h1").text == "Not found"
    assert "passwd" not in answer.text
    assert "script" not in answer.text


def test_only_well_formed_ids_reach_the_sources(client, sources):
    for case_id in ("..%2f", "c1", "c000000000007x", "'or'1"):
        client.get(f"/cases/{case_id}")
        client.get(f"/cases/{case_id}/preview.png")

    assert sources.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(client, method):
    answer = client.request(method, f"/cases/{PREDICTED}")

    assert answer.status_code == 405


def test_every_answer_forbids_scripts_frames_and_caching(client, sources):
    answers = [client.get(path) for path in ("/", f"/cases/{PREDICTED}", "/healthz", "/readyz", "/metrics", "/nothing")]
    answers.append(client.get(f"/cases/{PREDICTED}/preview.png"))
    sources.fault = KeyError("a bug")
    answers.append(client.get("/"))
    assert answers[-1].status_code == 500

    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert policy.count("'sha256-") == 2  # our style sheet and our script, and no other
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers
        assert "server" not in answer.headers


@pytest.mark.parametrize("path", ["/", f"/cases/{PREDICTED}", "/nothing"])
def test_the_policy_admits_the_page_s_own_style_sheet(client, path):
    answer = client.get(path)

    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]


def test_a_ready_service_says_so(client):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "reasons": []}


def test_a_service_without_its_ledger_is_alive_but_not_ready(client, sources):
    sources.now = snapshot(ledger=None, ledger_problem="the ledger failed: OperationalError", cases=())

    answer = client.get("/readyz")

    assert answer.status_code == 503
    (reason,) = answer.json()["reasons"]
    assert reason["code"] == "LEDGER_UNREACHABLE"
    assert "OperationalError" in reason["message"]
    assert client.get("/healthz").status_code == 200


def test_a_source_that_fails_makes_it_unready_and_is_said_on_the_page(client, sources):
    sources.fault = StorageUnavailable("the ledger failed: OperationalError")

    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json()["reasons"][0]["code"] == "STATUS_UNAVAILABLE"
    assert client.get("/metrics").status_code == 503
    page = client.get("/")
    assert page.status_code == 503
    assert "the ledger failed: OperationalError" in parse(page.text).text
    assert client.get("/healthz").status_code == 200


def test_an_unexpected_error_tells_nothing_and_the_server_goes_on(client, sources, capfd):
    sources.fault = ValueError("Doe^Jane")

    answer = client.get("/")

    assert answer.status_code == 500
    assert "Doe" not in answer.text
    assert "Doe" not in "".join(capfd.readouterr())
    sources.fault = None
    assert client.get("/").status_code == 200


def test_prometheus_can_read_the_metrics(client):
    answer = client.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "csf24_cases" in {family.name for family in text_string_to_metric_families(answer.text)}


def test_a_slow_source_does_not_keep_the_health_check_waiting(client, sources, server):
    release = Event()

    class Slow(Sources):
        def case(self, case_id: str) -> CaseView | None:
            release.wait(20)
            return super().case(case_id)

    waiting = StatusServer("127.0.0.1", 0, Slow())
    waiting.start()
    try:
        with ThreadPoolExecutor(1) as pool:
            url = f"http://127.0.0.1:{waiting.port}"
            page = pool.submit(httpx.get, f"{url}/cases/{PREDICTED}", trust_env=False, timeout=30)
            try:
                assert httpx.get(f"{url}/healthz", trust_env=False, timeout=5).status_code == 200
                assert not page.done()
            finally:
                release.set()
            assert page.result().status_code == 200
    finally:
        waiting.stop()


def test_silent_connections_stop_nobody(client, server):
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    try:
        assert client.get("/healthz").status_code == 200
    finally:
        for connection in silent:
            connection.close()


def test_a_taken_port_is_said_at_start(server):
    second = StatusServer("127.0.0.1", server.port, Sources())

    with pytest.raises(OSError, match="in use"):
        second.start()
    second.stop()


def test_after_the_stop_the_port_is_free_again():
    first = StatusServer("127.0.0.1", 0, Sources())
    first.start()
    port = first.port
    assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).json()["ready"]
    first.stop()

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
    second = StatusServer("127.0.0.1", port, Sources())
    second.start()
    second.stop()


def test_a_stop_right_after_the_start_ends_at_once():
    server = StatusServer("127.0.0.1", 0, Sources())
    server.start()
    server.stop()


def test_readiness_is_json_that_tools_can_read(client, sources):
    sources.now = snapshot(ledger=None)

    assert set(json.loads(client.get("/readyz").text)["reasons"][0]) == {"code", "message", "measured", "limit"}
