"""Tells what pairing closed from what a person closed: the one may come back, the other stays closed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_superseded"
down_revision = "0003_follow_ups"
branch_labels = None
depends_on = None

_TEXT = "superseded: pairing now decides otherwise"
"""Last line in the history of a case that pairing closed, as it was written until now; a person's names the person."""


def upgrade() -> None:
    """Cases that pairing has closed are marked by their history."""
    op.add_column("cases", sa.Column("superseded", sa.Boolean, nullable=False, server_default=sa.false()))
    cases = sa.table("cases", sa.column("case_id"), sa.column("state"), sa.column("superseded", sa.Boolean))
    events = sa.table("events", sa.column("id"), sa.column("case_id"), sa.column("kind"), sa.column("text"))
    last = sa.select(sa.func.max(events.c.id)).where(events.c.kind == "discarded").group_by(events.c.case_id)
    closed = sa.select(events.c.case_id).where(events.c.id.in_(last), events.c.text == _TEXT)
    op.execute(cases.update().where(cases.c.state == "discarded", cases.c.case_id.in_(closed)).values(superseded=True))
