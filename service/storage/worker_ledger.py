"""The ledger of the processes that share it: who is alive, who takes over from the dead, who does what one alone does.

Every time is to come from one clock, `Ledger.clock`: those of several machines differ.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, or_, select, update

from service.storage import schema
from service.storage.database import reading, writing

REMEMBERED = timedelta(days=1)
"""For how long a process that was lost is still shown, unless it comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that has begun and not left.

    Attributes
    ----------
    taken_over_at
        When another took over what it had in work, after it had fallen silent; None while it is alive.
    """

    executor_id: str
    host: str
    roles: tuple[str, ...]
    beat_at: datetime
    taken_over_at: datetime | None


class WorkerLedger:
    """Heartbeats, and who takes over from a dead worker.

    Each method is one transaction; failures raise `StorageUnavailable`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def beat(self, executor_id: str, now: datetime, *, host: str = "", roles: Collection[str] = ()) -> None:
        """Say that this process is alive."""
        table = schema.heartbeats

        def work(connection: Connection) -> None:
            mine = table.c.executor_id == executor_id
            # A worker that beats again takes its work back: it recovers its own at start.
            alive = {
                "host": host,
                "roles": ",".join(roles),
                "beat_at": now,
                "left": False,
                "claimed_by": "",
                "claimed_at": None,
                "taken_over_at": None,
            }
            if connection.execute(update(table).where(mine).values(**alive)).rowcount == 0:
                connection.execute(insert(table).values(executor_id=executor_id, **alive))

        writing(self._engine, work)

    def claim_dead(self, by: str, *, silent_for: timedelta, now: datetime) -> tuple[str, ...]:
        """Claim workers that have been silent or have left; each is given to one claimant only.

        A claim that was not concluded with `taken_over` is open again after `silent_for`, so a
        claimant that dies in between loses nothing.
        """
        table = schema.heartbeats
        limit = now - silent_for

        def work(connection: Connection) -> tuple[str, ...]:
            open_ = (
                or_(table.c.beat_at < limit, table.c.left.is_(True))
                & (table.c.executor_id != by)
                & table.c.taken_over_at.is_(None)
                & or_(table.c.claimed_by == "", table.c.claimed_by == by, table.c.claimed_at < limit)
            )
            claimed = []
            for executor_id in connection.scalars(select(table.c.executor_id).where(open_)).all():
                taken = update(table).where(open_, table.c.executor_id == executor_id)
                if connection.execute(taken.values(claimed_by=by, claimed_at=now)).rowcount == 1:
                    claimed.append(executor_id)
            connection.execute(delete(table).where(table.c.taken_over_at < now - REMEMBERED))
            return tuple(sorted(claimed))

        return writing(self._engine, work)

    def taken_over(self, executor_id: str, *, by: str, now: datetime) -> None:
        """Note that the work of a dead worker goes on elsewhere; one that had left is forgotten.

        Without effect if it beats again, or `by` has lost its claim.
        """
        table = schema.heartbeats
        claimed = (table.c.executor_id == executor_id) & (table.c.claimed_by == by)

        def work(connection: Connection) -> None:
            connection.execute(delete(table).where(claimed, table.c.left.is_(True)))
            connection.execute(update(table).where(claimed).values(taken_over_at=now))

        writing(self._engine, work)

    def leave(self, executor_id: str) -> None:
        """Say that this process stops in good order."""
        table = schema.heartbeats
        writing(
            self._engine,
            lambda connection: connection.execute(
                update(table).where(table.c.executor_id == executor_id).values(left=True)
            ),
        )

    def all(self) -> tuple[Worker, ...]:
        """Every process that has not left, by its name."""
        table = schema.heartbeats
        columns = (table.c.executor_id, table.c.host, table.c.roles, table.c.beat_at, table.c.taken_over_at)
        query = select(*columns).where(table.c.left.is_(False)).order_by(table.c.executor_id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Worker(**{**row, "roles": tuple(filter(None, row["roles"].split(",")))}) for row in rows)


class LeaseLedger:
    """Tasks that one process at a time has, for a while that it renews.

    A row, and no lock of the database: it works alike on SQLite, and a machine that loses its power holds no
    connection open for the hours that TCP takes to notice.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, name: str, holder: str, *, lasting: timedelta, now: datetime) -> bool:
        """Take or renew; False while another holds it. Failures raise `StorageUnavailable`."""
        table = schema.leases
        of_name = table.c.name == name

        def work(connection: Connection) -> bool:
            values = {"holder": holder, "until": now + lasting}
            free = or_(table.c.holder == holder, table.c.until <= now)
            if connection.execute(update(table).where(of_name, free).values(**values)).rowcount == 1:
                return True
            if connection.execute(select(table.c.holder).where(of_name)).first() is not None:
                return False
            connection.execute(insert(table).values(name=name, **values))  # one of several wins; the others try again
            return True

        return writing(self._engine, work)

    def give_up(self, holder: str) -> None:
        """Let others have at once what this process holds; at its end."""
        table = schema.leases
        writing(self._engine, lambda connection: connection.execute(delete(table).where(table.c.holder == holder)))
