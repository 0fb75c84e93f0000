"""Which images each conversion used: by that, and by no clock, is told whether more have come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select

from service.storage import schema
from service.storage.database import reading, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedSeries:
    """A series as a conversion read it.

    Attributes
    ----------
    digest
        SHA-256 of its SOP Instance UIDs, sorted.
    """

    series_uid: str
    instances: int
    digest: str

    @classmethod
    def of(cls, series_uid: str, sop_instance_uids: Iterable[str]) -> UsedSeries:
        """What there is of a series; the order of the instances is of no account."""
        uids = sorted(set(sop_instance_uids))
        digest = hashlib.sha256(json.dumps(uids).encode()).hexdigest()
        return cls(series_uid=series_uid, instances=len(uids), digest=digest)

    def lacks_some_of(self, present: UsedSeries) -> bool:
        """Whether there are images that were not used.

        Fewer than were used are the same ones again, sent anew after retention had removed them, and not yet all.
        """
        return present.instances >= self.instances and present.digest != self.digest


class UsedSeriesLedger:
    """Two rows a conversion, kept for good. Each method is one transaction; failures raise `StorageUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, case_id: str, revision: int, used: Collection[UsedSeries], now: datetime) -> None:
        """Note what the published result of a revision was made from; what is on record stays, as the result does."""
        table = schema.used_series

        def work(connection: Connection) -> None:
            of_revision = (table.c.case_id == case_id) & (table.c.revision == revision)
            if used and connection.execute(select(table.c.series_uid).where(of_revision)).first() is None:
                common = {"case_id": case_id, "revision": revision, "used_at": now}
                connection.execute(insert(table), [common | asdict(item) for item in used])

        writing(self._engine, work)

    def of(self, case_id: str, revision: int) -> dict[str, UsedSeries]:
        """By Series Instance UID; empty where no result was published, or by a version that kept no such record."""
        table = schema.used_series
        query = select(table.c.series_uid, table.c.instances, table.c.digest).where(
            table.c.case_id == case_id, table.c.revision == revision
        )
        with reading(self._engine) as connection:
            return {row["series_uid"]: UsedSeries(**row) for row in connection.execute(query).mappings()}
