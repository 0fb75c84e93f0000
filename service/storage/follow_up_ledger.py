"""The ledger of follow-ups: scans of the time that was predicted, and how the prediction did against them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, and_, insert, or_, select, update

from service.cases import CaseOutcome, CaseState
from service.errors import Reason
from service.storage import schema
from service.storage.case_rows import reasons_to_json
from service.storage.database import reading, writing

Figures = dict[str, Any]
"""What the comparison measured, as plain JSON."""
MAX_ATTEMPTS = 3


class FollowUpState(StrEnum):
    """Where a comparison stands."""

    WANTED = "wanted"
    JUDGED = "judged"
    REFUSED = "refused"  # a check says that the two cannot be compared
    FAILED = "failed"  # given up after several attempts; the log says why


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A case's follow-up scan and what came of comparing it.

    Attributes
    ----------
    series_uid, instances
        The scan, and how many images of it there were when it was noted.
    revision
        Of the case, when it was judged; None before.
    scanner, model
        Empty before it was judged.
    """

    case_id: str
    series_uid: str
    hours: float
    instances: int
    state: FollowUpState
    attempts: int
    revision: int | None
    scanner: str
    model: str
    figures: Figures
    reasons: tuple[Reason, ...]
    wanted_at: datetime
    judged_at: datetime | None


class FollowUpLedger:
    """Rows of follow-ups. Each method is one transaction; failures raise `StorageUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def want(self, case_id: str, series_uid: str, *, hours: float, instances: int, now: datetime) -> None:
        """Note a case's follow-up scan; another scan, another time, or more images of the same, are compared anew."""
        table = schema.follow_ups
        fresh = _fresh(now) | {"series_uid": series_uid, "hours": hours, "instances": instances}

        def work(connection: Connection) -> None:
            known = connection.execute(select(table).where(table.c.case_id == case_id)).mappings().first()
            if known is None:
                connection.execute(insert(table).values(case_id=case_id, **fresh))
            elif (known["series_uid"], known["instances"], known["hours"]) != (series_uid, instances, hours):
                connection.execute(update(table).where(table.c.case_id == case_id).values(**fresh))

        writing(self._engine, work)

    def due(self, now: datetime, quiet: timedelta) -> FollowUp | None:
        """The oldest that can be compared: its case has its prediction, and nothing more of its scan has come lately.

        One that was compared with an earlier conversion of its case is due again.
        """
        table, cases, series = schema.follow_ups, schema.cases, schema.series
        waits = or_(
            table.c.state == FollowUpState.WANTED.value,
            and_(table.c.revision.is_not(None), table.c.revision != cases.c.revision),
        )
        query = (
            select(table)
            .join(cases, cases.c.case_id == table.c.case_id)
            .join(series, series.c.series_uid == table.c.series_uid)
            .where(
                waits,
                cases.c.state == CaseState.DONE.value,
                cases.c.outcome == CaseOutcome.PREDICTED.value,
                series.c.last_received_at <= now - quiet,
            )
            .order_by(table.c.wanted_at, table.c.case_id)
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _follow_up(row)

    def begin(self, case_id: str) -> int:
        """Count an attempt before it is made, so that one which ends the process counts; how many in a row there were.

        An attempt that came to an end, whichever, starts the count again.
        """
        table = schema.follow_ups

        def work(connection: Connection) -> int:
            of_case = table.c.case_id == case_id
            connection.execute(
                update(table)
                .where(of_case)
                .values(attempts=table.c.attempts + 1, state=FollowUpState.WANTED.value, revision=None)
            )
            return int(connection.execute(select(table.c.attempts).where(of_case)).scalar_one())

        return writing(self._engine, work)

    def take_back(self, case_id: str) -> None:
        """The attempt that was begun does not count: what failed was the storage."""
        table = schema.follow_ups
        fewer = update(table).where(table.c.case_id == case_id, table.c.attempts > 0)
        writing(self._engine, lambda connection: connection.execute(fewer.values(attempts=table.c.attempts - 1)))

    def judged(
        self, case_id: str, revision: int, *, hours: float, scanner: str, model: str, figures: Figures, now: datetime
    ) -> None:
        """Keep what was measured, and how long after the injection."""
        self._end(
            case_id,
            FollowUpState.JUDGED,
            now,
            revision=revision,
            hours=hours,
            scanner=scanner[:128],
            model=model[:128],
            figures=json.dumps(figures),
            reasons="[]",
        )

    def refused(self, case_id: str, revision: int, reasons: Collection[Reason], now: datetime) -> None:
        """Keep why it could not be compared."""
        self._without_figures(case_id, FollowUpState.REFUSED, now, revision, reasons)

    def failed(self, case_id: str, revision: int, reason: Reason, now: datetime) -> None:
        """Give it up until the scan or the case changes."""
        self._without_figures(case_id, FollowUpState.FAILED, now, revision, (reason,))

    def of(self, case_id: str) -> FollowUp | None:
        """A case's follow-up, if there is one."""
        table = schema.follow_ups
        with reading(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.case_id == case_id)).mappings().first()
        return None if row is None else _follow_up(row)

    def all(self) -> tuple[FollowUp, ...]:
        """Every follow-up, the first noted first."""
        table = schema.follow_ups
        with reading(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.wanted_at, table.c.case_id)).mappings().all()
        return tuple(_follow_up(row) for row in rows)

    def _without_figures(
        self, case_id: str, state: FollowUpState, now: datetime, revision: int, reasons: Collection[Reason]
    ) -> None:
        self._end(case_id, state, now, revision=revision, reasons=reasons_to_json(reasons), figures="{}")

    def _end(self, case_id: str, state: FollowUpState, now: datetime, **values: float | str) -> None:
        table = schema.follow_ups
        ended = {"state": state.value, "judged_at": now, "attempts": 0}
        change = update(table).where(table.c.case_id == case_id).values(**ended, **values)
        writing(self._engine, lambda connection: connection.execute(change))


def _fresh(now: datetime) -> dict[str, Any]:
    return {
        "state": FollowUpState.WANTED.value,
        "attempts": 0,
        "revision": None,
        "scanner": "",
        "model": "",
        "figures": "{}",
        "reasons": "[]",
        "wanted_at": now,
        "judged_at": None,
    }


def _follow_up(row: RowMapping) -> FollowUp:
    return FollowUp(
        **{
            **row,
            "state": FollowUpState(row["state"]),
            "figures": json.loads(row["figures"]),
            "reasons": tuple(Reason(**reason) for reason in json.loads(row["reasons"])),
        }
    )
