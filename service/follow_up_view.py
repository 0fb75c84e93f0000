"""Follow-ups as the status page and the command line show them."""

from __future__ import annotations

from service.monitoring.snapshot import FollowUpView, RegionErrorView
from service.storage.follow_up_ledger import FollowUp


def follow_up_view(row: FollowUp) -> FollowUpView:
    """What may be shown of one: no series UIDs."""
    figures, reflux = row.figures, row.figures.get("reflux", {})
    return FollowUpView(
        case_id=row.case_id,
        state=row.state.value,
        hours=row.hours,
        wanted_at=row.wanted_at,
        judged_at=row.judged_at,
        scanner=row.scanner,
        model=row.model,
        regions=tuple(
            RegionErrorView(
                name=name,
                error=region["error"],
                persistence_error=region["persistence_error"],
                bias=region["bias"],
                increase=region["increase"],
            )
            for name, region in figures.get("regions", {}).items()
        ),
        coverage=figures.get("coverage"),
        index_predicted=reflux.get("index_predicted"),
        index_acquired=reflux.get("index_acquired"),
        grade_predicted=reflux.get("grade_predicted", ""),
        grade_acquired=reflux.get("grade_acquired", ""),
        reasons=row.reasons,
        simulated_patient=figures.get("simulated_patient", False),
    )
