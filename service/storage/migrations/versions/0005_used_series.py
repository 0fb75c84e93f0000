"""Which images each conversion used; of those before this step it is not known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_used_series"
down_revision = "0004_superseded"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own; nothing else changes."""
    op.create_table(
        "used_series",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("series_uid", sa.String(64), nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("used_at", sa.DateTime, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_used_series_case_id"),
        sa.PrimaryKeyConstraint("case_id", "revision", "series_uid", name="pk_used_series"),
    )
