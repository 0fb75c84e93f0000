"""Slices that come after their series was used: the result is made anew from all of them, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.cases import Case, CaseOutcome, CaseState
from service.dicom.records import StoredInstance
from service.errors import Reason
from service.jobs.results import ConvertedPair
from service.jobs.steps import LedgerCaseSteps
from service.storage.spool import Spool
from tests.builders.pairing_site import CASE, SLICES, Site, scan, soon
from tests.builders.received import NOON

S = CaseState
DAY = timedelta(days=1)
PACS_IS_DOWN = Reason(code="PEER_UNAVAILABLE", message="no association")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def _every_5_s(since: datetime, until: datetime) -> Iterator[datetime]:
    while since <= until:
        yield since
        since += timedelta(seconds=5)


def _pair_up(site: Site) -> None:
    site.receive([*scan(1, -1.0), *scan(2, 1.5)], NOON)
    site.look(soon(seconds=30))
    assert site.case().state is S.QUEUED


def test_a_slice_that_comes_while_the_pacs_is_down_is_in_the_result_that_follows(site: Site) -> None:
    _pair_up(site)
    site.move(S.RUNNING, at=soon(seconds=31))
    site.publish(site.read(), at=soon(seconds=60))
    site.ledger.cases.fail(CASE, 1, [PACS_IS_DOWN], retrying=True, now=soon(seconds=70))
    site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=80))
    site.look(*_every_5_s(soon(seconds=81), soon(seconds=200)))
    assert (site.case().state, site.case().revision) == (S.FAILED, 1)
    site.move(S.SENDING, S.DONE, at=soon(seconds=210))
    site.look(*_every_5_s(soon(seconds=211), soon(seconds=300)))
    assert (site.case().state, site.case().revision) == (S.QUEUED, 2)


def test_a_slice_that_comes_for_a_case_that_waits_for_a_person_is_looked_at_once(site: Site) -> None:
    _pair_up(site)
    site.move(S.RUNNING, at=soon(seconds=31))
    site.ledger.cases.fail(CASE, 1, [PACS_IS_DOWN], retrying=False, now=soon(seconds=70))
    site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=80))
    site.look(*_every_5_s(soon(seconds=81), soon(seconds=120)))
    assert site.ledger.instances.patients_with_unsettled_series() == ()
    assert (site.case().state, site.case().revision) == (S.FAILED, 1)  # retried, it has them all


def _finish_and_remove(site: Site, spool: Spool) -> None:
    """A pair that was done, and that retention has removed since."""
    _pair_up(site)
    site.move(S.RUNNING, at=soon(seconds=31))
    site.publish(site.read(), at=soon(seconds=60))
    site.move(S.DONE, at=soon(seconds=70))
    site.look(*_every_5_s(soon(seconds=71), soon(seconds=120)))
    removed = site.ledger.retention(spool, received=14 * DAY, results=None).sweep(NOON + 15 * DAY)
    assert (removed.series, removed.files) == (2, 150)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    yield spool
    spool.close()


def test_a_study_that_is_sent_again_after_retention_removed_it_changes_nothing(site: Site, spool: Spool) -> None:
    _finish_and_remove(site, spool)
    again = NOON + 20 * DAY
    slices = list(SLICES)
    site.receive([*scan(1, -1.0), *scan(2, 1.5, slices[:40])], again)
    site.look(*_every_5_s(again, again + timedelta(minutes=1)), again + timedelta(hours=2))
    site.receive(scan(2, 1.5, slices[:39:-1]), again + timedelta(hours=3))
    site.look(*_every_5_s(again + timedelta(hours=3), again + timedelta(hours=3, minutes=1)))
    assert (site.case().state, site.case().revision) == (S.DONE, 1)
    assert "late-arrival" not in [event.kind for event in site.ledger.cases.events(CASE)]
    assert (site.held(), site.ledger.instances.patients_with_unsettled_series()) == ([], ())


def test_a_study_that_is_sent_again_with_slices_that_were_not_used_is_converted_anew(site: Site, spool: Spool) -> None:
    _finish_and_remove(site, spool)
    again = NOON + 20 * DAY
    site.receive([*scan(1, -1.0), *scan(2, 1.5, range(80))], again)
    site.look(*_every_5_s(again, again + timedelta(minutes=1)))
    assert (site.case().state, site.case().revision) == (S.QUEUED, 2)


def test_a_result_of_a_version_that_kept_no_record_is_judged_by_the_clock(site: Site) -> None:
    _pair_up(site)
    site.move(S.RUNNING, S.SENDING, S.DONE, at=soon(seconds=40))
    site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=80))
    site.look(*_every_5_s(soon(seconds=81), soon(seconds=120)))
    assert (site.case().state, site.case().revision) == (S.QUEUED, 2)


def test_a_listener_whose_clock_is_slow_loses_no_late_slices(site: Site) -> None:
    slow = timedelta(seconds=-40)
    site.receive([*scan(1, -1.0), *scan(2, 1.5)], NOON + slow)
    site.look(soon(seconds=1))
    site.move(S.RUNNING, at=soon(seconds=2))
    used = site.read()
    site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=10) + slow)
    site.look(*_every_5_s(soon(seconds=11), soon(seconds=59)))
    site.publish(used, at=soon(seconds=60))
    site.look(soon(seconds=65))
    late = [event.text for event in site.ledger.cases.events(CASE) if event.kind == "late-arrival"]
    assert late == ["more of the delayed series came after it was used: 80 instances and 0 conflicts now"]
    site.move(S.DONE, at=soon(seconds=70))
    site.look(*_every_5_s(soon(seconds=71), soon(seconds=120)))
    assert (site.case().state, site.case().revision) == (S.QUEUED, 2)


def test_a_conversion_that_was_resumed_and_read_every_slice_is_not_done_twice(site: Site) -> None:
    _pair_up(site)
    site.move(S.RUNNING, at=soon(seconds=31))
    site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=40))  # its worker dies; another takes over at 60 s
    site.ledger.cases.interrupted(CASE, now=soon(seconds=60))
    used = site.read()
    site.look(*_every_5_s(soon(seconds=41), soon(seconds=89)))
    site.publish(used, at=soon(seconds=90))
    site.move(S.DONE, at=soon(seconds=95))
    site.look(*_every_5_s(soon(seconds=96), soon(seconds=200)))
    assert (site.case().state, site.case().revision) == (S.DONE, 1)
    assert site.ledger.instances.patients_with_unsettled_series() == ()


def test_an_image_that_was_on_its_way_when_the_conversion_read_its_series_is_not_lost(site: Site, spool: Spool) -> None:
    """With the worker's own steps: it was received before the conversion began, and recorded after it had read."""

    def convert(
        case: Case, baseline: Sequence[StoredInstance], delayed: Sequence[StoredInstance], into: Path
    ) -> ConvertedPair:
        if case.revision == 1:
            site.receive(scan(2, 1.5, range(75, 80)), soon(seconds=39))
        read.append((len(baseline), len(delayed)))
        return ConvertedPair(outcome=CaseOutcome.PREDICTED, reasons=(), objects=())

    read: list[tuple[int, int]] = []
    steps = LedgerCaseSteps(
        site.ledger,
        spool,
        convert_pair=convert,
        send=lambda destination, objects: [],
        confirm=lambda destination, objects: {},
        destinations=[],
        now=lambda: soon(seconds=40),
    )
    _pair_up(site)
    for revision in (1, 2):
        assert (site.case().state, site.case().revision) == (S.QUEUED, revision)
        steps.convert(CASE, revision)
        steps.close(CASE, revision)
        site.look(*_every_5_s(soon(seconds=41), soon(seconds=100)))
    assert (site.case().state, read) == (S.DONE, [(75, 75), (75, 80)])
