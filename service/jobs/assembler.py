"""The assembler: turns what has arrived into cases, and cases into jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol, TypeAlias

import structlog

from service.cases import Case, CaseState, case_id_for
from service.dicom.records import InstanceHeader, SeriesSummary
from service.dicom.verdicts import Held, Paired, Unpairable, Verdict, Waiting
from service.errors import InputRefused, Reason
from service.jobs.late_arrivals import LateArrivals
from service.jobs.port import JobQueue
from service.storage.identifiers import held_case_id
from service.storage.instance_ledger import SeriesRow
from service.storage.ledger import Ledger
from service.storage.waiting_ledger import WaitingSeries

QUIET = timedelta(seconds=20)
"""How long nothing of a series may arrive before it is taken as ended when its geometry cannot tell."""
_AGAIN = timedelta(seconds=5)
_LACKING = frozenset({"BASELINE_MISSING", "PARTNER_MISSING"})
_log = structlog.get_logger()


class Pair(Protocol):
    """Pairs one patient's series (a pure function; the policy is already bound)."""

    def __call__(
        self, series: Sequence[SeriesSummary], now: datetime, /, *, last_received: Mapping[str, datetime]
    ) -> Sequence[Verdict]:
        """Verdicts on these series; `last_received` says when the newest instance of each arrived, by UID."""
        ...


Summarise: TypeAlias = Callable[[Sequence[InstanceHeader]], SeriesSummary]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """When a patient was looked at: at which arrivals, and when the next look is due without new ones."""

    arrivals: tuple[tuple[str, int], ...]
    due: datetime | None


class Assembler:
    """Call `tick` after an association is released and every few seconds.

    Parameters
    ----------
    on_lacking
        Told of series that wait for a partner from before them.
    """

    def __init__(
        self,
        ledger: Ledger,
        queue: JobQueue,
        *,
        summarise: Summarise,
        pair: Pair,
        quiet: timedelta = QUIET,
        on_lacking: Callable[[Sequence[SeriesSummary]], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._summarise = summarise
        self._pair = pair
        self._quiet = quiet
        self._on_lacking = on_lacking
        self._late = LateArrivals(ledger)
        self._looks: dict[str, _Look] = {}
        self._lock = Lock()

    def tick(self, now: datetime) -> tuple[Case, ...]:
        """Look at every patient with news; the cases that were opened, or confirmed as they are.

        Raises
        ------
        StorageUnavailable
            The ledger failed; the next tick does it all again.
        """
        touched: list[Case] = []
        with self._lock:
            patients = self._ledger.instances.patients_with_unsettled_series()
            for patient_key in patients:
                touched += self._look_at(patient_key, now)
            self._looks = {key: look for key, look in self._looks.items() if key in patients}
        return tuple(touched)

    def look_again(self) -> None:
        """Look at all that is in no pair yet at the next tick, waiting or not: pairing knows other injection times now.

        Raises
        ------
        StorageUnavailable
            The ledger failed; call it again.
        """
        with self._lock:
            self._ledger.instances.unsettle_unpaired()
            self._looks.clear()

    def _look_at(self, patient_key: str, now: datetime) -> list[Case]:
        rows = self._ledger.instances.series_of_patient(patient_key)
        arrivals = tuple((row.series_uid, row.arrivals) for row in rows)
        look = self._looks.get(patient_key)
        if look and look.arrivals == arrivals and look.due and now < look.due:
            return []
        by_uid = {row.series_uid: row for row in rows}
        arrived = {row.series_uid: row.last_received_at for row in rows}
        summaries = self._summaries(rows)
        verdicts = tuple(self._pair(summaries, now, last_received=arrived))
        self._tell_lacking(verdicts, summaries)
        self._note_waiting(patient_key, verdicts, by_uid)
        self._late.note(rows, now)
        touched: list[Case] = []
        due: list[datetime] = []
        for verdict in verdicts:
            when = self._due(verdict, by_uid, now)
            if when is not None:
                due.append(when)
            else:
                acted_on = self._act_on(verdict, patient_key, by_uid, now)
                touched += acted_on
                # What came while it was in work can only replace its result once there is one.
                due += [now + _AGAIN for case in acted_on if self._late.to_be_awaited(case)]
        # A series pairing has no use for may only be called so once it has ended.
        due += [row.last_received_at + self._quiet for row in rows if row.last_received_at + self._quiet > now]
        if due:
            self._looks[patient_key] = _Look(arrivals=arrivals, due=min(due))
        else:
            # Held cases that pairing no longer asks for, e.g. when the missing series has come.
            self._ledger.cases.supersede(patient_key, keep=[case.case_id for case in touched], now=now)
            self._ledger.instances.settle(rows)
        return touched

    def _tell_lacking(self, verdicts: Sequence[Verdict], summaries: Sequence[SeriesSummary]) -> None:
        waiting = {
            uid
            for verdict in verdicts
            if isinstance(verdict, Waiting) and _LACKING & {reason.code for reason in verdict.reasons}
            for uid in verdict.series_uids
        }
        if waiting:
            self._on_lacking([item for item in summaries if item.series_instance_uid in waiting])

    def _note_waiting(self, patient_key: str, verdicts: Sequence[Verdict], by_uid: Mapping[str, SeriesRow]) -> None:
        waits = [
            WaitingSeries(
                series=len(verdict.series_uids),
                since=max(by_uid[uid].last_received_at for uid in verdict.series_uids),
                until=verdict.until,
                reasons=verdict.reasons,
            )
            for verdict in verdicts
            if isinstance(verdict, Waiting) and verdict.series_uids
        ]
        self._ledger.waiting.replace(patient_key, waits)

    def _summaries(self, rows: Sequence[SeriesRow]) -> tuple[SeriesSummary, ...]:
        summaries = []
        for row in rows:
            headers = self._ledger.instances.headers_of(row.series_uid)
            if not headers:
                continue  # only conflicting instances
            try:
                summaries.append(self._summarise(headers))
            except InputRefused as refusal:
                _log.info("series left out of pairing", reasons=[reason.code for reason in refusal.reasons])
        return tuple(summaries)

    def _due(self, verdict: Verdict, by_uid: dict[str, SeriesRow], now: datetime) -> datetime | None:
        """When to act on a verdict, or None for now."""
        if isinstance(verdict, Waiting):
            return verdict.until if verdict.until and verdict.until > now else None
        wait: timedelta | None = None
        uids: tuple[str, ...]
        if isinstance(verdict, Paired):
            wait, uids = verdict.wait, (verdict.baseline_series_uid, verdict.delayed_series_uid)
        else:
            uids = verdict.series_uids
        settled_at = max(by_uid[uid].last_received_at for uid in uids) + (self._quiet if wait is None else wait)
        return settled_at if settled_at > now else None

    def _act_on(self, verdict: Verdict, patient_key: str, by_uid: dict[str, SeriesRow], now: datetime) -> list[Case]:
        if isinstance(verdict, Waiting):
            return []
        if isinstance(verdict, Paired):
            case: Case | None = self._open(verdict, patient_key, by_uid, now)
        else:
            case = self._hold(verdict, patient_key, now)
        if case is None:
            return []
        if case.state is CaseState.QUEUED:
            self._queue.submit(case.case_id, case.revision)
        return [case]

    def _open(self, found: Paired, patient_key: str, by_uid: dict[str, SeriesRow], now: datetime) -> Case:
        uids = (found.baseline_series_uid, found.delayed_series_uid)
        conflicts = sum(by_uid[uid].n_conflicts for uid in uids)
        reasons = (_conflict_reason(conflicts),) if conflicts else ()
        case = self._ledger.cases.open(
            case_id_for(*uids),
            state=CaseState.HELD if conflicts else CaseState.QUEUED,
            patient_key=patient_key,
            baseline_series_uid=found.baseline_series_uid,
            delayed_series_uid=found.delayed_series_uid,
            injection_time=found.injection_time,
            hours_after_injection=found.hours_after_injection,
            reasons=reasons,
            now=now,
        )
        if found.follow_up_series_uid and found.follow_up_hours is not None:
            self._ledger.follow_ups.want(
                case.case_id,
                found.follow_up_series_uid,
                hours=found.follow_up_hours,
                instances=by_uid[found.follow_up_series_uid].n_instances,
                now=now,
            )
        if case.state is CaseState.DONE and not conflicts and self._late.of(case):
            text = "more of its series came after they were used; the new result replaces the earlier one"
            case = self._ledger.cases.requeue(case.case_id, now=now, text=text)
        return case

    def _hold(self, held: Held | Unpairable, patient_key: str, now: datetime) -> Case | None:
        consumed = self._ledger.cases.consumers(held.series_uids)
        if all(uid in consumed for uid in held.series_uids):
            return None  # these were paired before, by a person or with fewer candidates around
        baseline, delayed = ("", "")
        if isinstance(held, Held):
            baseline, delayed = held.baseline_series_uid, held.delayed_series_uid
        case_id = (
            case_id_for(baseline, delayed) if baseline and delayed else held_case_id(patient_key, held.series_uids)
        )
        return self._ledger.cases.open(
            case_id,
            state=CaseState.HELD,
            patient_key=patient_key,
            baseline_series_uid=baseline,
            delayed_series_uid=delayed,
            other_series_uids=held.series_uids,
            reasons=held.reasons,
            now=now,
        )


def _conflict_reason(count: int) -> Reason:
    return Reason(
        code="CONFLICTING_INSTANCES",
        message="instances came twice with different content under one SOP Instance UID; "
        "check at the source which is right, then release the case to use those that came first",
        measured=float(count),
        limit=0.0,
    )
