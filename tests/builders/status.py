"""A busy service for the status page: every state of a case, a silent peer, a refusal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.cases import Case, CaseEvent, CaseOutcome, CaseState
from service.errors import Reason
from service.monitoring.snapshot import (
    AssociationView,
    CaseView,
    DeliveryView,
    DiskView,
    FactGroup,
    LedgerFigures,
    ListenerView,
    MachineView,
    ModelView,
    PeerView,
    QueueView,
    StatusSnapshot,
)

NOW = datetime(2026, 9, 10, 14, 3, 22, tzinfo=UTC)
BASELINE_UID = "1.2.826.0.1.3680043.8.498.11"
DELAYED_UID = "1.2.826.0.1.3680043.8.498.12"

INJECTION_MISSING = Reason(
    code="INJECTION_TIME_MISSING",
    message="The time of the intrathecal injection is not known, so it cannot be told whether the delayed series was "
    "acquired 1 to 2 h after it.",
)
FAT_DRIFT = Reason(
    code="FAT_DRIFT",
    message="The signal of orbital fat changed between the two series; the scans cannot be compared.",
    measured=0.4127,
    limit="at most 0.25",
)
PEER_SILENT = Reason(code="PEER_UNAVAILABLE", message="PACS2 did not accept an association within 10 s.")


def case(number: int, state: CaseState, *, minutes_ago: float = 5, **changes: object) -> Case:
    """A case with id c00000000000<number>."""
    at = NOW - timedelta(minutes=minutes_ago)
    made = Case(
        case_id=f"c{number:012x}",
        state=state,
        baseline_series_uid=BASELINE_UID,
        delayed_series_uid=DELAYED_UID,
        injection_time=datetime(2026, 9, 10, 8, 17, tzinfo=UTC),
        hours_after_injection=1.6,
        outcome=None,
        reasons=(),
        revision=1,
        attempts=0 if state in (CaseState.HELD, CaseState.QUEUED) else 1,
        delivered=0,
        deliverable=0,
        created_at=at - timedelta(minutes=4),
        updated_at=at,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # a builder's changes are checked by the record's tests


def predicted_view(number: int = 7, **changes: object) -> CaseView:
    """A delivered prediction with all that its page can show."""
    done = case(
        number,
        CaseState.DONE,
        minutes_ago=64,
        outcome=CaseOutcome.PREDICTED,
        delivered=448,
        deliverable=448,
        **changes,
    )
    start = done.created_at
    lines = [
        (0, "queued", "paired"),
        (9, "running", ""),
        (51, "interrupted", "the worker ended during the conversion; started again"),
        (60, "running", ""),
        (98, "sending", "224 instances to 2 destinations"),
        (131, "failed", "PEER_UNAVAILABLE: PACS2 did not accept an association within 10 s.; tried again"),
        (199, "sending", ""),
        (240, "done", "delivered and confirmed"),
    ]
    return CaseView(
        case=done,
        warnings=(
            Reason(
                code="VENTRICLES_NOT_FOUND",
                message="The lateral ventricles were not outlined; reflux cannot be graded.",
                measured=1.2,
                limit="at least 2 mL",
            ),
        ),
        events=tuple(
            CaseEvent(case_id=done.case_id, at=start + timedelta(seconds=seconds), kind=kind, text=text)
            for seconds, kind, text in lines
        ),
        deliveries=(
            DeliveryView(destination="PACS", delivered=224, deliverable=224),
            DeliveryView(destination="PACS2", delivered=224, deliverable=224, status="0xB000, coercion of data"),
        ),
        facts=(
            FactGroup(title="Registration", rows=(("Rotation", "3.412°"), ("Two starts differ by", "0.08 mm"))),
            FactGroup(title="Signal reference (orbital fat)", rows=(("Median, baseline", "812.4"), ("Voxels", "4211"))),
            FactGroup(title="Ventricular reflux at 24 h, predicted", rows=(("Grade", "2"), ("Index", "0.31"))),
        ),
        timings_s={
            "read": 1.91,
            "checks": 0.42,
            "anatomy": 6.3,
            "registration": 16.2,
            "normalisation": 0.9,
            "inference": 7.75,
            "reflux": 0.35,
            "derive": 3.8,
        },
        has_picture=True,
    )


def cases() -> tuple[CaseView, ...]:
    """One or more in every state."""
    predicted, refused = CaseOutcome.PREDICTED, CaseOutcome.REFUSED
    return (
        CaseView(case=case(1, CaseState.RUNNING, minutes_ago=0.4)),
        CaseView(case=case(2, CaseState.SENDING, minutes_ago=1, outcome=predicted, delivered=120, deliverable=448)),
        CaseView(case=case(3, CaseState.QUEUED, minutes_ago=2, hours_after_injection=1.2)),
        CaseView(
            case=case(4, CaseState.HELD, injection_time=None, hours_after_injection=None, reasons=(INJECTION_MISSING,))
        ),
        CaseView(
            case=case(
                5,
                CaseState.FAILED,
                minutes_ago=12,
                outcome=predicted,
                delivered=224,
                deliverable=448,
                reasons=(PEER_SILENT,),
            ),
            retrying=True,
        ),
        CaseView(
            case=case(
                6,
                CaseState.FAILED,
                minutes_ago=200,
                outcome=CaseOutcome.FAILED,
                reasons=(
                    Reason(
                        code="INTERNAL_ERROR",
                        message="an unexpected ValueError ended the step; the service log has the place",
                    ),
                ),
            )
        ),
        predicted_view(7),
        CaseView(
            case=case(
                8,
                CaseState.DONE,
                minutes_ago=190,
                outcome=refused,
                delivered=2,
                deliverable=2,
                hours_after_injection=1.9,
                reasons=(FAT_DRIFT,),
            )
        ),
        CaseView(
            case=case(9, CaseState.DONE, minutes_ago=1700, outcome=predicted, delivered=352, deliverable=352),
            timings_s={"registration": 21.0, "inference": 8.25},
        ),
        CaseView(case=case(10, CaseState.DISCARDED, minutes_ago=2900, hours_after_injection=None)),
    )


def snapshot(**changes: object) -> StatusSnapshot:
    """The busy service; `changes` replace fields of the snapshot."""
    made = StatusSnapshot(
        taken_at=NOW,
        started_at=NOW - timedelta(days=4, hours=6),
        listener=ListenerView(ae_title="CSF24", host="10.20.1.15", port=11112, tls=False, listening=True),
        disk=DiskView(free_bytes=412_000_000_000, total_bytes=960_000_000_000, required_bytes=2_147_483_648),
        queue=QueueView(waiting=1, running=2),
        machines=(
            MachineView(
                name="a-0", host="a", roles=("listen", "work"), state="alive", heard_at=NOW - timedelta(seconds=3)
            ),
        ),
        model=ModelView(
            name="volume3d",
            version="0.1.0",
            sha256="8aba3cd86c8a68ebf557b93a296b7a98624dda291bec85fdb8cde1882da918cf",
            provider="CPUExecutionProvider",
            simulated_training=True,
        ),
        peers=(
            PeerView(
                name="PACS",
                ae_title="ORTHANC",
                host="pacs.example.org",
                port=4242,
                answers=True,
                checked_at=NOW - timedelta(seconds=41),
            ),
            PeerView(
                name="PACS2",
                ae_title="RESEARCH",
                host="10.20.1.80",
                port=104,
                answers=False,
                checked_at=NOW - timedelta(seconds=38),
                problem="connection refused",
            ),
        ),
        last_association=AssociationView(calling_ae="MODALITY1", at=NOW - timedelta(minutes=2), accepted=True),
        ledger=LedgerFigures(
            instances=8421,
            instance_bytes=4_410_000_000,
            conflicts=1,
            rejected=3,
            series_unsettled=2,
            cases={**dict.fromkeys(CaseState, 0), CaseState.HELD: 1, CaseState.FAILED: 2, CaseState.DONE: 57},
            refused=6,
            deliveries={"pending": 328, "sent": 0, "confirmed": 25_102, "failed": 0},
        ),
        cases=cases(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # as above
