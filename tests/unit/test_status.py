"""What the status page sees of a real ledger and spool."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pynetdicom.sop_class import Verification

from service.cases import CaseOutcome, CaseState
from service.errors import Reason, StorageUnavailable
from service.monitoring.snapshot import DiskView, StatusSnapshot
from service.network.peers import LocalEntity
from service.status import PeerWatch, StatusSource
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.storage.work_ledger import DeliveryState
from tests.builders.network import QUICK, peer, scripted_peer
from tests.builders.programs import free_ports, wait_until
from tests.builders.received import NOON, make_header, make_stored
from tests.builders.status import snapshot

CASE = "c0000000000aa"
PNG = b"\x89PNG picture"
REASON = Reason(code="PEER_UNAVAILABLE", message="PACS did not answer")


class Desk:
    """The source, and what it draws from."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root / "spool", min_free_bytes=0)
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
        self.disks: list[DiskView] = []
        self.source = StatusSource(self.ledger, self.spool, required_bytes=1 << 40, parts=self.parts)

    def parts(self, disk: DiskView) -> StatusSnapshot:
        self.disks.append(disk)
        return replace(snapshot(), disk=disk, ledger=None, ledger_problem="", cases=())

    def walk(self, case_id: str, *states: CaseState, minute: int = 0) -> None:
        """Open a case and move it through `states`."""
        now = NOON + timedelta(minutes=minute)
        self.ledger.cases.open(case_id, state=CaseState.QUEUED, patient_key="k", now=now)
        for state in states:
            self.ledger.cases.transition(
                case_id, expected=tuple(CaseState), to=state, outcome=CaseOutcome.PREDICTED, now=now
            )

    def publish(self, report: str) -> None:
        def build(draft: Path) -> None:
            (draft / "report.json").write_text(report)
            (draft / "preview.png").write_bytes(PNG)

        self.spool.publish_result(CASE, 1, build)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.ledger.close()
    desk.spool.close()


def test_the_picture_of_the_service_has_the_figures_of_ledger_and_disk(desk: Desk) -> None:
    header = make_header()
    desk.ledger.instances.record(make_stored(header), header)
    desk.ledger.instances.record(make_stored(header, content="b"), header)
    desk.walk("c1", CaseState.RUNNING, CaseState.SENDING)
    desk.ledger.deliveries.plan("c1", 1, ["PACS"], ["1.2.3", "1.2.4"], NOON)
    desk.ledger.deliveries.mark("c1", 1, "PACS", ["1.2.3"], DeliveryState.CONFIRMED, now=NOON)

    seen = desk.source.snapshot()
    assert seen.ledger is not None
    assert (seen.ledger.instances, seen.ledger.instance_bytes, seen.ledger.conflicts) == (2, 200, 1)
    assert (seen.ledger.cases[CaseState.SENDING], seen.ledger.cases[CaseState.DONE]) == (1, 0)
    assert (seen.ledger.deliveries["confirmed"], seen.ledger.deliveries["pending"]) == (1, 1)
    assert [view.case.case_id for view in seen.cases] == ["c1"]
    usage = shutil.disk_usage(desk.spool.root)
    assert seen.disk.total_bytes == usage.total
    assert seen.disk.free_bytes == pytest.approx(usage.free, rel=0.05)
    assert seen.disk.short is (usage.free < 1 << 40)


def test_everything_unfinished_is_shown_and_of_the_finished_the_newest(desk: Desk) -> None:
    desk.walk("copen", CaseState.RUNNING, minute=-1)
    for number in range(55):
        desk.walk(f"c{number:03d}", CaseState.RUNNING, CaseState.SENDING, CaseState.DONE, minute=number)
    desk.ledger.cases.open("cheld", state=CaseState.HELD, patient_key="k", reasons=(REASON,), now=NOON)

    shown = [view.case.case_id for view in desk.source.snapshot().cases]
    assert shown[0] == "c054"  # the newest change first
    assert {"copen", "cheld", "c005"} <= set(shown)
    assert "c004" not in shown
    assert len(shown) == 52


def test_many_predictions_do_not_push_a_refusal_off_the_page(desk: Desk) -> None:
    desk.walk("crefused", CaseState.RUNNING, CaseState.SENDING)
    desk.ledger.cases.transition(
        "crefused", expected=(CaseState.SENDING,), to=CaseState.DONE, outcome=CaseOutcome.REFUSED, now=NOON
    )
    for number in range(55):
        desk.walk(f"c{number:03d}", CaseState.RUNNING, CaseState.SENDING, CaseState.DONE, minute=number + 1)

    seen = desk.source.snapshot()
    assert seen.ledger is not None
    assert seen.ledger.refused == 1
    assert "crefused" in [view.case.case_id for view in seen.cases]


def test_a_ledger_that_does_not_answer_is_in_the_picture_and_a_lost_spool_is_said(desk: Desk) -> None:
    with desk.ledger._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE cases")
    seen = desk.source.snapshot()
    assert seen.ledger is None
    assert "the ledger failed" in seen.ledger_problem
    assert seen.cases == ()

    shutil.rmtree(desk.spool.root)
    with pytest.raises(StorageUnavailable, match="the spool cannot be reached"):
        desk.source.snapshot()


def test_a_case_is_shown_with_its_history_its_deliveries_and_what_its_report_says(desk: Desk) -> None:
    desk.walk(CASE, CaseState.RUNNING, CaseState.SENDING)
    desk.publish(json.dumps({"timings_s": {"read": 1.5, "registration": 8.0, "total": 9.5}, "warnings": []}))
    desk.ledger.deliveries.plan(CASE, 1, ["PACS", "STATION"], ["1.2.3", "1.2.4"], NOON)
    desk.ledger.deliveries.mark(CASE, 1, "PACS", ["1.2.3", "1.2.4"], DeliveryState.CONFIRMED, now=NOON)
    desk.ledger.deliveries.mark(CASE, 1, "STATION", ["1.2.4"], DeliveryState.FAILED, status="0xA700", now=NOON)
    desk.ledger.cases.fail(CASE, 1, (REASON,), retrying=True, now=NOON)

    view = desk.source.case(CASE)
    assert view is not None
    assert view.retrying
    assert [event.kind for event in view.events] == ["queued", "running", "sending", "failed"]
    assert [(d.destination, d.delivered, d.deliverable, d.status) for d in view.deliveries] == [
        ("PACS", 2, 2, ""),
        ("STATION", 0, 2, "0xA700"),
    ]
    assert dict(view.timings_s) == {"read": 1.5, "registration": 8.0}
    assert view.has_picture
    assert desk.source.picture(CASE) == PNG
    (brief,) = desk.source.snapshot().cases
    assert (brief.retrying, brief.has_picture, dict(brief.timings_s)) == (True, True, dict(view.timings_s))


@pytest.mark.parametrize("report", ["", "{", "[1]"])
def test_a_report_that_cannot_be_read_leaves_the_case_on_the_page(desk: Desk, report: str) -> None:
    desk.walk(CASE, CaseState.RUNNING, CaseState.SENDING)
    desk.publish(report)
    view = desk.source.case(CASE)
    assert view is not None
    assert (dict(view.timings_s), view.warnings) == ({}, ())
    assert len(desk.source.snapshot().cases) == 1


def test_what_is_not_known_or_was_removed_has_no_page_and_no_picture(desk: Desk) -> None:
    assert desk.source.case(CASE) is None
    assert desk.source.picture(CASE) is None
    desk.walk(CASE, CaseState.RUNNING, CaseState.SENDING, CaseState.DONE)
    assert desk.source.picture(CASE) is None  # never converted, or gone by retention
    view = desk.source.case(CASE)
    assert view is not None
    assert not view.has_picture


def test_destinations_are_asked_and_the_reason_of_one_that_is_down_is_kept() -> None:
    (nobody,) = free_ports()
    with scripted_peer([], Verification) as there:
        away = peer(nobody, "AWAY", name="away")
        watch = PeerWatch([replace(there, name="there"), away], QUICK, now=lambda: NOON)
        assert [view.answers for view in watch.views] == [None, None]
        watch.start()
        wait_until(lambda: all(view.answers is not None for view in watch.views), timeout_s=20)
        watch.stop()
    up, down = watch.views
    assert (up.answers, up.problem, up.checked_at) == (True, "", NOON)
    assert (down.answers, down.ae_title, down.port) == (False, "AWAY", nobody)
    assert "connection refused" in down.problem


def test_without_destinations_nobody_is_asked() -> None:
    watch = PeerWatch([], LocalEntity(), now=lambda: NOON)
    watch.start()
    watch.stop()
    assert watch.views == ()
