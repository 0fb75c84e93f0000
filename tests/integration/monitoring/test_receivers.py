"""Messages to a real HTTPS server and a real mail server, as configured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.cases import CaseState
from service.config import load_config
from service.doctor import examine
from service.errors import StorageUnavailable
from service.finding import Finding
from service.monitoring.notifications.outbox import MOST_WAITING, Undelivered
from service.monitoring.notifications.webhook import SIGNATURE
from service.monitoring.snapshot import CaseView, StatusSnapshot
from service.notifying import Notifier, channels, terms
from service.storage.ledger import Ledger
from tests.builders.network import LOOPBACK, Certificates, make_certificates
from tests.builders.programs import free_ports, needs, required
from tests.builders.receivers import MailServer, WebServer, mail_server, web_server
from tests.builders.status import NOW, case, snapshot

pytestmark = needs("openssl")
RED = snapshot(cases=(CaseView(case=case(1, CaseState.FAILED)),))
WELL = snapshot(cases=())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def _no_other_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor's other checks have tests of their own, and load models."""
    monkeypatch.setattr("service.doctor._CHECKS", ())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


class Desk:
    """A notifier whose service and clock the test sets."""

    def __init__(self, ledger: Ledger, certificates: Certificates, root: Path) -> None:
        self.ledger, self.certificates, self.root = ledger, certificates, root
        self.keys: dict[str, object] = {"trusted": certificates.authority, "page_url": "https://csf24.hospital.example"}
        self.seen: StatusSnapshot = WELL
        self.leads, self.now = True, NOW

    def config(self, **keys: object) -> Any:
        lines = [f"{key} = {json.dumps(value, default=str)}" for key, value in {**self.keys, **keys}.items()]
        path = self.root / "csf24.toml"
        page_port, port = free_ports(2)
        path.write_text(
            f"[listener]\nport = {port}\n[status_page]\nport = {page_port}\n"
            f'[storage]\ndirectory = "{self.root}/data"\nmin_free_mb = 1\n[notifications]\n' + "\n".join(lines)
        )
        return load_config(path, {})

    def secret(self, text: str) -> Path:
        path = self.root / f"secret-{len(list(self.root.iterdir()))}"
        path.write_text(text + "\n")
        path.chmod(0o600)
        return path

    def to_web(self, server: WebServer) -> Desk:
        self.keys["webhook_url"] = server.url
        return self

    def to_mail(self, server: MailServer, **keys: object) -> Desk:
        self.keys |= {
            "mail_host": LOOPBACK,
            "mail_port": server.port,
            "mail_from": "csf24@hospital.example",
            "mail_to": ["mri@hospital.example", "it@hospital.example"],
            **keys,
        }
        return self

    def notifier(self) -> Notifier:
        config = self.config()
        return Notifier(
            self.ledger,
            channels(config, "ward-a"),
            terms(config),
            snapshot=lambda: self.seen,
            leads=lambda: self.leads,
            now=lambda: self.now,
        )

    def pass_time(self, notifier: Notifier, minutes: float) -> None:
        end: datetime = self.now + timedelta(minutes=minutes)
        while self.now < end:
            self.now += timedelta(seconds=10)
            notifier.turn(self.now)

    def examine(self, *, notify: bool = True) -> list[Finding]:
        self.config()
        found = examine(self.root / "csf24.toml", {}, phantom=False, notify=notify)
        return [finding for finding in found if finding.subject.startswith("notifications")]


@pytest.fixture
def desk(ledger: Ledger, certificates: Certificates, tmp_path: Path) -> Desk:
    return Desk(ledger, certificates, tmp_path)


def test_a_red_case_is_posted_once_and_once_when_it_is_over(desk: Desk, certificates: Certificates) -> None:
    with web_server(certificates) as server:
        notifier = desk.to_web(server).notifier()
        desk.seen = RED
        desk.pass_time(notifier, 30)
        desk.seen = WELL
        desk.pass_time(notifier, 30)
    first, second = (json.loads(post.body) for post in server.posts)
    assert [(event["kind"], event["subject"]) for event in first["begun"]] == [("case failed", "c000000000001")]
    assert first["text"].startswith("csf24 on ward-a: 1 case failed\n")
    assert "https://csf24.hospital.example" in first["text"]
    assert (first["red"], second["red"]) == (1, 0)
    assert [event["kind"] for event in second["over"]] == ["case failed"]
    assert server.posts[0].path == "/hooks/mri?room=1"
    assert notifier.counts == {("webhook", "sent"): 2, ("webhook", "failed"): 0, ("webhook", "lost"): 0}


def test_a_receiver_can_tell_by_token_and_signature_that_it_is_us(desk: Desk, certificates: Certificates) -> None:
    desk.keys |= {"webhook_token_file": desk.secret("a-token"), "webhook_signing_key_file": desk.secret("the-key")}
    with web_server(certificates) as server:
        desk.seen = RED
        desk.pass_time(desk.to_web(server).notifier(), 5)
    (post,) = server.posts
    assert post.headers["Authorization"] == "Bearer a-token"
    judged = subprocess.run(
        [required("openssl"), "dgst", "-sha256", "-hmac", "the-key", "-r"],
        input=post.body,
        capture_output=True,
        check=True,
    )
    assert post.headers[SIGNATURE] == f"sha256={judged.stdout.decode().split()[0]}"


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_red_case_is_mailed_to_everybody_named(desk: Desk, certificates: Certificates, security: str) -> None:
    login = ("csf24", "p@ss word")
    with mail_server(certificates, tls=security == "tls", login=login) as server:
        desk.to_mail(server, mail_security=security, mail_user="csf24", mail_password_file=desk.secret("p@ss word"))
        desk.seen = RED
        desk.pass_time(desk.notifier(), 30)
    (mail,) = server.mails
    assert server.recipients == [["mri@hospital.example", "it@hospital.example"]]
    assert mail["Subject"] == "csf24 on ward-a: 1 case failed"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "c000000000001" in mail.get_content()
    assert server.logins == ["csf24"]


def test_a_mail_server_without_tls_gets_neither_mail_nor_password(desk: Desk) -> None:
    with mail_server(None) as server:
        desk.to_mail(server, mail_user="csf24", mail_password_file=desk.secret("secret"))
        (channel,) = channels(desk.config(), "ward-a").values()
        with pytest.raises(Undelivered, match="offers no STARTTLS"):
            channel.check()
    assert (server.mails, server.logins) == ([], [])


@pytest.mark.parametrize("kind", ["webhook", "starttls", "tls"])
def test_a_server_whose_certificate_is_not_trusted_gets_nothing(
    desk: Desk, certificates: Certificates, tmp_path: Path, kind: str
) -> None:
    desk.keys["trusted"] = make_certificates(tmp_path / "others").authority
    with web_server(certificates) as web, mail_server(certificates, tls=kind == "tls") as mail:
        desk.to_web(web) if kind == "webhook" else desk.to_mail(mail, mail_security=kind)
        (finding,) = desk.examine()
    assert finding.failed
    assert "its certificate is not trusted" in finding.text
    assert (web.posts, mail.mails) == ([], [])


def test_a_redirection_is_not_followed(desk: Desk, certificates: Certificates) -> None:
    with web_server(certificates, 302) as server:
        (finding,) = desk.to_web(server).examine()
    assert (finding.verdict, server.tries) == ("FAILED", 1)
    assert "it answered 302" in finding.text


def test_a_receiver_that_is_down_gets_all_later_and_the_log_one_line(desk: Desk, certificates: Certificates) -> None:
    with web_server(certificates) as server:
        port = server.port
    notifier = desk.to_web(server).notifier()
    desk.seen = RED
    with capture_logs() as log:
        desk.pass_time(notifier, 30)
        assert notifier.counts["webhook", "sent"] == 0
        assert 5 <= notifier.counts["webhook", "failed"] <= 15, "pauses grow"
        with web_server(certificates, port=port) as server:
            desk.pass_time(notifier, 6)
    assert len(server.posts) == 1
    assert [line["event"] for line in log] == [
        "notifications cannot be delivered; tried again",
        "notifications are delivered again",
    ]
    assert server.url not in str(log)


def test_one_channel_that_is_down_keeps_no_other_waiting(desk: Desk, certificates: Certificates) -> None:
    with web_server(certificates, *[500] * 50) as web, mail_server(certificates) as mail:
        notifier = desk.to_web(web).to_mail(mail).notifier()
        desk.seen = RED
        desk.pass_time(notifier, 10)
    assert (len(mail.mails), len(web.posts)) == (1, 0)
    assert notifier.counts["mail", "failed"] == 0


def test_a_queue_that_never_empties_stays_bounded(desk: Desk) -> None:
    (port,) = free_ports(1)
    desk.keys |= {"webhook_url": f"https://{LOOPBACK}:{port}/", "max_per_hour": 1000, "digest_seconds": 0.0}
    notifier = desk.notifier()
    with capture_logs() as log:
        for number in range(1, MOST_WAITING + 21):
            desk.seen = snapshot(cases=(CaseView(case=case(number, CaseState.HELD)),))
            desk.pass_time(notifier, 1 / 6)
    assert notifier.counts["webhook", "lost"] == 20
    assert sum(line["event"] == "a notification was given up" for line in log) <= 20


def test_a_restart_tells_nothing_again_and_sends_what_was_waiting(desk: Desk, certificates: Certificates) -> None:
    with web_server(certificates, *[503] * 3) as server, mail_server(certificates) as mail:
        desk.to_web(server).to_mail(mail)
        desk.seen = RED
        desk.pass_time(desk.notifier(), 1.5)
        assert (len(server.posts), len(mail.mails)) == (0, 1)
        server.answers.clear()
        desk.pass_time(desk.notifier(), 30)
        assert (len(server.posts), len(mail.mails)) == (1, 1)
        desk.seen = WELL
        desk.pass_time(desk.notifier(), 30)
    assert (len(server.posts), len(mail.mails)) == (2, 2)


def test_of_two_processes_the_one_that_leads_tells_and_its_successor_goes_on(
    desk: Desk, certificates: Certificates
) -> None:
    other = Desk(desk.ledger, certificates, desk.root)
    with web_server(certificates) as server:
        first, second = desk.to_web(server).notifier(), other.to_web(server).notifier()
        desk.seen = other.seen = RED
        other.leads = False
        for _ in range(30):
            desk.pass_time(first, 1)
            other.pass_time(second, 1)
        assert len(server.posts) == 1
        desk.leads, other.leads = False, True
        desk.seen = other.seen = WELL
        for _ in range(30):
            desk.pass_time(first, 1)
            other.pass_time(second, 1)
    assert len(server.posts) == 2
    assert (first.counts["webhook", "sent"], second.counts["webhook", "sent"]) == (1, 1)


def test_who_led_when_the_ledger_went_says_so(
    desk: Desk, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("the ledger is away")

    with web_server(certificates) as server:
        notifier = desk.to_web(server).notifier()
        desk.pass_time(notifier, 1)
        monkeypatch.setattr(desk.ledger, "set_setting", away)
        desk.seen, desk.leads = replace(WELL, ledger=None, ledger_problem="gone"), False
        desk.pass_time(notifier, 30)
        monkeypatch.undo()
        desk.seen, desk.leads = WELL, True
        desk.pass_time(notifier, 30)
    begun, over = (json.loads(post.body) for post in server.posts)
    assert [event["subject"] for event in begun["begun"]] == ["LEDGER_UNREACHABLE"]
    assert [event["subject"] for event in over["over"]] == ["LEDGER_UNREACHABLE"]


def test_doctor_asks_the_receivers_without_a_message_and_with_notify_sends_one(
    desk: Desk, certificates: Certificates
) -> None:
    with web_server(certificates) as web, mail_server(certificates) as mail:
        desk.to_web(web).to_mail(mail)
        assert [finding.verdict for finding in desk.examine(notify=False)] == ["ok", "ok"]
        assert (web.tries, mail.mails) == (0, [])
        assert [finding.verdict for finding in desk.examine()] == ["ok", "ok"]
    assert "This is a test" in json.loads(web.posts[0].body)["text"]
    assert str(mail.mails[0]["Subject"]).endswith("test message")


def test_doctor_says_who_cannot_be_reached_and_why(desk: Desk, certificates: Certificates) -> None:
    with mail_server(certificates, login=("csf24", "right")) as mail, web_server(certificates, 401) as web:
        mail.refused.add("it@hospital.example")
        desk.to_web(web).to_mail(mail, mail_user="csf24", mail_password_file=desk.secret("wrong"))
        found = {finding.subject: finding for finding in desk.examine()}
        assert "it answered 401" in found["notifications by webhook"].text
        assert "it refused the log-in (535)" in found["notifications by mail"].text
        desk.keys["mail_password_file"] = desk.secret("right")
        found = {finding.subject: finding for finding in desk.examine()}
    assert found["notifications by mail"].failed
    assert "1 of 2 recipients refused by the server (550)" in found["notifications by mail"].text
    assert mail.recipients == [["mri@hospital.example"]]


def test_doctor_is_asked_to_notify_nobody(desk: Desk) -> None:
    assert [finding.verdict for finding in desk.examine(notify=False)] == ["ok"]
    assert [finding.verdict for finding in desk.examine()] == ["FAILED"]
