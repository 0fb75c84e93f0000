"""What is red in a snapshot of the service. Pure; names nothing but case ids, codes and machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from service.cases import CaseState
from service.monitoring.readiness import not_ready
from service.monitoring.snapshot import CaseView, StatusSnapshot

_UNSEEN_STATUS = "STATUS_UNAVAILABLE"


class Kind(StrEnum):
    """What can turn red, the worst first."""

    NOT_READY = "not ready"
    CASE_FAILED = "case failed"
    CASE_RETRYING = "case failed, retrying"
    CASE_HELD = "case held"
    MACHINE_LOST = "machine lost"
    AUDIT_LOST = "audit messages lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One thing that is red.

    Attributes
    ----------
    key
        Of what it is red about; the same thing has the same key however it is red.
    subject
        Case id, name of a machine, or code of readiness.
    codes
        Of a case's reasons.
    """

    key: str
    kind: Kind
    subject: str
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What one look at the service showed.

    Attributes
    ----------
    working
        Keys of cases that are on their way: whether a fault is over will be seen.
    unseen
        Beginnings of keys of which nothing can be said now, e.g. while the ledger does not answer.
    process_started_at, audit_lost
        How many audit messages this process has lost since then.
    """

    alarms: tuple[Alarm, ...]
    working: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()
    process_started_at: datetime | None = None
    audit_lost: int = field(default=0)


def look(snapshot: StatusSnapshot | None) -> Sighting:
    """What is red.

    Parameters
    ----------
    snapshot
        None when none could be taken, because the spool is gone.
    """
    if snapshot is None:
        gone = Alarm(key=f"ready:{_UNSEEN_STATUS}", kind=Kind.NOT_READY, subject=_UNSEEN_STATUS)
        return Sighting(alarms=(gone,), unseen=("ready:", "case:", "machine:"))
    unready = tuple(
        Alarm(key=f"ready:{reason.code}", kind=Kind.NOT_READY, subject=reason.code) for reason in not_ready(snapshot)
    )
    if snapshot.ledger is None:
        return Sighting(
            alarms=unready,
            unseen=("case:", "machine:"),
            process_started_at=snapshot.started_at,
            audit_lost=snapshot.audit_lost,
        )
    return Sighting(
        alarms=(*unready, *_cases(snapshot), *_machines(snapshot)),
        working=frozenset(_key(view) for view in snapshot.cases if view.case.state in _ON_THEIR_WAY),
        process_started_at=snapshot.started_at,
        audit_lost=snapshot.audit_lost,
    )


_ON_THEIR_WAY = (CaseState.QUEUED, CaseState.RUNNING, CaseState.SENDING)


def _cases(snapshot: StatusSnapshot) -> Iterator[Alarm]:
    for view in snapshot.cases:
        if view.case.state is CaseState.HELD:
            kind = Kind.CASE_HELD
        elif view.case.state is CaseState.FAILED:
            kind = Kind.CASE_RETRYING if view.retrying else Kind.CASE_FAILED
        else:
            continue
        codes = tuple(dict.fromkeys(reason.code for reason in view.case.reasons))
        yield Alarm(key=_key(view), kind=kind, subject=view.case.case_id, codes=codes)


def _machines(snapshot: StatusSnapshot) -> Iterator[Alarm]:
    for machine in snapshot.machines:
        if machine.state != "alive":
            yield Alarm(key=f"machine:{machine.name}", kind=Kind.MACHINE_LOST, subject=machine.name)


def _key(view: CaseView) -> str:
    return f"case:{view.case.case_id}"
