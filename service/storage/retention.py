"""Retention: what is finished and old enough leaves the disk; what is unsent or undecided never does."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, exists, or_, select

from service.cases import CaseState
from service.storage import schema
from service.storage.database import reading, writing
from service.storage.durable import disk_faults
from service.storage.spool import Spool

_OVER = (CaseState.DONE.value, CaseState.DISCARDED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a sweep removed."""

    series: int
    files: int
    results: int


class Retention:
    """Removes received series and results by age; the cases' rows and history stay.

    Parameters
    ----------
    received, results
        How long after the last change; None keeps them for good.
    """

    def __init__(self, engine: Engine, spool: Spool, *, received: timedelta | None, results: timedelta | None) -> None:
        self._engine = engine
        self._spool = spool
        self._received = received
        self._results = results

    def sweep(self, now: datetime) -> Removed:
        """Remove what is due.

        Rows go before files: a kill in between leaves files that the next start records anew, and no row
        that promises a file which is gone.

        Raises
        ------
        StorageUnavailable
            The ledger or the disk failed; the next sweep goes on.
        """
        series = files = results = 0
        if self._received is not None:
            for uid in self._series_due(now - self._received):
                paths = self._drop_series(uid, now - self._received)
                series += bool(paths)
                with disk_faults():
                    for path in paths:
                        (self._spool.root / path).unlink(missing_ok=True)
                        files += 1
        if self._results is not None:
            results = self._remove_results(now - self._results)
        return Removed(series=series, files=files, results=results)

    def _series_due(self, before: datetime) -> tuple[str, ...]:
        """Series at rest, all of whose cases are over and unchanged since `before`."""
        table = schema.series
        query = select(table.c.series_uid).where(table.c.last_received_at < before, table.c.unsettled.is_(False))
        with reading(self._engine) as connection:
            uids = connection.scalars(query.order_by(table.c.series_uid)).all()
            return tuple(uid for uid in uids if not _needed(connection, uid, before))

    def _drop_series(self, uid: str, before: datetime) -> tuple[str, ...]:
        """Delete the rows of a series unless it is needed again by now; the paths of its files."""
        instances, series = schema.instances, schema.series

        def work(connection: Connection) -> tuple[str, ...]:
            at_rest = select(series.c.series_uid).where(
                series.c.series_uid == uid, series.c.last_received_at < before, series.c.unsettled.is_(False)
            )
            if connection.execute(at_rest.with_for_update()).first() is None or _needed(connection, uid, before):
                return ()
            of_series = instances.c.series_uid == uid
            paths = tuple(connection.scalars(select(instances.c.relative_path).where(of_series)))
            connection.execute(delete(instances).where(of_series))
            connection.execute(delete(series).where(series.c.series_uid == uid))
            return paths

        return writing(self._engine, work)

    def _remove_results(self, before: datetime) -> int:
        table = schema.cases
        query = select(table.c.case_id, table.c.revision).where(table.c.state.in_(_OVER), table.c.updated_at < before)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        removed = 0
        for case_id, revision in rows:
            directory = self._spool.result_path(case_id, revision).parent
            if directory.is_dir():
                with disk_faults():
                    shutil.rmtree(directory)
                removed += 1
        return removed


def _needed(connection: Connection, series_uid: str, before: datetime) -> bool:
    cases, links = schema.cases, schema.case_series
    of_series = or_(
        cases.c.baseline_series_uid == series_uid,
        cases.c.delayed_series_uid == series_uid,
        cases.c.case_id.in_(select(links.c.case_id).where(links.c.series_uid == series_uid)),
    )
    alive = or_(cases.c.state.not_in(_OVER), cases.c.updated_at >= before)
    return bool(connection.scalar(select(exists().where(of_series, alive))))
