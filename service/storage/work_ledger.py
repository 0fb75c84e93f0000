"""The ledger of deliveries."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, Engine, func, insert, select, update

from service.storage import schema
from service.storage.database import reading, writing


class DeliveryState(StrEnum):
    """Where one instance stands at one destination."""

    PENDING = "pending"
    SENT = "sent"  # the peer answered C-STORE with success
    CONFIRMED = "confirmed"  # committed, or counted by C-FIND
    FAILED = "failed"  # the peer refused this instance; tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One instance on its way to one destination; `status` is the peer's last answer."""

    case_id: str
    revision: int
    destination: str
    sop_instance_uid: str
    state: DeliveryState
    status: str
    attempts: int
    updated_at: datetime


class DeliveryLedger:
    """Rows of deliveries. Each method is one transaction; failures raise `StorageUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def plan(
        self,
        case_id: str,
        revision: int,
        destinations: Collection[str],
        sop_instance_uids: Collection[str],
        now: datetime,
    ) -> None:
        """Note what is to be delivered where; what is already noted stays as it is."""
        table = schema.deliveries

        def work(connection: Connection) -> None:
            query = select(table.c.destination, table.c.sop_instance_uid).where(
                table.c.case_id == case_id, table.c.revision == revision
            )
            known = {(row.destination, row.sop_instance_uid) for row in connection.execute(query)}
            missing = [
                {
                    "case_id": case_id,
                    "revision": revision,
                    "destination": destination,
                    "sop_instance_uid": uid,
                    "state": DeliveryState.PENDING.value,
                    "status": "",
                    "attempts": 0,
                    "updated_at": now,
                }
                for destination in destinations
                for uid in sop_instance_uids
                if (destination, uid) not in known
            ]
            if missing:
                connection.execute(insert(table), missing)

        writing(self._engine, work)

    def mark(
        self,
        case_id: str,
        revision: int,
        destination: str,
        sop_instance_uids: Iterable[str],
        state: DeliveryState,
        *,
        status: str = "",
        now: datetime,
    ) -> None:
        """Set the state of these instances at one destination; a confirmed one stays confirmed."""
        table = schema.deliveries
        attempted = int(state in (DeliveryState.SENT, DeliveryState.FAILED))
        uids = list(sop_instance_uids)
        writing(
            self._engine,
            lambda connection: connection.execute(
                update(table)
                .where(
                    table.c.case_id == case_id,
                    table.c.revision == revision,
                    table.c.destination == destination,
                    table.c.sop_instance_uid.in_(uids),
                    table.c.state != DeliveryState.CONFIRMED.value,
                )
                .values(state=state.value, status=status[:255], attempts=table.c.attempts + attempted, updated_at=now)
            ),
        )

    def of(self, case_id: str, revision: int, destination: str | None = None) -> tuple[Delivery, ...]:
        """Deliveries of one revision, to one destination or to all."""
        table = schema.deliveries
        query = select(table).where(table.c.case_id == case_id, table.c.revision == revision)
        if destination is not None:
            query = query.where(table.c.destination == destination)
        query = query.order_by(table.c.destination, table.c.sop_instance_uid)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Delivery(**{**row, "state": DeliveryState(row["state"])}) for row in rows)

    def counts(self) -> dict[DeliveryState, int]:
        """Number of deliveries in every state, zeros included."""
        table = schema.deliveries
        with reading(self._engine) as connection:
            rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state)).all()
        found: dict[str, int] = {row[0]: row[1] for row in rows}
        return {state: found.get(state.value, 0) for state in DeliveryState}
