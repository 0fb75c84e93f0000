"""The ledger of what pairing waits for, so that series without a case are not out of sight."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, select

from service.errors import Reason
from service.storage import schema
from service.storage.database import reading, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSeries:
    """Series of one patient that wait for another, or for the rest of themselves.

    Attributes
    ----------
    series
        How many.
    since, until
        When the newest of their images came, and when a person will be asked.
    """

    series: int
    since: datetime
    until: datetime | None
    reasons: tuple[Reason, ...]


class WaitingLedger:
    """One row a wait. Each method is one transaction; failures raise `StorageUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def replace(self, patient_key: str, waits: Sequence[WaitingSeries]) -> None:
        """Set what is waited for of one patient; nothing is written where nothing changed."""
        table = schema.waiting
        of_patient = table.c.patient_key == patient_key
        rows = [
            {
                "patient_key": patient_key,
                "place": place,
                "series": wait.series,
                "since": wait.since,
                "until": wait.until,
                "reasons": json.dumps([asdict(reason) for reason in wait.reasons], ensure_ascii=False),
            }
            for place, wait in enumerate(waits)
        ]

        def work(connection: Connection) -> None:
            connection.execute(delete(table).where(of_patient))
            if rows:
                connection.execute(insert(table), rows)

        with reading(self._engine) as connection:
            known = [dict(row) for row in connection.execute(select(table).where(of_patient)).mappings()]
        if sorted(known, key=lambda row: row["place"]) != rows:
            writing(self._engine, work)

    def all(self) -> tuple[WaitingSeries, ...]:
        """Everything that is waited for, the longest first."""
        table = schema.waiting
        query = select(table).order_by(table.c.since, table.c.patient_key, table.c.place)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(
            WaitingSeries(
                series=row["series"],
                since=row["since"],
                until=row["until"],
                reasons=tuple(Reason(**reason) for reason in json.loads(row["reasons"])),
            )
            for row in rows
        )
