"""Whether the service can take patients now. Pure."""

from __future__ import annotations

from service.errors import Reason
from service.monitoring.snapshot import StatusSnapshot
from service.monitoring.wording import size


def not_ready(snapshot: StatusSnapshot) -> tuple[Reason, ...]:
    """Why nothing can be received or filed now; empty when ready.

    A peer that does not answer is no reason: what is received meanwhile is kept and delivered later.
    """
    reasons = []
    if snapshot.ledger is None:
        problem = snapshot.ledger_problem or "it does not answer"
        message = f"The ledger cannot be reached ({problem}); nothing is accepted until it answers. Check the database."
        reasons.append(Reason(code="LEDGER_UNREACHABLE", message=message))
    if snapshot.listener is not None and not snapshot.listener.listening:
        message = f"The DICOM listener is not open on port {snapshot.listener.port}; restart the service."
        reasons.append(Reason(code="LISTENER_DOWN", message=message))
    if snapshot.disk.short:
        reasons.append(
            Reason(
                code="DISK_SHORT",
                message="Too little disk is free, so associations are refused; make room on the disk of the spool.",
                measured=size(snapshot.disk.free_bytes),
                limit=f"at least {size(snapshot.disk.required_bytes)}",
            )
        )
    return tuple(reasons)
