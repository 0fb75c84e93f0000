"""Images that came after their series was used: whether there are any, and the line about them in a case's history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service.cases import Case, CaseState
from service.storage.instance_ledger import SeriesRow
from service.storage.ledger import Ledger
from service.storage.used_series import UsedSeries

_S = CaseState


class LateArrivals:
    """Compares what has arrived with what the conversion of a case's revision has used.

    That is on record once there is a result. Results of versions that kept no such record are judged by the clock.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, case: Case) -> bool:
        """Whether there are images of its series that its conversion did not have; one to come will have them all."""
        return any(self._of_series(case, uid) for uid in (case.baseline_series_uid, case.delayed_series_uid))

    def to_be_awaited(self, case: Case) -> bool:
        """Whether its patient has to be looked at again when it is done, since its result lacks images, or may.

        A case is in work also while a PACS that is down holds up its delivery.
        """
        if case.state is _S.RUNNING and not self._ledger.used.of(case.case_id, case.revision):
            return True  # what came last may have been too late for it
        retrying = case.state is _S.FAILED and self._ledger.cases.is_retrying(case.case_id)
        return (retrying or case.state in (_S.RUNNING, _S.SENDING)) and self.of(case)

    def note(self, rows: Sequence[SeriesRow], now: datetime) -> None:
        """Put on record that a series grew after its case was converted."""
        by_uid = {row.series_uid: row for row in rows}
        for uid, case_ids in self._ledger.cases.consumers(by_uid).items():
            for case_id in case_ids:
                case, row = self._ledger.cases.case(case_id), by_uid[uid]
                if not (self._of_series(case, uid) or self._conflicts_of(case, row)):
                    continue
                role = "baseline" if uid == case.baseline_series_uid else "delayed"
                text = (
                    f"more of the {role} series came after it was used: "
                    f"{row.n_instances} instances and {row.n_conflicts} conflicts now"
                )
                if all(event.text != text for event in self._ledger.cases.events(case_id)):
                    self._ledger.cases.note(case_id, "late-arrival", text, now=now)

    def _of_series(self, case: Case, uid: str) -> bool:
        used = self._ledger.used.of(case.case_id, case.revision)
        if uid in used:
            return used[uid].lacks_some_of(UsedSeries.of(uid, self._ledger.instances.sop_instance_uids_of(uid)))
        if case.state in (_S.QUEUED, _S.RUNNING):  # its conversion is to come, or under way
            return False
        used_at = self._used_at(case)
        there = self._ledger.instances.instances_of(uid)
        return used_at is not None and any(stored.received_at > used_at for stored in there)

    def _conflicts_of(self, case: Case, row: SeriesRow) -> bool:
        used_at = self._used_at(case)
        return bool(row.n_conflicts) and used_at is not None and row.last_received_at > used_at

    def _used_at(self, case: Case) -> datetime | None:
        """When its last conversion began, by the worker's clock; None before the first."""
        events = self._ledger.cases.events(case.case_id)
        return next((event.at for event in reversed(events) if event.kind == _S.RUNNING.value), None)
