"""The ledger of cases: their states, their history, and the rules by which they move."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update

from service.cases import Case, CaseEvent, CaseOutcome, CaseState
from service.errors import Reason
from service.storage import case_rows, schema
from service.storage.case_decisions import Supplied, discard, queue_anew, release_held, supersede_held
from service.storage.case_rows import TRANSITIONS, UNFINISHED, IllegalTransition
from service.storage.database import reading, writing

_S = CaseState


class CaseLedger:
    """Rows of cases. Each method is one transaction; failures raise `StorageUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(
        self,
        case_id: str,
        *,
        state: CaseState,
        patient_key: str,
        baseline_series_uid: str = "",
        delayed_series_uid: str = "",
        other_series_uids: Collection[str] = (),
        injection_time: datetime | None = None,
        hours_after_injection: float | None = None,
        reasons: Collection[Reason] = (),
        now: datetime,
    ) -> Case:
        """Open a case queued or held, or return the one there is.

        An existing case is changed only while it is held: its reasons follow, and it becomes
        queued when it is opened as queued. Pairing may therefore be repeated at will. One that
        pairing had superseded is opened again; one that a person discarded is not.

        Parameters
        ----------
        other_series_uids
            Further series that a held case is about.
        """
        if state not in (_S.HELD, _S.QUEUED):
            raise ValueError(f"a case is opened held or queued, not {state.value}")
        uids = {uid for uid in (baseline_series_uid, delayed_series_uid, *other_series_uids) if uid}
        facts: dict[str, Any] = {
            "state": state.value,
            "baseline_series_uid": baseline_series_uid,
            "delayed_series_uid": delayed_series_uid,
            "injection_time": injection_time.isoformat() if injection_time else "",
            "hours_after_injection": hours_after_injection,
            "reasons": case_rows.reasons_to_json(reasons),
            "superseded": False,
            "updated_at": now,
        }

        def work(connection: Connection) -> Case:
            found = case_rows.find(connection, case_id, for_update=True)
            if found is None:
                connection.execute(
                    insert(schema.cases).values(
                        case_id=case_id,
                        patient_key=patient_key,
                        outcome=None,
                        revision=1,
                        attempts=0,
                        retrying=False,
                        created_at=now,
                        **facts,
                    )
                )
                case_rows.link_series(connection, case_id, uids)
                case_rows.note(connection, case_id, now, state.value, case_rows.reason_text(reasons) or "paired")
            elif case_rows.may_be_queued(found) and (
                found.superseded or state is _S.QUEUED or found.reasons != tuple(reasons)
            ):
                connection.execute(update(schema.cases).where(schema.cases.c.case_id == case_id).values(**facts))
                case_rows.link_series(connection, case_id, uids)
                case_rows.note(connection, case_id, now, state.value, case_rows.reason_text(reasons) or "paired")
            return case_rows.get(connection, case_id)

        return writing(self._engine, work)

    def transition(
        self,
        case_id: str,
        *,
        expected: Collection[CaseState],
        to: CaseState,
        now: datetime,
        revision: int | None = None,
        outcome: CaseOutcome | None = None,
        reasons: Collection[Reason] | None = None,
        text: str = "",
    ) -> Case:
        """Move a case, if it still is where the caller believes it to be, and write the event.

        Parameters
        ----------
        expected
            The states from which the caller means to move it.
        revision
            Refuse if the case has another revision by now.
        outcome, reasons
            Replaced when given.

        Raises
        ------
        UnknownCase, IllegalTransition
            Nothing was changed.
        """

        def work(connection: Connection) -> Case:
            found = case_rows.get(connection, case_id, for_update=True)
            stale = revision is not None and found.revision != revision
            if stale or found.state not in expected or to not in TRANSITIONS[found.state] or found.state is _S.DONE:
                raise IllegalTransition(case_id, found.state, to)
            values: dict[str, Any] = {"state": to.value, "updated_at": now, "retrying": False}
            if to is _S.RUNNING:
                values["attempts"] = found.attempts + 1
            if outcome is not None:
                values["outcome"] = outcome.value
            if reasons is not None:
                values["reasons"] = case_rows.reasons_to_json(reasons)
            connection.execute(update(schema.cases).where(schema.cases.c.case_id == case_id).values(**values))
            case_rows.note(connection, case_id, now, to.value, text or case_rows.reason_text(reasons or ()))
            return case_rows.get(connection, case_id)

        return writing(self._engine, work)

    def fail(self, case_id: str, revision: int, reasons: Collection[Reason], *, retrying: bool, now: datetime) -> Case:
        """Mark a case failed (red), whatever work it was in; said again, only what is new is written.

        Parameters
        ----------
        retrying
            The queue tries again by itself; otherwise the case waits for a person.

        Raises
        ------
        UnknownCase
        IllegalTransition
            The case has ended, is held, or has another revision by now.
        """

        def work(connection: Connection) -> Case:
            found = case_rows.get(connection, case_id, for_update=True)
            if found.revision != revision or found.state not in (*UNFINISHED, _S.FAILED):
                raise IllegalTransition(case_id, found.state, _S.FAILED)
            values: dict[str, Any] = {
                "state": _S.FAILED.value,
                "retrying": retrying,
                "reasons": case_rows.reasons_to_json(reasons),
                "updated_at": now,
            }
            if found.outcome is None and not retrying:
                values["outcome"] = CaseOutcome.FAILED.value
            connection.execute(update(schema.cases).where(schema.cases.c.case_id == case_id).values(**values))
            # A peer that is down for days must not fill the history with the same line.
            if found.state is not _S.FAILED or found.reasons != tuple(reasons) or not retrying:
                ending = "; tried again" if retrying else ""
                case_rows.note(connection, case_id, now, _S.FAILED.value, case_rows.reason_text(reasons) + ending)
            return case_rows.get(connection, case_id)

        return writing(self._engine, work)

    def interrupted(self, case_id: str, *, now: datetime) -> int:
        """Note that a conversion was found running although no worker runs it; how often in this revision."""

        def work(connection: Connection) -> int:
            text = "the worker ended during the conversion; started again"
            case_rows.note(connection, case_id, now, "interrupted", text)
            table = schema.events
            of_case = table.c.case_id == case_id
            since = select(func.max(table.c.id)).where(of_case, table.c.kind == _S.QUEUED.value).scalar_subquery()
            query = select(func.count()).where(of_case, table.c.kind == "interrupted", table.c.id > since)
            return connection.scalar(query) or 0

        return writing(self._engine, work)

    def requeue(self, case_id: str, *, now: datetime, text: str = "retried by a person") -> Case:
        """Convert anew, as the next revision: a case that failed or is done.

        Raises
        ------
        UnknownCase, IllegalTransition
        """
        return writing(self._engine, lambda connection: queue_anew(connection, case_id, now, text))

    def correct(
        self, case_id: str, *, injection_time: datetime, hours_after_injection: float | None, now: datetime, text: str
    ) -> Case:
        """Convert anew with another time of the injection, as the next revision: a case that failed or is done.

        Raises
        ------
        UnknownCase, IllegalTransition
        """
        told = {"injection_time": injection_time.isoformat(), "hours_after_injection": hours_after_injection}
        return writing(self._engine, lambda connection: queue_anew(connection, case_id, now, text, **told))

    def release(
        self,
        case_id: str,
        *,
        now: datetime,
        baseline_series_uid: str = "",
        delayed_series_uid: str = "",
        injection_time: datetime | None = None,
        hours_after_injection: float | None = None,
        text: str = "released by a person",
    ) -> Case:
        """Queue a held case with what a person supplied; the rest stays as it was.

        When the pair was open, the case of the chosen pair is queued and the held one is closed.

        Raises
        ------
        UnknownCase
        IllegalTransition
            The case is not held.
        PermanentError
            The pair is still incomplete.
        """
        supplied = Supplied(
            baseline_series_uid=baseline_series_uid,
            delayed_series_uid=delayed_series_uid,
            injection_time=injection_time,
            hours_after_injection=hours_after_injection,
        )
        return writing(self._engine, lambda connection: release_held(connection, case_id, supplied, now, text))

    def discard(self, case_id: str, *, now: datetime, text: str = "discarded by a person") -> Case:
        """Close a case that is not done.

        Raises
        ------
        UnknownCase, IllegalTransition
        """
        return writing(self._engine, lambda connection: discard(connection, case_id, now, text))

    def supersede(self, patient_key: str, *, keep: Collection[str], now: datetime) -> None:
        """Close a patient's held cases but those to keep; `open` and `release` may take them up again."""
        writing(self._engine, lambda connection: supersede_held(connection, patient_key, keep, now))

    def note(self, case_id: str, kind: str, text: str, *, now: datetime) -> None:
        """Add a line to a case's history; `text` has no patient data."""
        writing(self._engine, lambda connection: case_rows.note(connection, case_id, now, kind, text))

    def case(self, case_id: str) -> Case:
        """One case.

        Raises
        ------
        UnknownCase
        """
        with reading(self._engine) as connection:
            return case_rows.get(connection, case_id)

    def series_of(self, case_id: str) -> tuple[str, ...]:
        """Series Instance UIDs that a case is about."""
        table = schema.case_series
        query = select(table.c.series_uid).where(table.c.case_id == case_id).order_by(table.c.series_uid)
        with reading(self._engine) as connection:
            return tuple(connection.scalars(query))

    def cases(
        self, *states: CaseState, outcome: CaseOutcome | None = None, limit: int | None = None
    ) -> tuple[Case, ...]:
        """Cases in any of `states` (all when none is named), of one outcome if that is named; newest change first."""
        query = case_rows.select_cases().order_by(schema.cases.c.updated_at.desc(), schema.cases.c.case_id)
        if states:
            query = query.where(schema.cases.c.state.in_([state.value for state in states]))
        if outcome is not None:
            query = query.where(schema.cases.c.outcome == outcome.value)
        with reading(self._engine) as connection:
            return tuple(case_rows.case_of(row) for row in connection.execute(query.limit(limit)).mappings())

    def of_patient(self, patient_key: str) -> tuple[Case, ...]:
        """Every case there ever was under a patient key, the oldest first."""
        table = schema.cases
        query = case_rows.select_cases().where(table.c.patient_key == patient_key)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(table.c.created_at, table.c.case_id)).mappings()
            return tuple(case_rows.case_of(row) for row in rows)

    def unfinished(self) -> tuple[Case, ...]:
        """Cases that the queue must have: queued, running, sending, or failed and still retrying."""
        table = schema.cases
        alive = table.c.state.in_([state.value for state in UNFINISHED])
        trying = (table.c.state == _S.FAILED.value) & table.c.retrying.is_(True)
        query = case_rows.select_cases().where(alive | trying).order_by(table.c.created_at, table.c.case_id)
        with reading(self._engine) as connection:
            return tuple(case_rows.case_of(row) for row in connection.execute(query).mappings())

    def is_retrying(self, case_id: str) -> bool:
        """Whether a failed case is being tried again without a person."""
        table = schema.cases
        with reading(self._engine) as connection:
            return bool(connection.scalar(select(table.c.retrying).where(table.c.case_id == case_id)))

    def consumers(self, series_uids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """For each series that is part of a pair in a case (not held, not discarded): the case ids."""
        cases = schema.cases
        wanted = list(series_uids)
        closed = [_S.HELD.value, _S.DISCARDED.value]
        found: dict[str, list[str]] = {}
        with reading(self._engine) as connection:
            for column in (cases.c.baseline_series_uid, cases.c.delayed_series_uid):
                query = select(column, cases.c.case_id).where(column.in_(wanted), cases.c.state.not_in(closed))
                for uid, case_id in connection.execute(query):
                    found.setdefault(uid, []).append(case_id)
        return {uid: tuple(sorted(ids)) for uid, ids in found.items()}

    def events(self, case_id: str) -> tuple[CaseEvent, ...]:
        """A case's history, oldest first."""
        table = schema.events
        query = select(table).where(table.c.case_id == case_id).order_by(table.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(CaseEvent(case_id=r["case_id"], at=r["at"], kind=r["kind"], text=r["text"]) for r in rows)

    def counts(self) -> dict[CaseState, int]:
        """Number of cases in every state, zeros included."""
        table = schema.cases
        with reading(self._engine) as connection:
            rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state)).all()
        found: dict[str, int] = {row[0]: row[1] for row in rows}
        return {state: found.get(state.value, 0) for state in CaseState}

    def refused(self) -> int:
        """Number of cases that are done with a refusal."""
        table = schema.cases
        query = select(func.count()).where(table.c.state == _S.DONE.value, table.c.outcome == CaseOutcome.REFUSED.value)
        with reading(self._engine) as connection:
            return connection.scalar(query) or 0
