"""Reports on storage commitment, from the process that a peer reported to, to the one that waits for it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select, update

from service.storage import schema
from service.storage.database import reading, writing

_KEPT = timedelta(days=7)
"""For a report that comes late; by then a case has been asked for anew many times."""


class CommitmentLedger:
    """Open transactions by Transaction UID. Each method is one transaction; failures raise `StorageUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def expect(self, transaction_uid: str, now: datetime) -> None:
        """A report on this transaction may come to any process."""
        table = schema.commitments

        def work(connection: Connection) -> None:
            connection.execute(delete(table).where(table.c.asked_at < now - _KEPT))
            connection.execute(insert(table).values(transaction_uid=transaction_uid, asked_at=now, report=None))

        writing(self._engine, work)

    def put(self, transaction_uid: str, report: str) -> bool:
        """Keep the report, as JSON; False when nobody expects one. The first report on a transaction stands."""
        table = schema.commitments
        of_transaction = table.c.transaction_uid == transaction_uid

        def work(connection: Connection) -> bool:
            unreported = update(table).where(of_transaction, table.c.report.is_(None))
            if connection.execute(unreported.values(report=report)).rowcount == 1:
                return True
            return connection.execute(select(table.c.transaction_uid).where(of_transaction)).first() is not None

        return writing(self._engine, work)

    def report(self, transaction_uid: str) -> str | None:
        """The report, if it has come."""
        table = schema.commitments
        with reading(self._engine) as connection:
            return connection.scalar(select(table.c.report).where(table.c.transaction_uid == transaction_uid))

    def forget(self, transaction_uid: str) -> None:
        """Nobody waits for it any more."""
        table = schema.commitments
        writing(
            self._engine,
            lambda connection: connection.execute(delete(table).where(table.c.transaction_uid == transaction_uid)),
        )
