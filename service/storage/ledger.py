"""The ledger: one database that knows every received instance, case, delivery and worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, func, insert, select, update

from service.cases import CaseState
from service.storage import schema
from service.storage.case_ledger import CaseLedger
from service.storage.commitment_ledger import CommitmentLedger
from service.storage.database import connect, migrate, reading, writing
from service.storage.follow_up_ledger import FollowUpLedger
from service.storage.instance_ledger import InstanceLedger
from service.storage.retention import Retention
from service.storage.spool import Spool
from service.storage.used_series import UsedSeriesLedger
from service.storage.waiting_ledger import WaitingLedger
from service.storage.work_ledger import DeliveryLedger, DeliveryState
from service.storage.worker_ledger import LeaseLedger, WorkerLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """Figures for metrics and the status page; `refused` counts cases that are done with a refusal."""

    instances: int
    instance_bytes: int
    conflicts: int
    rejected: int
    series_unsettled: int
    cases: dict[CaseState, int]
    deliveries: dict[DeliveryState, int]
    refused: int


class Ledger:
    """The parts of the ledger, on one engine.

    Attributes
    ----------
    instances, cases, used, deliveries, follow_ups, waiting, commitments, workers, leases
        Each method of these is one transaction and raises `StorageUnavailable` when it fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.instances = InstanceLedger(engine)
        self.cases = CaseLedger(engine)
        self.used = UsedSeriesLedger(engine)
        self.deliveries = DeliveryLedger(engine)
        self.follow_ups = FollowUpLedger(engine)
        self.waiting = WaitingLedger(engine)
        self.commitments = CommitmentLedger(engine)
        self.workers = WorkerLedger(engine)
        self.leases = LeaseLedger(engine)

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Connect to a SQLAlchemy URL and bring the schema up to date.

        Raises
        ------
        StorageUnavailable
            The database cannot be reached or migrated.
        """
        engine = connect(url)
        migrate(engine)
        return cls(engine)

    def retention(self, spool: Spool, *, received: timedelta | None, results: timedelta | None) -> Retention:
        """What removes finished series and results once they are so old."""
        return Retention(self._engine, spool, received=received, results=results)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @property
    def shared(self) -> bool:
        """Whether several machines may use it: PostgreSQL. SQLite's locks hold within one machine."""
        return self._engine.dialect.name != "sqlite"

    def clock(self, ours: datetime) -> datetime:
        """What time it is to all who share this ledger: the database's, or `ours` where it is of this machine only.

        Raises
        ------
        StorageUnavailable
            The database does not answer.
        """
        if not self.shared:
            return ours
        with reading(self._engine) as connection:
            told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return told.astimezone(UTC)

    def check(self) -> None:
        """Raise `StorageUnavailable` unless the ledger answers."""
        with reading(self._engine) as connection:
            connection.execute(select(1))

    def counts(self) -> LedgerCounts:
        """Figures for metrics."""
        instances, series, rejected = schema.instances, schema.series, schema.rejected_objects
        with reading(self._engine) as connection:
            n, size = connection.execute(select(func.count(), func.sum(instances.c.size_bytes))).one()
            conflicts = connection.scalar(select(func.count()).where(instances.c.conflict.is_(True)))
            unsettled = connection.scalar(select(func.count()).where(series.c.unsettled.is_(True)))
            n_rejected = connection.scalar(select(func.count()).select_from(rejected))
        return LedgerCounts(
            instances=n,
            instance_bytes=int(size or 0),
            conflicts=conflicts or 0,
            rejected=n_rejected or 0,
            series_unsettled=unsettled or 0,
            cases=self.cases.counts(),
            deliveries=self.deliveries.counts(),
            refused=self.cases.refused(),
        )

    def setting(self, name: str) -> str | None:
        """A value that must outlive the process, e.g. when the last phantom ran."""
        with reading(self._engine) as connection:
            return connection.scalar(select(schema.settings.c.value).where(schema.settings.c.name == name))

    def set_setting(self, name: str, value: str, now: datetime) -> None:
        """Store a value under a name."""
        table = schema.settings

        def work(connection: Connection) -> None:
            changed = connection.execute(update(table).where(table.c.name == name).values(value=value, updated_at=now))
            if changed.rowcount == 0:
                connection.execute(insert(table).values(name=name, value=value, updated_at=now))

        writing(self._engine, work)
