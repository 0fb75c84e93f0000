"""The ledger of deliveries and of the workers that are alive."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, Engine, delete, func, insert, or_, select, update

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


class WorkerLedger:
    """Heartbeats of workers, and who takes over from a dead one.

    Each method is one transaction; failures raise `StorageUnavailable`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def beat(self, executor_id: str, now: datetime) -> None:
        """Say that this worker is alive."""
        table = schema.heartbeats

        def work(connection: Connection) -> None:
            mine = table.c.executor_id == executor_id
            # A worker that beats again takes its work back: it recovers its own at start.
            alive = {"beat_at": now, "claimed_by": "", "claimed_at": None}
            if connection.execute(update(table).where(mine).values(**alive)).rowcount == 0:
                connection.execute(insert(table).values(executor_id=executor_id, **alive))

        writing(self._engine, work)

    def claim_dead(self, by: str, *, silent_for: timedelta, now: datetime) -> tuple[str, ...]:
        """Claim workers that have been silent; each is given to one claimant only.

        A claim that was not concluded with `forget` is open again after `silent_for`, so a
        claimant that dies in between loses nothing.
        """
        table = schema.heartbeats
        limit = now - silent_for

        def work(connection: Connection) -> tuple[str, ...]:
            open_ = (
                (table.c.beat_at < limit)
                & (table.c.executor_id != by)
                & or_(table.c.claimed_by == "", table.c.claimed_by == by, table.c.claimed_at < limit)
            )
            claimed = []
            for executor_id in connection.scalars(select(table.c.executor_id).where(open_)).all():
                taken = update(table).where(open_, table.c.executor_id == executor_id)
                if connection.execute(taken.values(claimed_by=by, claimed_at=now)).rowcount == 1:
                    claimed.append(executor_id)
            return tuple(sorted(claimed))

        return writing(self._engine, work)

    def forget(self, executor_id: str, *, by: str | None = None) -> None:
        """Remove a worker: one that stops in good order, or (`by`) a dead one whose work was taken over."""
        table = schema.heartbeats
        condition = table.c.executor_id == executor_id
        if by is not None:
            condition &= table.c.claimed_by == by
        writing(self._engine, lambda connection: connection.execute(delete(table).where(condition)))

    def workers(self) -> dict[str, datetime]:
        """Last heartbeat of every known worker."""
        table = schema.heartbeats
        with reading(self._engine) as connection:
            rows = connection.execute(select(table.c.executor_id, table.c.beat_at)).all()
        return {row.executor_id: row.beat_at for row in rows}
