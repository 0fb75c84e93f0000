"""The ledger's tables, in SQL that SQLite and PostgreSQL share."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

UID = String(64)  # PS3.5 9.1
HASH = String(64)
CASE_ID = String(64)


class Instant(TypeDecorator[datetime]):
    """A point in time: aware in Python, UTC without offset in the database (SQLite keeps no offsets)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware datetime -> naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger takes aware datetimes only")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Naive UTC -> aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

series = Table(
    "series",
    metadata,
    Column("series_uid", UID, primary_key=True),
    Column("study_uid", UID, nullable=False),
    Column("patient_key", HASH, nullable=False, index=True),
    Column("n_instances", Integer, nullable=False),
    Column("first_received_at", Instant, nullable=False),
    Column("last_received_at", Instant, nullable=False),
    # Raised by every new instance, lowered when pairing has come to an end with the series.
    Column("unsettled", Boolean, nullable=False, index=True),
    # Counts arrivals, so that lowering the flag cannot swallow an instance that came meanwhile.
    Column("arrivals", Integer, nullable=False),
)

instances = Table(
    "instances",
    metadata,
    Column("relative_path", String(255), primary_key=True),
    Column("sop_instance_uid", UID, nullable=False, index=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("sha256", HASH, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("series_uid", UID, ForeignKey("series.series_uid"), nullable=False, index=True),
    Column("header", Text, nullable=False),
    Column("conflict", Boolean, nullable=False),  # other content under a SOP Instance UID already held
)

rejected_objects = Table(
    "rejected_objects",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("sop_instance_uid", UID, nullable=False, index=True),
    Column("calling_ae", String(16), nullable=False),
    Column("relative_path", String(255), nullable=False),  # empty when nothing was kept
    Column("code", String(64), nullable=False),
    Column("message", Text, nullable=False),
)

cases = Table(
    "cases",
    metadata,
    Column("case_id", CASE_ID, primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("patient_key", HASH, nullable=False, index=True),
    Column("baseline_series_uid", UID, nullable=False, index=True),
    Column("delayed_series_uid", UID, nullable=False, index=True),
    Column("injection_time", String(40), nullable=False),  # ISO 8601 with offset if known; empty when unknown
    Column("hours_after_injection", Float),
    Column("outcome", String(16)),
    Column("reasons", Text, nullable=False),  # JSON list of Reason
    Column("revision", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retrying", Boolean, nullable=False),  # failed, but the queue tries again by itself
    Column("superseded", Boolean, nullable=False),  # discarded by pairing and not by a person
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

case_series = Table(
    "case_series",
    metadata,
    Column("case_id", CASE_ID, ForeignKey("cases.case_id"), primary_key=True),
    Column("series_uid", UID, primary_key=True),
    Index("ix_case_series_series_uid", "series_uid"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("case_id", CASE_ID, ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("case_id", CASE_ID, ForeignKey("cases.case_id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("destination", String(64), primary_key=True),
    Column("sop_instance_uid", UID, primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("status", String(255), nullable=False),  # the peer's last answer, e.g. 0x0000
    Column("attempts", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

used_series = Table(
    "used_series",
    metadata,
    Column("case_id", CASE_ID, ForeignKey("cases.case_id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("series_uid", UID, primary_key=True),
    Column("instances", Integer, nullable=False),
    Column("digest", HASH, nullable=False),  # of the SOP Instance UIDs, sorted
    Column("used_at", Instant, nullable=False),
)

follow_ups = Table(
    "follow_ups",
    metadata,
    Column("case_id", CASE_ID, ForeignKey("cases.case_id"), primary_key=True),
    Column("series_uid", UID, nullable=False),
    Column("hours", Float, nullable=False),  # after the injection
    Column("instances", Integer, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("revision", Integer),  # of the case, when it was judged
    Column("scanner", String(128), nullable=False),
    Column("model", String(128), nullable=False),
    Column("figures", Text, nullable=False),  # JSON
    Column("reasons", Text, nullable=False),  # JSON list of Reason
    Column("wanted_at", Instant, nullable=False),
    Column("judged_at", Instant),
)

waiting = Table(
    "waiting",
    metadata,
    Column("patient_key", HASH, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("series", Integer, nullable=False),  # how many
    Column("since", Instant, nullable=False),
    Column("until", Instant),
    Column("reasons", Text, nullable=False),  # JSON list of Reason
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("executor_id", String(128), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("roles", String(64), nullable=False),  # joined by commas
    Column("beat_at", Instant, nullable=False),
    Column("left", Boolean, nullable=False),  # it stopped in good order; jobs that it had begun are for others
    Column("claimed_by", String(128), nullable=False),  # the worker that recovers this one's work; empty when none
    Column("claimed_at", Instant),
    Column("taken_over_at", Instant),  # when that was done; until then the claim may lapse
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("until", Instant, nullable=False),
)

commitments = Table(
    "commitments",
    metadata,
    Column("transaction_uid", UID, primary_key=True),
    Column("asked_at", Instant, nullable=False),
    Column("report", Text),  # JSON, once the peer has reported
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
