"""What the status page sees, gathered from the running service."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

from service.case_pictures import CasePictures
from service.cases import Case, CaseOutcome, CaseState
from service.dicom.records import InstanceHeader
from service.errors import PeerUnavailable, StorageUnavailable
from service.follow_up_view import follow_up_view
from service.jobs.recovery import is_alive
from service.monitoring import report_facts
from service.monitoring.snapshot import (
    BrowsingView,
    CaseView,
    DeliveryView,
    DiskView,
    LedgerFigures,
    MachineView,
    PeerView,
    PlaneView,
    SectionRequest,
    StatusSnapshot,
    WaitingView,
)
from service.network.peers import LocalEntity, Peer
from service.network.storage_scu import echo
from service.pictures.panels import SECTIONS
from service.pictures.sections import count_of, middle_of, picture_size
from service.report import Json
from service.result_files import PREVIEW_NAME, REPORT_NAME
from service.storage.case_rows import UnknownCase
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.storage.work_ledger import Delivery, DeliveryState
from service.storage.worker_ledger import Worker

ECHO_EVERY_S = 60.0
_FINISHED_SHOWN = 50
"""Of each kind, so that a busy week does not push the refusals off the page."""


class PeerWatch:
    """Asks every destination by C-ECHO, now and then, on a thread of its own."""

    def __init__(self, peers: Sequence[Peer], local: LocalEntity, *, now: Callable[[], datetime]) -> None:
        self._peers = tuple(peers)
        self._local = local
        self._now = now
        self._stopping = Event()
        self._views = {peer.name: _peer_view(peer) for peer in self._peers}
        self._thread = Thread(target=self._run, name="peer-watch", daemon=True)

    @property
    def views(self) -> tuple[PeerView, ...]:
        """As last seen."""
        return tuple(self._views[peer.name] for peer in self._peers)

    def start(self) -> None:
        """Begin to ask."""
        if self._peers:
            self._thread.start()

    def stop(self) -> None:
        """Ask no more; an open question may run on, and is a daemon's."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for peer in self._peers:
                problem = ""
                try:
                    echo(peer, self._local)
                except PeerUnavailable as fault:
                    problem = str(fault)
                self._views[peer.name] = _peer_view(peer, answers=not problem, checked_at=self._now(), problem=problem)
            self._stopping.wait(ECHO_EVERY_S)


class StatusSource:
    """Answers the status page.

    Parameters
    ----------
    parts
        A snapshot of everything but ledger, cases and disk; called for every page.
    required_bytes
        Below it associations are refused.
    """

    def __init__(
        self, ledger: Ledger, spool: Spool, *, required_bytes: int, parts: Callable[[DiskView], StatusSnapshot]
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._required_bytes = required_bytes
        self._parts = parts
        self._pictures = CasePictures()

    def snapshot(self) -> StatusSnapshot:
        """Now; a ledger that does not answer is part of the picture, not a failure of the page.

        Raises
        ------
        StorageUnavailable
            The spool is gone.
        """
        parts = self._parts(self._disk())
        try:
            counts, machines = self._ledger.counts(), self._machines(parts.taken_at)
            cases = tuple(self._brief(case) for case in self._shown())
            follow_ups = tuple(follow_up_view(row) for row in self._ledger.follow_ups.all())
            waiting = tuple(
                WaitingView(series=wait.series, since=wait.since, until=wait.until, reasons=wait.reasons)
                for wait in self._ledger.waiting.all()
            )
        except StorageUnavailable as fault:
            return replace(parts, ledger_problem=str(fault))
        figures = LedgerFigures(
            instances=counts.instances,
            instance_bytes=counts.instance_bytes,
            conflicts=counts.conflicts,
            rejected=counts.rejected,
            series_unsettled=counts.series_unsettled,
            cases=counts.cases,
            refused=counts.refused,
            deliveries={state.value: n for state, n in counts.deliveries.items()},
        )
        return replace(parts, ledger=figures, cases=cases, machines=machines, follow_ups=follow_ups, waiting=waiting)

    def _machines(self, now: datetime) -> tuple[MachineView, ...]:
        told = self._ledger.clock(now)
        return tuple(_machine_view(worker, told, now) for worker in self._ledger.workers.all())

    def _disk(self) -> DiskView:
        try:
            usage = shutil.disk_usage(self._spool.root)
        except OSError as fault:
            raise StorageUnavailable(f"the spool cannot be reached ({fault.strerror})") from fault
        return DiskView(free_bytes=usage.free, total_bytes=usage.total, required_bytes=self._required_bytes)

    def case(self, case_id: str) -> CaseView | None:
        """One case with all that is known of it; None when there is none."""
        try:
            case = self._ledger.cases.case(case_id)
        except UnknownCase:
            return None
        report, follow_up = self._report(case), self._ledger.follow_ups.of(case_id)
        return CaseView(
            case=case,
            retrying=self._ledger.cases.is_retrying(case_id),
            warnings=report_facts.warnings(report),
            events=self._ledger.cases.events(case_id),
            deliveries=_by_destination(self._ledger.deliveries.of(case_id, case.revision)),
            facts=report_facts.fact_groups(report),
            timings_s=report_facts.stage_seconds(report),
            has_picture=(self._directory(case) / PREVIEW_NAME).is_file(),
            checks=report_facts.checks(report),
            browsing=self._browsing(case),
            simulated_patient=report.get("simulated_patient") is True,
            follow_up=follow_up_view(follow_up) if follow_up else None,
        )

    def picture(self, case_id: str) -> bytes | None:
        """The preview; None when there is none."""
        try:
            return (self._directory(self._ledger.cases.case(case_id)) / PREVIEW_NAME).read_bytes()
        except (UnknownCase, OSError):
            return None

    def header(self, case_id: str) -> InstanceHeader | None:
        """Of one image that the case was made from; None when there is none."""
        try:
            case = self._ledger.cases.case(case_id)
        except UnknownCase:
            return None
        for series_uid in (case.baseline_series_uid, case.delayed_series_uid):
            headers = self._ledger.instances.headers_of(series_uid) if series_uid else ()
            if headers:
                return headers[0]
        return None

    def section(self, case_id: str, request: SectionRequest) -> bytes | None:
        """One section of a case; None when there is none."""
        try:
            case = self._ledger.cases.case(case_id)
        except UnknownCase:
            return None
        return self._pictures.section(self._directory(case), request)

    def _browsing(self, case: Case) -> BrowsingView | None:
        contents = self._pictures.contents(self._directory(case))
        if contents is None:
            return None
        return BrowsingView(
            layers=contents.layers,
            planes=tuple(
                PlaneView(
                    name=name,
                    count=count_of(name, contents),
                    middle=middle_of(name, contents),
                    width=picture_size(name, contents)[0],
                    height=picture_size(name, contents)[1],
                )
                for name in SECTIONS
            ),
            registered=contents.registered,
        )

    def _shown(self) -> tuple[Case, ...]:
        finished = (CaseState.DONE, CaseState.DISCARDED)
        unfinished = self._ledger.cases.cases(*(state for state in CaseState if state not in finished))
        kinds = (
            (CaseState.DONE, CaseOutcome.PREDICTED),
            (CaseState.DONE, CaseOutcome.REFUSED),
            (CaseState.DISCARDED, None),
        )
        newest = [
            case
            for state, outcome in kinds
            for case in self._ledger.cases.cases(state, outcome=outcome, limit=_FINISHED_SHOWN)
        ]
        return tuple(sorted((*unfinished, *newest), key=lambda case: case.updated_at, reverse=True))

    def _brief(self, case: Case) -> CaseView:
        return CaseView(
            case=case,
            retrying=case.state is CaseState.FAILED and self._ledger.cases.is_retrying(case.case_id),
            timings_s=report_facts.stage_seconds(self._report(case)),
            has_picture=(self._directory(case) / PREVIEW_NAME).is_file(),
        )

    def _directory(self, case: Case) -> Path:
        return self._spool.result_path(case.case_id, case.revision)

    def _report(self, case: Case) -> Json:
        try:
            report: Json = json.loads((self._directory(case) / REPORT_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not converted yet, or removed by retention
            return {}
        return report if isinstance(report, dict) else {}


def _machine_view(worker: Worker, told: datetime, now: datetime) -> MachineView:
    silent_for = told - worker.beat_at
    lost = worker.taken_over_at is not None
    return MachineView(
        name=worker.executor_id,
        host=worker.host,
        roles=worker.roles,
        state="lost" if lost else "alive" if is_alive(worker, told) else "silent",
        heard_at=now - silent_for,
    )


def _peer_view(
    peer: Peer, *, answers: bool | None = None, checked_at: datetime | None = None, problem: str = ""
) -> PeerView:
    return PeerView(
        name=peer.name,
        ae_title=peer.ae_title,
        host=peer.host,
        port=peer.port,
        answers=answers,
        checked_at=checked_at,
        problem=problem,
    )


def _by_destination(deliveries: Sequence[Delivery]) -> tuple[DeliveryView, ...]:
    grouped: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        grouped[delivery.destination].append(delivery)
    views = []
    for name, of_one in grouped.items():
        open_ = [d for d in of_one if d.state is not DeliveryState.CONFIRMED]
        views.append(
            DeliveryView(
                destination=name,
                delivered=len(of_one) - len(open_),
                deliverable=len(of_one),
                status=next((d.status for d in open_ if d.status), ""),
            )
        )
    return tuple(views)
