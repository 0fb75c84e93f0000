"""The first schema: received instances, cases, deliveries, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_initial"
down_revision = None
branch_labels = None
depends_on = None

# Written out, not imported from schema.py: a step describes the past and must not follow later changes.
_UID = sa.String(64)
_HASH = sa.String(64)
_CASE_ID = sa.String(64)


def _index(table: str, *columns: str) -> None:
    for column in columns:
        op.create_index(f"ix_{table}_{column}", table, [column])


def _create_reception() -> None:
    op.create_table(
        "series",
        sa.Column("series_uid", _UID, nullable=False),
        sa.Column("study_uid", _UID, nullable=False),
        sa.Column("patient_key", _HASH, nullable=False),
        sa.Column("n_instances", sa.Integer, nullable=False),
        sa.Column("first_received_at", sa.DateTime, nullable=False),
        sa.Column("last_received_at", sa.DateTime, nullable=False),
        sa.Column("unsettled", sa.Boolean, nullable=False),
        sa.Column("arrivals", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("series_uid", name="pk_series"),
    )
    _index("series", "patient_key", "unsettled")
    op.create_table(
        "instances",
        sa.Column("relative_path", sa.String(255), nullable=False),
        sa.Column("sop_instance_uid", _UID, nullable=False),
        sa.Column("sop_class_uid", _UID, nullable=False),
        sa.Column("transfer_syntax_uid", _UID, nullable=False),
        sa.Column("sha256", _HASH, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("calling_ae", sa.String(16), nullable=False),
        sa.Column("received_at", sa.DateTime, nullable=False),
        sa.Column("series_uid", _UID, nullable=False),
        sa.Column("header", sa.Text, nullable=False),
        sa.Column("conflict", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("relative_path", name="pk_instances"),
        sa.ForeignKeyConstraint(["series_uid"], ["series.series_uid"], name="fk_instances_series_uid"),
    )
    _index("instances", "sop_instance_uid", "series_uid")
    op.create_table(
        "rejected_objects",
        sa.Column("id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("sop_instance_uid", _UID, nullable=False),
        sa.Column("calling_ae", sa.String(16), nullable=False),
        sa.Column("relative_path", sa.String(255), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rejected_objects"),
    )
    _index("rejected_objects", "sop_instance_uid")


def _create_cases() -> None:
    op.create_table(
        "cases",
        sa.Column("case_id", _CASE_ID, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("patient_key", _HASH, nullable=False),
        sa.Column("baseline_series_uid", _UID, nullable=False),
        sa.Column("delayed_series_uid", _UID, nullable=False),
        sa.Column("injection_time", sa.String(40), nullable=False),
        sa.Column("hours_after_injection", sa.Float),
        sa.Column("outcome", sa.String(16)),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retrying", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("case_id", name="pk_cases"),
    )
    _index("cases", "state", "patient_key", "baseline_series_uid", "delayed_series_uid")
    op.create_table(
        "case_series",
        sa.Column("case_id", _CASE_ID, nullable=False),
        sa.Column("series_uid", _UID, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "series_uid", name="pk_case_series"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_case_series_case_id"),
    )
    _index("case_series", "series_uid")
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("case_id", _CASE_ID, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_events_case_id"),
    )
    _index("events", "case_id")


def _create_work() -> None:
    op.create_table(
        "deliveries",
        sa.Column("case_id", _CASE_ID, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", _UID, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("status", sa.String(255), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "revision", "destination", "sop_instance_uid", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_deliveries_case_id"),
    )
    _index("deliveries", "state")
    op.create_table(
        "heartbeats",
        sa.Column("executor_id", sa.String(128), nullable=False),
        sa.Column("beat_at", sa.DateTime, nullable=False),
        sa.Column("claimed_by", sa.String(128), nullable=False),
        sa.Column("claimed_at", sa.DateTime),
        sa.PrimaryKeyConstraint("executor_id", name="pk_heartbeats"),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )


def upgrade() -> None:
    """Create every table."""
    _create_reception()
    _create_cases()
    _create_work()
