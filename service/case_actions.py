"""What a person does about a case: retry, release, discard; one piece of code for command line and status page."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from service.cases import Case, CaseState
from service.config import Config
from service.dicom.pair_check import check_pair
from service.dicom.records import SeriesSummary
from service.dicom.summaries import summarise
from service.errors import UsageError
from service.monitoring.snapshot import SeriesChoice
from service.storage.ledger import Ledger
from service.wiring import pairing_policy

_LONGEST_LIST = 40
"""Series that the page offers; a patient with more is one for the command line."""


class CaseActions:
    """Acts on the ledger; the running service takes up within seconds what was queued.

    Every method raises `UnknownCase`, `IllegalTransition` or `UsageError` with nothing changed. `by` says in the case's
    history who it was.
    """

    def __init__(self, ledger: Ledger, config: Config, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._config = config
        self._now = now

    def retry(self, case_id: str, *, by: str) -> Case:
        """Convert a case that failed or is done anew; the result says that it replaces an earlier one."""
        return self._ledger.cases.requeue(case_id, now=self._now(), text=f"retried by {by}")

    def discard(self, case_id: str, *, by: str) -> Case:
        """Close a case that is not done; what was received stays until retention removes it."""
        return self._ledger.cases.discard(case_id, now=self._now(), text=f"discarded by {by}")

    def release(
        self, case_id: str, *, by: str, baseline: str = "", delayed: str = "", injection_time: str = ""
    ) -> Case:
        """Queue a held case with what it lacked, or one that failed or is done with a corrected time.

        The checks on headers and pixels still apply.

        Parameters
        ----------
        baseline, delayed
            Series Instance UIDs; empty for what the case has.
        injection_time
            ISO 8601 with a time of day; empty for what the case has.
        """
        held = self._ledger.cases.case(case_id)
        injected = parse_time(injection_time) if injection_time else held.injection_time
        pair = (baseline or held.baseline_series_uid, delayed or held.delayed_series_uid)
        for uid in pair:
            if uid and self._ledger.instances.series(uid) is None:
                raise UsageError(f"series {uid}: nothing of it has been received")
        hours = hours_after_injection(self._ledger, *pair, injected, self._config) if all(pair) else None
        chosen = {baseline, delayed} - {"", held.baseline_series_uid, held.delayed_series_uid}
        if held.state in (CaseState.DONE, CaseState.FAILED) and injection_time and injected and not chosen:
            text = f"injection time corrected by {by}"
            return self._ledger.cases.correct(
                case_id, injection_time=injected, hours_after_injection=hours, now=self._now(), text=text
            )
        return self._ledger.cases.release(
            case_id,
            now=self._now(),
            baseline_series_uid=baseline,
            delayed_series_uid=delayed,
            injection_time=injected,
            hours_after_injection=hours,
            text=f"released by {by}",
        )

    def choices(self, case_id: str) -> tuple[SeriesChoice, ...]:
        """The series of a held case's patient: those the case is about first, then the others, oldest first."""
        about = self._ledger.cases.series_of(case_id)
        rows = [row for uid in about if (row := self._ledger.instances.series(uid)) is not None]
        keys = {row.patient_key for row in rows}
        others = [row for key in sorted(keys) for row in self._ledger.instances.series_of_patient(key)]
        uids = list(dict.fromkeys([*(row.series_uid for row in rows), *(row.series_uid for row in others)]))
        return tuple(self._choice(uid) for uid in uids[:_LONGEST_LIST])

    def _choice(self, uid: str) -> SeriesChoice:
        return SeriesChoice(uid=uid, text=_described(summarise(self._ledger.instances.headers_of(uid))))


def hours_after_injection(
    ledger: Ledger, baseline_uid: str, delayed_uid: str, injection_time: datetime | None, config: Config
) -> float | None:
    """Hours between the injection and the delayed series; None when a time is not known."""
    baseline, delayed = (ledger.instances.headers_of(uid) for uid in (baseline_uid, delayed_uid))
    if not (baseline and delayed):
        return None
    checked = check_pair(
        summarise(baseline), summarise(delayed), injection_time=injection_time, policy=pairing_policy(config)
    )
    return checked.hours_after_injection


def parse_time(text: str) -> datetime:
    """ISO 8601 with a time of day.

    Raises
    ------
    UsageError
        It is not; a bare date would mean midnight.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or re.search(r"[T ]\d\d", text) is None:
        raise UsageError(f"injection time: found {text!r}; accepted: ISO 8601 with a time, e.g. 2026-03-04T09:30")
    return moment


def _described(series: SeriesSummary) -> str:
    """Enough to tell a patient's series apart; no free text, which may hold anything."""
    header = series.header
    acquired = f"{series.acquired_at:%Y-%m-%d %H:%M}" if series.acquired_at else "time unknown"
    number = f"series {header.series_number}" if header.series_number is not None else "no series number"
    times = [
        f"{name} {value:.3g} ms"
        for name, value in (("TR", header.repetition_time_ms), ("TE", header.echo_time_ms))
        if value
    ]
    return ", ".join(
        [acquired, number, f"{series.n_frames} images", *times, f"UID ...{series.series_instance_uid[-8:]}"]
    )
