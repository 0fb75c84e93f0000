"""Scans of the time that was predicted, and how predictions did against them; what pairing waits for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_follow_ups"
down_revision = "0002_many_machines"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables of their own; nothing else changes."""
    op.create_table(
        "follow_ups",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("hours", sa.Float, nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer),
        sa.Column("scanner", sa.String(128), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("figures", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("wanted_at", sa.DateTime, nullable=False),
        sa.Column("judged_at", sa.DateTime),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_follow_ups_case_id"),
        sa.PrimaryKeyConstraint("case_id", name="pk_follow_ups"),
    )
    op.create_index("ix_follow_ups_state", "follow_ups", ["state"])
    op.create_table(
        "waiting",
        sa.Column("patient_key", sa.String(64), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("series", sa.Integer, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("until", sa.DateTime),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "place", name="pk_waiting"),
    )
