"""Which messages follow from what is seen of the service, one look after another."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from service.cases import CaseState
from service.errors import Reason
from service.monitoring.notifications.account import Account, Message, Terms, follow
from service.monitoring.notifications.alarms import Kind, look
from service.monitoring.notifications.saved import Saved, decode, encode
from service.monitoring.notifications.wording import Letterhead, payload, subject, text
from service.monitoring.snapshot import CaseView, MachineView, StatusSnapshot
from tests.builders.status import BASELINE_UID, DELAYED_UID, NOW, PEER_SILENT, case, snapshot

TERMS = Terms(retrying=timedelta(minutes=10), window=timedelta(minutes=1), per_hour=6)
HEAD = Letterhead(host="ward-a", page_url="https://csf24.hospital.example")
S = CaseState


def view(number: int, state: CaseState, *, retrying: bool = False, reasons: tuple[Reason, ...] = ()) -> CaseView:
    return CaseView(case=case(number, state, reasons=reasons), retrying=retrying)


def failed(*numbers: int) -> tuple[CaseView, ...]:
    return tuple(view(number, S.FAILED, reasons=(PEER_SILENT,)) for number in numbers)


def service(*cases: CaseView, **changes: object) -> StatusSnapshot:
    return snapshot(cases=cases, **changes)


class Watch:
    """Looks every 10 s, as the service does, and keeps what is told."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.terms, self.now, self.account = terms, NOW, Account()
        self.messages: list[Message] = []

    def see(self, seen: StatusSnapshot | None, *, minutes: float = 0.0) -> list[Message]:
        """The same picture for so long; what was told in that time."""
        before = len(self.messages)
        end = self.now + timedelta(minutes=minutes)
        while True:
            self.account, message = follow(self.account, look(seen), self.now, self.terms)
            self.account = decode(encode(Saved(account=self.account))).account  # as if restarted at each look
            if message is not None:
                self.messages.append(message)
            self.now += timedelta(seconds=10)
            if self.now > end:
                return self.messages[before:]


@pytest.fixture
def watch() -> Watch:
    return Watch()


def told(messages: Sequence[Message]) -> list[tuple[list[tuple[Kind, str]], list[tuple[Kind, str]]]]:
    """What has begun, and what is over, message by message."""
    return [
        (
            [(event.alarm.kind, event.alarm.subject) for event in message.begun],
            [(event.alarm.kind, event.alarm.subject) for event in message.over],
        )
        for message in messages
    ]


def test_nothing_is_told_while_all_is_well(watch: Watch) -> None:
    assert watch.see(service(view(1, S.DONE), view(2, S.RUNNING)), minutes=120) == []


def test_a_failed_case_is_told_once_and_once_more_when_it_is_over(watch: Watch) -> None:
    broken = failed(1)
    assert told(watch.see(service(*broken), minutes=240)) == [([(Kind.CASE_FAILED, "c000000000001")], [])]
    assert watch.see(service(view(1, S.QUEUED)), minutes=5) == [], "whether it went well is not known yet"
    assert told(watch.see(service(view(1, S.DONE)), minutes=240)) == [([], [(Kind.CASE_FAILED, "c000000000001")])]


def test_fifty_failing_cases_make_one_message(watch: Watch) -> None:
    for number in range(1, 51):  # one after the other, within the window
        watch.see(service(*failed(*range(1, number + 1))))
        watch.now -= timedelta(seconds=9)
    (message,) = watch.see(service(*failed(*range(1, 51))), minutes=60)
    assert message.begun_count == 50
    assert subject(message, HEAD) == "csf24 on ward-a: 50 cases failed"
    assert text(message, HEAD).count("- case failed:") == 20
    assert "- and 30 more" in text(message, HEAD)
    assert len(json.loads(payload(message, HEAD))["begun"]) == 50


def test_more_cases_than_a_message_lists_are_all_counted(watch: Watch) -> None:
    (message,) = watch.see(service(*failed(*range(1, 121))), minutes=5)
    assert subject(message, HEAD) == "csf24 on ward-a: 120 cases failed"
    assert json.loads(payload(message, HEAD))["begun_count"] == 120
    assert len(message.begun) == 50


def test_a_case_that_is_tried_again_is_told_only_after_a_while(watch: Watch) -> None:
    trying = service(view(1, S.FAILED, retrying=True, reasons=(PEER_SILENT,)))
    sending = service(view(1, S.SENDING))
    for _ in range(8):  # the PACS takes it and never confirms: to and fro
        assert watch.see(trying, minutes=1) == []
        assert watch.see(sending) == []
    assert told(watch.see(trying, minutes=60)) == [([(Kind.CASE_RETRYING, "c000000000001")], [])]
    assert told(watch.see(service(view(1, S.DONE)), minutes=60)) == [([], [(Kind.CASE_RETRYING, "c000000000001")])]


def test_a_case_that_gets_through_in_time_is_not_told(watch: Watch) -> None:
    watch.see(service(view(1, S.FAILED, retrying=True)), minutes=9)
    assert watch.see(service(view(1, S.DONE)), minutes=60) == []


def test_a_case_that_fails_for_good_after_retrying_is_told_as_that_and_not_as_over(watch: Watch) -> None:
    watch.see(service(view(1, S.FAILED, retrying=True)), minutes=20)
    assert told(watch.see(service(*failed(1)), minutes=20)) == [([(Kind.CASE_FAILED, "c000000000001")], [])]
    assert watch.see(service(view(1, S.FAILED, retrying=True)), minutes=60) == [], "tried again, and no better"


def test_a_held_case_is_over_as_soon_as_it_is_released(watch: Watch) -> None:
    assert told(watch.see(service(view(4, S.HELD)), minutes=9)) == [([(Kind.CASE_HELD, "c000000000004")], [])]
    assert told(watch.see(service(view(4, S.QUEUED)), minutes=9)) == [([], [(Kind.CASE_HELD, "c000000000004")])]


def test_what_is_over_within_the_window_is_not_told(watch: Watch) -> None:
    watch.see(service(view(4, S.HELD)), minutes=0.5)
    assert watch.see(service(), minutes=60) == []


def test_what_comes_and_goes_is_told_once(watch: Watch) -> None:
    short = replace(snapshot().disk, free_bytes=1)
    watch.see(service(disk=short), minutes=5)
    for _ in range(20):
        assert watch.see(service(), minutes=0.5) == []
        assert watch.see(service(disk=short), minutes=0.5) == []
    assert told(watch.see(service(), minutes=9)) == [([], [(Kind.NOT_READY, "DISK_SHORT")])]


def test_a_service_that_is_not_ready_is_told_with_its_codes(watch: Watch) -> None:
    listener = snapshot().listener
    assert listener is not None
    (message,) = watch.see(service(listener=replace(listener, listening=False)), minutes=5)
    assert "not ready to receive: LISTENER_DOWN" in text(message, HEAD)


def test_a_ledger_that_does_not_answer_is_told_and_ends_nothing_else(watch: Watch) -> None:
    watch.see(service(*failed(1)), minutes=5)
    gone = service(ledger=None, machines=(), ledger_problem="no route to db.hospital.example as csf24")
    (message,) = watch.see(gone, minutes=60)
    assert told([message]) == [([(Kind.NOT_READY, "LEDGER_UNREACHABLE")], [])]
    assert message.red == 2
    assert "db.hospital" not in text(message, HEAD)
    back = watch.see(service(*failed(1)), minutes=60)
    assert told(back) == [([], [(Kind.NOT_READY, "LEDGER_UNREACHABLE")])]


def test_a_spool_that_is_gone_is_told_and_ends_nothing_else(watch: Watch) -> None:
    watch.see(service(*failed(1)), minutes=5)
    assert told(watch.see(None, minutes=60)) == [([(Kind.NOT_READY, "STATUS_UNAVAILABLE")], [])]


def test_a_machine_is_told_when_it_is_lost_and_when_it_is_back(watch: Watch) -> None:
    (alive,) = snapshot().machines
    lost = MachineView(name="b-0", host="b", roles=("work",), state="lost", heard_at=NOW)
    assert told(watch.see(service(machines=(alive, lost)), minutes=60)) == [([(Kind.MACHINE_LOST, "b-0")], [])]
    back = (alive, replace(lost, state="alive"))
    assert told(watch.see(service(machines=back), minutes=60)) == [([], [(Kind.MACHINE_LOST, "b-0")])]


def test_lost_audit_messages_are_told_once_for_as_long_as_they_are_lost(watch: Watch) -> None:
    for lost in range(1, 30):
        watch.see(service(audit_lost=lost), minutes=2)
    assert told(watch.messages) == [([(Kind.AUDIT_LOST, "audit trail")], [])]
    assert told(watch.see(service(audit_lost=29), minutes=30)) == [([], [(Kind.AUDIT_LOST, "audit trail")])]
    assert watch.see(service(audit_lost=0, started_at=NOW), minutes=30) == [], "a restart counts anew"
    assert len(watch.see(service(audit_lost=1, started_at=NOW), minutes=5)) == 1


def test_no_more_messages_than_agreed_in_an_hour_and_nothing_is_left_out() -> None:
    watch = Watch(replace(TERMS, per_hour=2))
    for number in range(1, 31):
        watch.see(service(*failed(*range(1, number + 1))), minutes=1.5)
    times = [message.at for message in watch.messages]
    assert len([at for at in times if at - times[0] < timedelta(hours=1)]) == 2
    watch.see(service(*failed(*range(1, 31))), minutes=61)
    assert sum(message.begun_count for message in watch.messages) == 30
    assert len(watch.messages) == 3


def test_what_came_and_went_while_the_limit_held_it_back_is_told_as_over() -> None:
    watch = Watch(replace(TERMS, per_hour=1))
    watch.see(service(*failed(1)), minutes=5)
    watch.see(service(*failed(1), view(4, S.HELD)), minutes=20)
    assert told(watch.see(service(*failed(1)), minutes=60)) == [([], [(Kind.CASE_HELD, "c000000000004")])]


def test_a_message_holds_neither_uids_nor_texts_nor_times_of_injection(watch: Watch) -> None:
    quoting = Reason(code="PERMANENT_ERROR", message="PACS said: DOE^JANE 4711")
    (message,) = watch.see(service(view(1, S.FAILED, reasons=(quoting,)), view(4, S.HELD)), minutes=5)
    for written in (text(message, HEAD), payload(message, HEAD).decode()):
        assert "PERMANENT_ERROR" in written
        assert "https://csf24.hospital.example" in written
        assert not re.search("DOE|4711|08:17|" + re.escape(BASELINE_UID) + "|" + re.escape(DELAYED_UID), written)


def test_what_was_told_is_read_back_as_it_was_written(watch: Watch) -> None:
    watch.see(service(*failed(1), view(4, S.HELD), audit_lost=3), minutes=5)
    watch.see(service(*failed(1)))
    saved = Saved(account=watch.account, waiting={"mail": tuple(watch.messages)})
    assert decode(encode(saved)) == saved


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "events": [{}]}', "null"])
def test_what_cannot_be_read_back_is_said_to_be_so(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)
