"""A whole service tells people by e-mail and webhook what waits for them, once, and that it is over."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from service.cases import CaseState
from service.network.peers import LocalEntity
from service.network.storage_scu import store
from tests.builders.network import LOOPBACK, make_certificates, outgoing, peer
from tests.builders.patients import unpack_shipped
from tests.builders.postgresql import ACCOUNT, postgresql
from tests.builders.programs import needs, wait_until
from tests.builders.receivers import mail_server, web_server
from tests.builders.service_process import CALLING, ServiceProcess

pytestmark = [pytest.mark.slow, needs("openssl")]
CANARY = "KANARIENVOGEL"
SETTINGS = "[pairing]\nquiet_seconds = 2.0\npartner_wait_hours = 0.0005\n"


def test_a_database_that_is_gone_is_told_by_who_led(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with web_server(certificates) as web:
        receivers = (
            f'[notifications]\ntrusted = "{certificates.authority}"\nwebhook_url = "{web.url}"\ndigest_seconds = 1.0\n'
        )
        with postgresql() as address:
            database = f"postgresql+psycopg://{ACCOUNT}@/postgres{address}"
            service = ServiceProcess(tmp_path, extra=receivers, database=database)
            service.start()
        try:
            wait_until(lambda: bool(web.posts), timeout_s=90)
        finally:
            service.kill()
    (message,) = (json.loads(post.body) for post in web.posts)
    assert [event["subject"] for event in message["begun"]] == ["LEDGER_UNREACHABLE"]


def test_a_held_case_is_told_once_through_a_kill_and_once_when_it_is_discarded(tmp_path: Path) -> None:
    alone, _ = unpack_shipped(tmp_path / "patient")
    for path in alone:
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = f"{CANARY}^NAME", f"{CANARY}-ID"
        dataset.save_as(path)
    series_uid = str(pydicom.dcmread(alone[0], stop_before_pixels=True).SeriesInstanceUID)
    certificates = make_certificates(tmp_path / "certificates")
    with web_server(certificates) as web, mail_server(certificates) as mail:
        receivers = (
            f'[notifications]\ntrusted = "{certificates.authority}"\nwebhook_url = "{web.url}"\n'
            f'mail_host = "{LOOPBACK}"\nmail_port = {mail.port}\nmail_from = "csf24@hospital.example"\n'
            'mail_to = ["mri@hospital.example"]\ndigest_seconds = 1.0\n'
        )
        with ServiceProcess(tmp_path, extra=SETTINGS + receivers) as service:
            ours = LocalEntity(ae_title=CALLING)
            assert all(item.accepted for item in store(peer(service.port, "CSF24"), ours, outgoing(alone)))
            wait_until(lambda: bool(web.posts and mail.mails), timeout_s=90)
            assert b'csf24_notifications_total{channel="mail",result="sent"} 1.0' in service.get("/metrics")
            service.kill()
            service.start()
            (case,) = service.cases()
            assert case.state is CaseState.HELD
            assert service.csf24("cases", "discard", case.case_id).returncode == 0
            wait_until(lambda: len(web.posts) == 2 and len(mail.mails) == 2, timeout_s=90)
        log = service.log()
    begun, over = (json.loads(post.body) for post in web.posts)
    assert [(event["kind"], event["subject"]) for event in begun["begun"]] == [("case held", case.case_id)]
    assert [(event["kind"], event["subject"]) for event in over["over"]] == [("case held", case.case_id)]
    told = "".join([*(post.body.decode() for post in web.posts), *(m.as_string() for m in mail.mails), log])
    assert case.case_id in told
    assert CANARY not in told
    assert series_uid not in told


def test_of_two_machines_the_survivor_tells_once_that_the_leader_is_lost_and_once_that_it_is_back(
    tmp_path: Path,
) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with web_server(certificates) as web, postgresql() as address:
        receivers = (
            f'[notifications]\ntrusted = "{certificates.authority}"\nwebhook_url = "{web.url}"\ndigest_seconds = 1.0\n'
        )
        machines = []
        for name in ("leader", "other"):
            (tmp_path / name).mkdir()
            machines.append(
                ServiceProcess(
                    tmp_path / name,
                    extra=receivers,
                    environment={"CSF24_WORKERS__EXECUTOR_ID": name},
                    database=f"postgresql+psycopg://{ACCOUNT}@/postgres{address}",
                    roles=("work",),
                    data=tmp_path / "shared",
                )
            )
        leader, other = machines
        with leader, other:
            leader.kill()
            wait_until(lambda: bool(web.posts), timeout_s=90)
            leader.start()
            wait_until(lambda: len(web.posts) == 2, timeout_s=90)
            assert b'csf24_notifications_total{channel="webhook",result="sent"} 2.0' in other.get("/metrics")
            assert b'csf24_notifications_total{channel="webhook",result="sent"} 0.0' in leader.get("/metrics")
    lost, back = (json.loads(post.body) for post in web.posts)
    assert [(event["kind"], event["subject"]) for event in lost["begun"]] == [("machine lost", "leader")]
    assert [(event["kind"], event["subject"]) for event in back["over"]] == [("machine lost", "leader")]
