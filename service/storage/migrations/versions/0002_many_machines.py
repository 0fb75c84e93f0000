"""What several machines share: who they are, what one of them alone does, commitment reports for one another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_many_machines"
down_revision = "0001_initial"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Workers that are known stay known: the work of a dead one may still have to be taken over."""
    for column in (
        sa.Column("host", sa.String(255), nullable=False, server_default=""),
        sa.Column("roles", sa.String(64), nullable=False, server_default=""),
        sa.Column("left", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("taken_over_at", sa.DateTime),
    ):
        op.add_column("heartbeats", column)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("until", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "commitments",
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("asked_at", sa.DateTime, nullable=False),
        sa.Column("report", sa.Text),
        sa.PrimaryKeyConstraint("transaction_uid", name="pk_commitments"),
    )
