"""The service's regular work, with real pairing on a real ledger; only the clock is the test's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.cases import CaseOutcome, CaseState, case_id_for
from service.config import load_config
from service.dicom.pairing import pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.summaries import summarise
from service.dicom.verdicts import Verdict
from service.errors import StorageUnavailable
from service.housekeeping import Housekeeping
from service.injection_file import InjectionFile
from service.jobs.assembler import Assembler
from service.jobs.memory_queue import MemoryQueue
from service.jobs.recovery import SILENT_FOR, Leadership, Sweeper
from service.jobs.retry import RetryPolicy
from service.presence import Presence
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.working import released_times
from tests.builders.programs import wait_until
from tests.builders.received import NOON, make_stored, series_uid, spool_one
from tests.builders.scripted_steps import ScriptedSteps
from tests.builders.t1_series import INJECTION, after, t1_headers

CASE = case_id_for(series_uid(1), series_uid(2))
HEADING = "patient_id,injection_time\n"
ROW = f"P1,{INJECTION.isoformat()}\n"
QUIET = timedelta(seconds=20)
LATER = NOON + timedelta(minutes=1)


class Site:
    """A service without network and conversion; `housekeeping` may be made anew, as after a restart."""

    def __init__(self, root: Path) -> None:
        self.table = root / "times.csv"
        self.edit(HEADING, minute=1)
        self.spool = Spool(root / "spool", min_free_bytes=0)
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
        self.queue = MemoryQueue(ScriptedSteps(), policy=RetryPolicy())
        self.now = NOON
        self.start()

    def start(self) -> None:
        config = load_config(None, {"CSF24_PAIRING__INJECTION_TIMES": str(self.table)})
        self.file = InjectionFile(config)

        def pair_up(
            series: Sequence[SeriesSummary], now: datetime, /, *, last_received: Mapping[str, datetime]
        ) -> Sequence[Verdict]:
            return pair(
                series,
                now,
                policy=PairingPolicy(),
                injection_times=self.file.times(),
                last_received=last_received,
            )

        self.leadership = Leadership(self.ledger.leases, executor_id="here-0")
        sweeper = Sweeper(self.ledger.workers, self.queue, executor_id="here-0")
        self.presence = Presence(
            self.ledger,
            executor_id="here-0",
            host="here",
            roles=("work",),
            duties=(self.leadership.renew, sweeper.tick),
            now=lambda: self.now,
        )
        self.presence.tick(self.now)
        self.assembler = Assembler(self.ledger, self.queue, summarise=summarise, pair=pair_up, quiet=QUIET)
        self.housekeeping = Housekeeping(
            self.ledger,
            self.queue,
            assembler=self.assembler,
            leadership=self.leadership,
            retention=self.ledger.retention(self.spool, received=timedelta(days=14), results=None),
            injection_file=self.file,
            now=lambda: self.now,
        )

    def edit(self, text: str, minute: int) -> None:
        """The table of injection times, as saved at that minute."""
        self.table.write_text(text)
        os.utime(self.table, (60 * minute, 60 * minute))

    def receive_pair(self) -> None:
        for series, hours in ((1, -1.0), (2, 1.5)):
            for header in t1_headers(series, after(hours), slices=range(75), spacing=2.0):
                self.ledger.instances.record(make_stored(header, at=NOON), header)

    def states(self) -> list[CaseState]:
        return [case.state for case in self.ledger.cases.cases()]

    def waiting(self) -> int:
        return self.queue.states().waiting


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.ledger.close()
    site.spool.close()


def hold(site: Site) -> None:
    """A pair whose injection time nobody has told."""
    site.receive_pair()
    site.housekeeping.turn(LATER)
    (case,) = site.ledger.cases.cases()
    assert (case.state, [reason.code for reason in case.reasons]) == (CaseState.HELD, ["INJECTION_TIME_MISSING"])


def test_a_held_pair_goes_on_once_the_table_is_given_its_time(site: Site) -> None:
    hold(site)
    site.housekeeping.turn(LATER + timedelta(seconds=10))
    assert site.states() == [CaseState.HELD]
    site.edit(HEADING + ROW, minute=2)
    site.housekeeping.turn(LATER + timedelta(seconds=20))
    (case,) = site.ledger.cases.cases()
    assert (case.case_id, case.state, case.hours_after_injection) == (CASE, CaseState.QUEUED, 1.5)
    assert site.waiting() == 1


def test_a_patient_that_is_waited_for_is_paired_as_soon_as_a_typo_in_the_table_is_corrected(site: Site) -> None:
    typo = INJECTION - timedelta(hours=2, minutes=30)
    site.edit(f"{HEADING}P1,{typo.isoformat()}\n", minute=2)
    site.receive_pair()
    for seconds in (0, 30):
        site.housekeeping.turn(LATER + timedelta(seconds=seconds))
    (wait,) = site.ledger.waiting.all()
    assert (site.states(), [reason.code for reason in wait.reasons]) == ([], ["BASELINE_MISSING"])
    site.edit(HEADING + ROW, minute=3)
    site.housekeeping.turn(LATER + timedelta(seconds=40))
    (case,) = site.ledger.cases.cases()
    assert (case.case_id, case.state, case.hours_after_injection) == (CASE, CaseState.QUEUED, 1.5)
    assert (site.ledger.waiting.all(), site.waiting()) == ((), 1)


def test_a_table_that_was_edited_while_no_service_ran_counts_too(site: Site) -> None:
    hold(site)
    site.edit(HEADING + ROW, minute=2)
    site.start()
    site.housekeeping.turn(LATER + timedelta(hours=1))
    assert site.states() == [CaseState.QUEUED]


def test_an_edit_that_meets_a_failing_ledger_is_not_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(site)
    site.edit(HEADING + ROW, minute=2)

    def fail(_: object) -> None:
        raise StorageUnavailable("the ledger failed: OperationalError")

    with monkeypatch.context() as patch:
        patch.setattr(site.ledger.instances, "unsettle_unpaired", fail)
        site.housekeeping.turn(LATER + timedelta(seconds=10))
        assert site.states() == [CaseState.HELD]
    site.housekeeping.turn(LATER + timedelta(seconds=11))
    assert site.states() == [CaseState.QUEUED]


def test_a_patient_that_cannot_be_paired_stops_neither_heartbeat_nor_retries(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ledger.cases.open(CASE, state=CaseState.QUEUED, patient_key="k", now=NOON)

    def fail(_: datetime) -> None:
        raise ValueError("SECRET^NAME is no number")

    monkeypatch.setattr(site.assembler, "tick", fail)
    with capture_logs() as logged:
        site.presence.tick(LATER)
        site.housekeeping.turn(LATER)
    (entry,) = logged
    assert (entry["log_level"], entry["kind"]) == ("error", "ValueError")
    assert "SECRET" not in str(logged)
    assert site.waiting() == 1
    others_view = LATER + SILENT_FOR - timedelta(seconds=1)
    assert site.ledger.workers.claim_dead("other", silent_for=SILENT_FOR, now=others_view) == ()
    silent = LATER + SILENT_FOR + timedelta(seconds=1)
    assert site.ledger.workers.claim_dead("other", silent_for=SILENT_FOR, now=silent) == ("here-0",)


def test_a_case_that_another_process_queued_is_taken_up_within_seconds(site: Site) -> None:
    site.housekeeping.turn(NOON)
    site.ledger.cases.open(CASE, state=CaseState.QUEUED, patient_key="k", now=NOON)
    site.housekeeping.turn(NOON + timedelta(seconds=2))
    assert site.waiting() == 0  # not at every turn
    site.housekeeping.turn(NOON + timedelta(seconds=5))
    assert site.waiting() == 1


def test_what_is_over_and_old_leaves_the_disk_hour_by_hour(site: Site) -> None:
    header = t1_headers(1)[0]
    stored = spool_one(site.spool, header)
    site.ledger.instances.record(stored, header)
    uid = series_uid(1)
    site.ledger.cases.open(CASE, state=CaseState.QUEUED, patient_key="k", baseline_series_uid=uid, now=NOON)
    for state in (CaseState.RUNNING, CaseState.SENDING, CaseState.DONE):
        site.ledger.cases.transition(CASE, expected=tuple(CaseState), to=state, outcome=CaseOutcome.PREDICTED, now=NOON)
    row = site.ledger.instances.series(uid)
    assert row is not None
    site.ledger.instances.settle([row])
    site.housekeeping.turn(NOON + timedelta(days=13, hours=23, minutes=30))
    assert site.spool.path(stored).is_file()
    with capture_logs() as logged:
        site.housekeeping.turn(NOON + timedelta(days=14, minutes=10))  # due, but this hour's sweep is done
        assert site.spool.path(stored).is_file()
        site.housekeeping.turn(NOON + timedelta(days=14, minutes=31))
    assert [(e["event"], e["series"], e["files"]) for e in logged] == [("retention", 1, 1)]
    with pytest.raises(StorageUnavailable, match="has lost"):
        site.spool.path(stored)


def test_the_end_of_an_association_is_looked_at_at_once_and_stopping_ends_the_thread(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.housekeeping.TICK_S", 60.0)
    site.edit(HEADING + ROW, minute=2)
    site.start()
    site.now = LATER
    site.housekeeping.start()
    assert site.states() == []
    site.receive_pair()
    site.housekeeping.wake()
    wait_until(lambda: site.states() == [CaseState.QUEUED], timeout_s=10)
    site.housekeeping.stop(10)
    assert "housekeeping" not in {thread.name for thread in threading.enumerate()}


def test_a_time_that_a_person_gave_holds_for_its_series_once_the_case_is_beyond_pairing(site: Site) -> None:
    uids = {"baseline_series_uid": series_uid(1), "delayed_series_uid": series_uid(2)}
    site.ledger.cases.open(CASE, state=CaseState.HELD, patient_key="k", injection_time=INJECTION, now=NOON, **uids)
    assert released_times(site.ledger.cases.cases(), [series_uid(2)]) == {}
    site.ledger.cases.release(CASE, now=NOON, injection_time=INJECTION)
    assert released_times(site.ledger.cases.cases(), [series_uid(1), series_uid(2)]) == {series_uid(2): INJECTION}
    assert released_times(site.ledger.cases.cases(), [series_uid(7)]) == {}
