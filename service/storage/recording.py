"""Rows of arriving instances, several in one transaction: a commit costs a sync however many rows it has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from threading import Lock

from sqlalchemy import Connection, Engine, bindparam, case, insert, select, update

from service.dicom.records import InstanceHeader, StoredInstance
from service.storage import schema
from service.storage.database import writing
from service.storage.header_json import header_to_json
from service.storage.identifiers import patient_key_of

_MOST_AT_ONCE = 64
"""A commit holds up all other writers while it lasts."""

# Built once, not for each commit.
_SERIES, _INSTANCES = schema.series, schema.instances
_SERIES_LOCK = (
    select(_SERIES.c.series_uid)
    .where(_SERIES.c.series_uid.in_(bindparam("uids", expanding=True)))
    .order_by(_SERIES.c.series_uid)
    .with_for_update()
)
_PATHS_HELD = select(_INSTANCES.c.sop_instance_uid, _INSTANCES.c.relative_path).where(
    _INSTANCES.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)
_AT = bindparam("at", type_=schema.Instant())
_COUNT = (
    update(_SERIES)
    .where(_SERIES.c.series_uid == bindparam("series"))
    .values(
        n_instances=_SERIES.c.n_instances + bindparam("usable"),
        arrivals=_SERIES.c.arrivals + bindparam("arrived"),
        last_received_at=case((_SERIES.c.last_received_at < _AT, _AT), else_=_SERIES.c.last_received_at),
        unsettled=True,
    )
)
_NEW_SERIES, _NEW_INSTANCES = insert(_SERIES), insert(_INSTANCES)


class Recorded(StrEnum):
    """What recording an instance found."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same content again; nothing changed
    CONFLICT = "conflict"  # other content under a SOP Instance UID already held; kept beside it, never used


@dataclass(slots=True, eq=False)
class _Entry:
    stored: StoredInstance
    header: InstanceHeader
    outcome: Recorded | Exception | None = field(default=None)


class Recorder:
    """Commits instances of any number of threads; those that come while a commit is under way share the next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[_Entry] = []
        self._waiting_lock = Lock()
        self._turn = Lock()

    def record(self, stored: StoredInstance, header: InstanceHeader) -> Recorded:
        """Returns once it is committed.

        Raises
        ------
        StorageUnavailable
            It is not.
        """
        entry = _Entry(stored, header)
        with self._waiting_lock:
            self._waiting.append(entry)
        with self._turn:
            if entry.outcome is None:
                self._commit(self._batch(entry))
        assert entry.outcome is not None
        if isinstance(entry.outcome, Exception):
            raise entry.outcome
        return entry.outcome

    def _batch(self, own: _Entry) -> list[_Entry]:
        with self._waiting_lock:
            others = [entry for entry in self._waiting if entry is not own][: _MOST_AT_ONCE - 1]
            batch = [own, *others]
            self._waiting = [entry for entry in self._waiting if entry not in batch]
        return batch

    def _commit(self, batch: Sequence[_Entry]) -> None:
        rows = [(entry.stored, entry.header) for entry in batch]
        try:
            outcomes = writing(self._engine, lambda connection: record_all(connection, rows))
        except Exception as fault:  # noqa: BLE001 - it is raised where its instance came from
            if len(batch) == 1:
                batch[0].outcome = fault
                return
            for entry in batch:  # one that cannot be recorded must not take the others along
                self._commit([entry])
            return
        for entry, outcome in zip(batch, outcomes, strict=True):
            entry.outcome = outcome


def record_all(
    connection: Connection, arrivals: Sequence[tuple[StoredInstance, InstanceHeader]]
) -> tuple[Recorded, ...]:
    """Rows for spooled instances, in order; in the caller's transaction."""
    _lock_series(connection, sorted({header.series_instance_uid for _, header in arrivals}))
    held = _paths_held(connection, {stored.sop_instance_uid for stored, _ in arrivals})
    outcomes: list[Recorded] = []
    for stored, _ in arrivals:
        paths = held[stored.sop_instance_uid]
        if stored.relative_path in paths:
            outcomes.append(Recorded.DUPLICATE)
            continue
        outcomes.append(Recorded.CONFLICT if paths else Recorded.NEW)
        paths.add(stored.relative_path)
    fresh = [
        (stored, header, outcome)
        for (stored, header), outcome in zip(arrivals, outcomes, strict=True)
        if outcome is not Recorded.DUPLICATE
    ]
    _count_arrivals(connection, fresh)
    if fresh:
        connection.execute(_NEW_INSTANCES, [_row(*item) for item in fresh])
    return tuple(outcomes)


def _lock_series(connection: Connection, series_uids: Sequence[str]) -> None:
    """One arrival of a series at a time, so that two contents under one UID cannot both pass for the first.

    In the same order by everybody. SQLite has one writer anyway.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_SERIES_LOCK, {"uids": series_uids})


def _paths_held(connection: Connection, sop_instance_uids: Iterable[str]) -> defaultdict[str, set[str]]:
    held: defaultdict[str, set[str]] = defaultdict(set)
    for uid, path in connection.execute(_PATHS_HELD, {"uids": list(sop_instance_uids)}):
        held[uid].add(path)
    return held


def _count_arrivals(connection: Connection, fresh: Sequence[tuple[StoredInstance, InstanceHeader, Recorded]]) -> None:
    first: dict[str, InstanceHeader] = {}
    arrived, usable = Counter[str](), Counter[str]()
    times: defaultdict[str, list[datetime]] = defaultdict(list)
    for stored, header, outcome in fresh:
        series_uid = header.series_instance_uid
        first.setdefault(series_uid, header)
        arrived[series_uid] += 1
        usable[series_uid] += outcome is Recorded.NEW
        times[series_uid].append(stored.received_at)
    for series_uid, header in first.items():
        _count(connection, header, usable[series_uid], arrived[series_uid], times[series_uid])


def _count(
    connection: Connection, header: InstanceHeader, usable: int, arrived: int, times: Sequence[datetime]
) -> None:
    counted = connection.execute(
        _COUNT, {"series": header.series_instance_uid, "usable": usable, "arrived": arrived, "at": max(times)}
    )
    if counted.rowcount == 0:
        connection.execute(
            _NEW_SERIES,
            {
                "series_uid": header.series_instance_uid,
                "study_uid": header.study_instance_uid,
                "patient_key": patient_key_of(header),
                "n_instances": usable,
                "first_received_at": min(times),
                "last_received_at": max(times),
                "unsettled": True,
                "arrivals": arrived,
            },
        )


def _row(stored: StoredInstance, header: InstanceHeader, outcome: Recorded) -> dict[str, object]:
    return {
        "relative_path": stored.relative_path,
        "sop_instance_uid": stored.sop_instance_uid,
        "sop_class_uid": stored.sop_class_uid,
        "transfer_syntax_uid": stored.transfer_syntax_uid,
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "calling_ae": stored.calling_ae,
        "received_at": stored.received_at,
        "series_uid": header.series_instance_uid,
        "header": header_to_json(header),
        "conflict": outcome is Recorded.CONFLICT,
    }
