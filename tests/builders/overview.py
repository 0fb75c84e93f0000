"""Cases of a batch with the reports that its overview is made of."""

from __future__ import annotations

from service.batch.cases import BatchCase, RefusedCase, SeriesNote
from service.cases import CaseOutcome
from service.errors import Reason
from service.report import Json, bare_report

NO_TRACER = Reason(code="NO_TRACER", message="No tracer is seen.", measured=0.0123456, limit=0.05)


def case_of(case_id: str, *places: str) -> RefusedCase:
    return RefusedCase(case_id=case_id, reasons=(), others=tuple(SeriesNote(place=place) for place in places))


def refused(case_id: str, *places: str, reason: Reason = NO_TRACER) -> tuple[BatchCase, Json]:
    return case_of(case_id, *places), bare_report(case_id, CaseOutcome.REFUSED, (reason,), "0.1.0")


def predicted(case_id: str, *, simulated: bool = True, **changes: object) -> tuple[BatchCase, Json]:
    report = bare_report(case_id, CaseOutcome.PREDICTED, (), "0.1.0", hours_after_injection=1.4294444)
    report |= {
        "model": {"name": "volume3d", "version": "0.1.0", "simulated_training": simulated},
        "simulated_patient": simulated,
        "reflux": {"index": 0.4, "grade_24h": "3", "interval": None},
        "timings_s": {"total": 12.34},
        "outputs": ["predicted/0001.dcm", "preview.png"],
    }
    return case_of(case_id), report | changes
