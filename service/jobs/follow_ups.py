"""Compares predictions with the scans that were acquired at their time, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta

import structlog

from service.cases import Case
from service.errors import Csf24Error, InputRefused, Reason, RetryableError, places_of
from service.follow_up import FollowUpJudge, FollowUpJudgement
from service.received_pair import DicomPair
from service.storage.follow_up_ledger import MAX_ATTEMPTS, Figures, FollowUp
from service.storage.ledger import Ledger
from service.storage.spool import Spool

_log = structlog.get_logger()


class FollowUps:
    """The rows of the ledger are the queue: what a kill interrupts is still wanted afterwards.

    Parameters
    ----------
    quiet
        How long nothing more of a follow-up scan may have come before it is taken as whole.
    """

    def __init__(
        self, ledger: Ledger, spool: Spool, judge: FollowUpJudge, *, quiet: timedelta, now: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._judge = judge
        self._quiet = quiet
        self._now = now

    def tick(self) -> bool:
        """Compare one that is due; whether there was one.

        Raises
        ------
        StorageUnavailable
            Ledger or spool failed; the next tick does it again.
        """
        due = self._ledger.follow_ups.due(self._now(), self._quiet)
        if due is None:
            return False
        case = self._ledger.cases.case(due.case_id)
        if self._ledger.follow_ups.begin(case.case_id) > MAX_ATTEMPTS:
            self._give_up(case, "every attempt ended its process; see the log around those times")
            return True
        try:
            judgement = self._judge(self._pair(case), self._contents(due.series_uid))
        except InputRefused as refusal:
            self._ledger.follow_ups.refused(case.case_id, case.revision, refusal.reasons, self._now())
            codes = ", ".join(reason.code for reason in refusal.reasons)
            self._note(case, f"the acquired 24 h scan cannot be compared: {codes}")
        except RetryableError:
            self._ledger.follow_ups.take_back(case.case_id)
            raise
        except Csf24Error as fault:
            self._give_up(case, str(fault))
        except Exception as fault:  # noqa: BLE001  # a bug must not stop the comparisons of other cases
            kind = type(fault).__name__
            _log.error("unexpected error in a comparison", case_id=case.case_id, kind=kind, places=places_of(fault))
            self._give_up(case, f"an unexpected {kind} ended it; the service log has the place")
        else:
            self._keep(case, due, judgement)
        return True

    def _keep(self, case: Case, due: FollowUp, judgement: FollowUpJudgement) -> None:
        figures = figures_of(judgement)
        hours = due.hours if judgement.hours is None else judgement.hours
        self._ledger.follow_ups.judged(
            case.case_id,
            case.revision,
            hours=hours,
            scanner=judgement.scanner,
            model=judgement.model,
            figures=figures,
            now=self._now(),
        )
        fluid = judgement.agreement.regions.get("fluid")
        error = f"mean error in fluid {fluid.error:.3f} fat units" if fluid else "no fluid to compare"
        self._note(case, f"compared with the scan acquired {hours:.1f} h after the injection: {error}")

    def _give_up(self, case: Case, why: str) -> None:
        reason = Reason(code="COMPARISON_FAILED", message=f"The comparison with the acquired 24 h scan failed: {why}")
        self._ledger.follow_ups.failed(case.case_id, case.revision, reason, self._now())
        self._note(case, reason.message)

    def _note(self, case: Case, text: str) -> None:
        self._ledger.cases.note(case.case_id, "follow-up", text, now=self._now())

    def _pair(self, case: Case) -> DicomPair:
        return DicomPair(
            case_id=case.case_id,
            baseline=self._contents(case.baseline_series_uid),
            delayed=self._contents(case.delayed_series_uid),
            injection_time=case.injection_time,
            derived_at=case.created_at,
        )

    def _contents(self, series_uid: str) -> list[bytes]:
        stored = self._ledger.instances.instances_of(series_uid)
        if not stored:
            raise InputRefused(
                Reason(
                    code="SERIES_EMPTY",
                    message="The images of a series are no longer kept (`retention.received_days`); send it again.",
                )
            )
        return [self._spool.read(instance) for instance in stored]


def figures_of(judgement: FollowUpJudgement) -> Figures:
    """The comparison as plain JSON; fat units."""
    agreement = judgement.agreement
    return {
        "regions": {name: asdict(region) for name, region in agreement.regions.items()},
        "coverage": agreement.coverage,
        "reflux": {
            "index_predicted": agreement.index_predicted,
            "index_acquired": agreement.index_acquired,
            "grade_predicted": agreement.grade_predicted,
            "grade_acquired": agreement.grade_acquired,
        },
        "simulated_patient": judgement.simulated_patient,
    }
