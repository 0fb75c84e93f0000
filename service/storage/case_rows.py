"""Rows of cases, their conversion to `Case`, and the rules by which a case moves."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, case, delete, func, insert, select, update

from service.cases import Case, CaseOutcome, CaseState
from service.errors import PermanentError, Reason
from service.storage import schema
from service.storage.work_ledger import DeliveryState

_S = CaseState
TRANSITIONS: Mapping[CaseState, frozenset[CaseState]] = {
    _S.HELD: frozenset({_S.QUEUED, _S.DISCARDED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED, _S.DISCARDED}),
    _S.RUNNING: frozenset({_S.SENDING, _S.FAILED, _S.DISCARDED}),
    _S.SENDING: frozenset({_S.DONE, _S.FAILED, _S.DISCARDED}),
    # A failed case is red; the queue may still be trying and takes it up where it was.
    _S.FAILED: frozenset({_S.QUEUED, _S.RUNNING, _S.SENDING, _S.DISCARDED}),
    _S.DONE: frozenset({_S.QUEUED}),  # as a new revision, which says that it replaces what was delivered
    _S.DISCARDED: frozenset(),  # unless pairing did it, see `may_be_queued`
}
"""Every move that exists; see `CaseState`."""
UNFINISHED = (_S.QUEUED, _S.RUNNING, _S.SENDING)


class UnknownCase(PermanentError):
    """There is no case with this id."""

    def __init__(self, case_id: str) -> None:
        super().__init__(f"there is no case {case_id!r}; `csf24 cases list` shows those there are")


class IllegalTransition(PermanentError):
    """The case is not in a state from which it may make this move."""

    def __init__(self, case_id: str, found: CaseState, to: CaseState) -> None:
        self.found = found
        super().__init__(f"case {case_id} is {found.value} and cannot become {to.value}")


def select_cases() -> Select[Any]:
    """All columns of cases; `delivered` and `deliverable` of the current revision, `replaces` of earlier ones."""
    cases, deliveries, events = schema.cases, schema.deliveries, schema.events
    of_case = (deliveries.c.case_id == cases.c.case_id) & (deliveries.c.revision == cases.c.revision)
    count = select(func.count()).where(of_case).correlate(cases)
    confirmed = count.where(deliveries.c.state == DeliveryState.CONFIRMED.value)
    endings = (events.c.case_id == cases.c.case_id) & (events.c.kind == _S.DONE.value)
    done = select(func.count()).where(endings).correlate(cases).scalar_subquery()
    # Done where there is no destination; else a PACS may hold what never became done, another being down.
    finished = case((cases.c.state == _S.DONE.value, done - 1), else_=done)
    earlier = (deliveries.c.case_id == cases.c.case_id) & (deliveries.c.revision < cases.c.revision)
    arrived = deliveries.c.state.in_([DeliveryState.SENT.value, DeliveryState.CONFIRMED.value])
    holding = select(func.count(deliveries.c.revision.distinct())).where(earlier, arrived).correlate(cases)
    held = holding.scalar_subquery()
    return select(
        cases,
        confirmed.scalar_subquery().label("delivered"),
        count.scalar_subquery().label("deliverable"),
        case((finished > held, finished), else_=held).label("replaces"),
    )


def find(connection: Connection, case_id: str, *, for_update: bool = False) -> Case | None:
    """The case, if there is one; `for_update` keeps other transactions from changing it until this one ends."""
    query = select_cases().where(schema.cases.c.case_id == case_id)
    if for_update:
        query = query.with_for_update(of=schema.cases)  # no effect on SQLite, where the write lock is already held
    row = connection.execute(query).mappings().first()
    return None if row is None else case_of(row)


def get(connection: Connection, case_id: str, *, for_update: bool = False) -> Case:
    """The case; raises `UnknownCase`."""
    found = find(connection, case_id, for_update=for_update)
    if found is None:
        raise UnknownCase(case_id)
    return found


def may_be_queued(found: Case) -> bool:
    """Whether it waits for a person or for pairing: held, or closed by pairing itself."""
    return found.state is _S.HELD or found.superseded


def close(connection: Connection, case_id: str, now: datetime, text: str, *, superseded: bool = False) -> None:
    """Mark a case discarded; `superseded` when pairing decides so and no person."""
    values = {"state": _S.DISCARDED.value, "retrying": False, "superseded": superseded, "updated_at": now}
    connection.execute(update(schema.cases).where(schema.cases.c.case_id == case_id).values(**values))
    note(connection, case_id, now, _S.DISCARDED.value, text)


def note(connection: Connection, case_id: str, now: datetime, kind: str, text: str) -> None:
    """Add a line to a case's history."""
    connection.execute(insert(schema.events).values(case_id=case_id, at=now, kind=kind, text=text))


def link_series(connection: Connection, case_id: str, series_uids: Collection[str]) -> None:
    """Set the series that a case is about."""
    table = schema.case_series
    connection.execute(delete(table).where(table.c.case_id == case_id))
    if series_uids:
        connection.execute(insert(table), [{"case_id": case_id, "series_uid": uid} for uid in sorted(series_uids)])


def reasons_to_json(reasons: Iterable[Reason]) -> str:
    """Value of the column `reasons`."""
    return json.dumps([asdict(reason) for reason in reasons], ensure_ascii=False)


def reason_text(reasons: Iterable[Reason]) -> str:
    """Reasons as one line of history."""
    return "; ".join(f"{reason.code}: {reason.message}" for reason in reasons)


def case_of(row: RowMapping) -> Case:
    """Row of `select_cases` -> `Case`."""
    return Case(
        case_id=row["case_id"],
        state=CaseState(row["state"]),
        baseline_series_uid=row["baseline_series_uid"],
        delayed_series_uid=row["delayed_series_uid"],
        injection_time=datetime.fromisoformat(row["injection_time"]) if row["injection_time"] else None,
        hours_after_injection=row["hours_after_injection"],
        outcome=CaseOutcome(row["outcome"]) if row["outcome"] else None,
        reasons=tuple(Reason(**reason) for reason in json.loads(row["reasons"])),
        revision=row["revision"],
        attempts=row["attempts"],
        delivered=row["delivered"],
        deliverable=row["deliverable"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        replaces=row["replaces"],
        superseded=row["superseded"],
    )
