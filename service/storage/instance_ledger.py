"""The ledger of received instances and the series they make up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    delete,
    func,
    insert,
    select,
    union,
    update,
)

from service.cases import CaseState
from service.dicom.records import InstanceHeader, StoredInstance
from service.errors import InputRefused, Reason
from service.storage import schema
from service.storage.database import reading, writing
from service.storage.header_json import header_from_json
from service.storage.recording import Recorded, Recorder
from service.storage.spool import DamagedFile, Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """A series as far as it has arrived.

    Attributes
    ----------
    n_instances
        Without conflicting ones.
    n_conflicts
        Instances whose SOP Instance UID came with two contents.
    arrivals
        Counts new instances and conflicts; hand it back to `settle`.
    """

    series_uid: str
    study_uid: str
    patient_key: str
    n_instances: int
    n_conflicts: int
    first_received_at: datetime
    last_received_at: datetime
    unsettled: bool
    arrivals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedObject:
    """An object that was received but cannot be used; `relative_path` is empty when nothing was kept."""

    at: datetime
    sop_instance_uid: str
    calling_ae: str
    relative_path: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What `rebuild_from` found in the spool."""

    recorded: int
    rejected: int


class InstanceLedger:
    """Rows of received instances. Each method is one transaction; failures raise `StorageUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._recorder = Recorder(engine)

    def record(self, stored: StoredInstance, header: InstanceHeader) -> Recorded:
        """Commit a spooled instance; only after this may its C-STORE be answered with success."""
        return self._recorder.record(stored, header)

    def reject(
        self, reason: Reason, *, sop_instance_uid: str, calling_ae: str, relative_path: str, at: datetime
    ) -> None:
        """Keep the reason why an object cannot be used; the same file is listed once."""
        table = schema.rejected_objects
        values = {
            "at": at,
            "sop_instance_uid": sop_instance_uid[:64],
            "calling_ae": calling_ae[:16],
            "relative_path": relative_path,
            "code": reason.code[:64],
            "message": reason.message,
        }

        def work(connection: Connection) -> None:
            known = select(table.c.id).where(table.c.relative_path == relative_path, table.c.code == reason.code[:64])
            if not relative_path or connection.execute(known).first() is None:
                connection.execute(insert(table).values(values))

        writing(self._engine, work)

    def rejected(self, limit: int = 100) -> tuple[RejectedObject, ...]:
        """The newest rejected objects first."""
        table = schema.rejected_objects
        with reading(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.id.desc()).limit(limit)).mappings().all()
        return tuple(
            RejectedObject(
                at=row["at"],
                sop_instance_uid=row["sop_instance_uid"],
                calling_ae=row["calling_ae"],
                relative_path=row["relative_path"],
                reason=Reason(code=row["code"], message=row["message"]),
            )
            for row in rows
        )

    def instances_of(self, series_uid: str) -> tuple[StoredInstance, ...]:
        """Usable instances of a series in order of arrival; the first content stands where two conflict."""
        table = schema.instances
        query = (
            select(table)
            .where(table.c.series_uid == series_uid, table.c.conflict.is_(False))
            .order_by(table.c.received_at, table.c.relative_path)
        )
        with reading(self._engine) as connection:
            return tuple(_stored(row) for row in connection.execute(query).mappings())

    def sop_instance_uids_of(self, series_uid: str) -> tuple[str, ...]:
        """SOP Instance UIDs of `instances_of`, sorted; without reading the rest of their rows."""
        table = schema.instances
        query = select(table.c.sop_instance_uid).where(table.c.series_uid == series_uid, table.c.conflict.is_(False))
        with reading(self._engine) as connection:
            return tuple(sorted(connection.scalars(query)))

    def usable(self, sop_instance_uid: str) -> StoredInstance | None:
        """The content that stands for a SOP Instance UID, or None when nothing of it has been recorded."""
        table = schema.instances
        query = select(table).where(table.c.sop_instance_uid == sop_instance_uid, table.c.conflict.is_(False))
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        return _stored(row) if row else None

    def headers_of(self, series_uid: str) -> tuple[InstanceHeader, ...]:
        """Headers of the usable instances of a series, in the order of `instances_of`."""
        table = schema.instances
        query = (
            select(table.c.header)
            .where(table.c.series_uid == series_uid, table.c.conflict.is_(False))
            .order_by(table.c.received_at, table.c.relative_path)
        )
        with reading(self._engine) as connection:
            return tuple(header_from_json(text) for text in connection.scalars(query))

    def series(self, series_uid: str) -> SeriesRow | None:
        """One series, or None when nothing of it has arrived."""
        rows = self._series(schema.series.c.series_uid == series_uid)
        return rows[0] if rows else None

    def series_of_patient(self, patient_key: str) -> tuple[SeriesRow, ...]:
        """Every series under one patient key, oldest first."""
        return self._series(schema.series.c.patient_key == patient_key)

    def patients_with_unsettled_series(self) -> tuple[str, ...]:
        """Patient keys that pairing has to look at (again)."""
        table = schema.series
        query = select(table.c.patient_key).where(table.c.unsettled.is_(True)).distinct().order_by(table.c.patient_key)
        with reading(self._engine) as connection:
            return tuple(connection.scalars(query))

    def last_received_at(self, series_uid: str) -> datetime | None:
        """When the newest instance of the series arrived."""
        row = self.series(series_uid)
        return row.last_received_at if row else None

    def settle(self, seen: Iterable[SeriesRow]) -> None:
        """Mark series as dealt with, unless something of them arrived since they were read."""
        table = schema.series
        rows = tuple(seen)

        def work(connection: Connection) -> None:
            for row in rows:
                unchanged = (table.c.series_uid == row.series_uid) & (table.c.arrivals == row.arrivals)
                connection.execute(update(table).where(unchanged).values(unsettled=False))

        if rows:
            writing(self._engine, work)

    def unsettle_unpaired(self) -> None:
        """Have pairing look again at every series that no case was made from; those of held cases are among them."""
        table, cases = schema.series, schema.cases
        undecided = (CaseState.HELD.value, CaseState.DISCARDED.value)
        paired = union(
            *(
                select(column).where(cases.c.state.not_in(undecided))
                for column in (cases.c.baseline_series_uid, cases.c.delayed_series_uid)
            )
        )
        change = update(table).where(table.c.series_uid.not_in(paired)).values(unsettled=True)
        writing(self._engine, lambda connection: connection.execute(change))

    def forget(self, relative_paths: Collection[str]) -> None:
        """Drop the rows of files that retention has removed."""
        table = schema.instances
        writing(
            self._engine,
            lambda connection: connection.execute(delete(table).where(table.c.relative_path.in_(list(relative_paths)))),
        )

    def knows(self, relative_path: str) -> bool:
        """Whether a file of the spool is recorded, or listed among the rejected objects."""
        with reading(self._engine) as connection:
            for table in (schema.instances, schema.rejected_objects):
                query = select(table.c.relative_path).where(table.c.relative_path == relative_path)
                if connection.execute(query).first() is not None:
                    return True
        return False

    def rebuild_from(
        self,
        spool: Spool,
        read_header: Callable[[StoredInstance], InstanceHeader],
        *,
        now: datetime,
        is_held: Callable[[StoredInstance], bool] = lambda _: False,
    ) -> Rebuilt:
        """Record every spooled instance that the ledger does not know.

        Covers a kill between the file and its row as well as a lost ledger. Known files are not
        opened, so this is cheap enough for every start.

        Parameters
        ----------
        read_header
            Reads the file's header; `InputRefused` puts the object among the rejected ones.
        is_held
            Whether the image is recorded already, from another file; then there is nothing to record.
        """
        recorded = rejected = 0
        found = spool.scan(skip=self.knows)
        # The oldest content of a SOP Instance UID is the one that was acknowledged first and stands.
        for item in sorted(found, key=lambda item: (getattr(item, "received_at", now), item.relative_path)):
            if isinstance(item, DamagedFile):
                reason = Reason(code="SPOOL_FILE_DAMAGED", message=f"a file in the spool is damaged: {item.problem}")
                self.reject(reason, sop_instance_uid="", calling_ae="", relative_path=item.relative_path, at=now)
                rejected += 1
                continue
            try:
                header = read_header(item)
            except InputRefused as refusal:
                self.reject(
                    refusal.reasons[0],
                    sop_instance_uid=item.sop_instance_uid,
                    calling_ae=item.calling_ae,
                    relative_path=item.relative_path,
                    at=now,
                )
                rejected += 1
                continue
            if not is_held(item):
                self.record(item, header)
                recorded += 1
        return Rebuilt(recorded=recorded, rejected=rejected)

    def _series(self, condition: ColumnElement[bool]) -> tuple[SeriesRow, ...]:
        series, instances = schema.series, schema.instances
        conflicts = (
            select(func.count())
            .where(instances.c.series_uid == series.c.series_uid, instances.c.conflict.is_(True))
            .correlate(series)
            .scalar_subquery()
        )
        query = (
            select(series, conflicts.label("n_conflicts"))
            .where(condition)
            .order_by(series.c.first_received_at, series.c.series_uid)
        )
        with reading(self._engine) as connection:
            return tuple(SeriesRow(**row) for row in connection.execute(query).mappings())


def _stored(row: RowMapping) -> StoredInstance:
    return StoredInstance(
        sop_instance_uid=row["sop_instance_uid"],
        sop_class_uid=row["sop_class_uid"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        relative_path=row["relative_path"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        calling_ae=row["calling_ae"],
        received_at=row["received_at"],
    )
