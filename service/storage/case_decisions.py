"""What is decided about a case, within a transaction: release it with what it lacked, convert it anew, supersede it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from service.cases import Case, CaseState, case_id_for
from service.errors import PermanentError
from service.storage import case_rows, schema
from service.storage.case_rows import TRANSITIONS, IllegalTransition

_S = CaseState


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied:
    """What a person said of a held case; what is empty or None stays as it is."""

    baseline_series_uid: str
    delayed_series_uid: str
    injection_time: datetime | None
    hours_after_injection: float | None


def release_held(connection: Connection, case_id: str, supplied: Supplied, now: datetime, text: str) -> Case:
    """Queue a held case; when another pair was chosen, that pair's case is queued and the held one closed.

    One that pairing had closed, the case itself or that of the chosen pair, is taken as held.
    """
    held = case_rows.get(connection, case_id, for_update=True)
    if not case_rows.may_be_queued(held):
        raise IllegalTransition(case_id, held.state, _S.QUEUED)
    baseline = supplied.baseline_series_uid or held.baseline_series_uid
    delayed = supplied.delayed_series_uid or held.delayed_series_uid
    if not (baseline and delayed) or baseline == delayed:
        raise PermanentError(f"case {case_id} needs a baseline and a delayed series to be released")
    target = case_id_for(baseline, delayed)
    injected = supplied.injection_time or held.injection_time
    values = {
        "state": _S.QUEUED.value,
        "baseline_series_uid": baseline,
        "delayed_series_uid": delayed,
        "injection_time": injected.isoformat() if injected else "",
        "hours_after_injection": supplied.hours_after_injection
        if supplied.hours_after_injection is not None
        else held.hours_after_injection,
        "reasons": "[]",
        "superseded": False,
        "updated_at": now,
    }
    existing = case_rows.find(connection, target, for_update=True)
    if existing is None:
        key = connection.scalar(select(schema.cases.c.patient_key).where(schema.cases.c.case_id == case_id))
        fixed = {"outcome": None, "revision": 1, "attempts": 0, "retrying": False, "created_at": now}
        connection.execute(insert(schema.cases).values(case_id=target, patient_key=key, **fixed, **values))
    elif case_rows.may_be_queued(existing):
        connection.execute(update(schema.cases).where(schema.cases.c.case_id == target).values(**values))
    else:
        raise IllegalTransition(target, existing.state, _S.QUEUED)
    case_rows.link_series(connection, target, {baseline, delayed})
    case_rows.note(connection, target, now, _S.QUEUED.value, text)
    if target != case_id:
        case_rows.close(connection, case_id, now, f"released as {target}")
    return case_rows.get(connection, target)


def queue_anew(connection: Connection, case_id: str, now: datetime, text: str, **corrected: str | float | None) -> Case:
    """Queue the next revision of a case that failed or is done."""
    found = case_rows.get(connection, case_id, for_update=True)
    if found.state not in (_S.DONE, _S.FAILED):
        raise IllegalTransition(case_id, found.state, _S.QUEUED)
    values: dict[str, Any] = {
        "state": _S.QUEUED.value,
        "revision": found.revision + 1,
        "attempts": 0,
        "outcome": None,
        "reasons": "[]",
        "retrying": False,
        "updated_at": now,
        **corrected,
    }
    connection.execute(update(schema.cases).where(schema.cases.c.case_id == case_id).values(**values))
    case_rows.note(connection, case_id, now, _S.QUEUED.value, text)
    return case_rows.get(connection, case_id)


def discard(connection: Connection, case_id: str, now: datetime, text: str) -> Case:
    """Close a case that is not done, for good."""
    found = case_rows.get(connection, case_id, for_update=True)
    if _S.DISCARDED not in TRANSITIONS[found.state]:
        raise IllegalTransition(case_id, found.state, _S.DISCARDED)
    case_rows.close(connection, case_id, now, text)
    return case_rows.get(connection, case_id)


def supersede_held(connection: Connection, patient_key: str, keep: Collection[str], now: datetime) -> None:
    """Close a patient's held cases but those to keep; what a person has released meanwhile is let alone."""
    table = schema.cases
    query = select(table.c.case_id).where(
        table.c.patient_key == patient_key, table.c.state == _S.HELD.value, table.c.case_id.not_in(keep)
    )
    for case_id in connection.scalars(query.order_by(table.c.case_id).with_for_update()).all():
        text = "superseded: pairing now decides otherwise"
        case_rows.close(connection, case_id, now, text, superseded=True)
