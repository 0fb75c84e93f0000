"""Runs the steps on the connection that `migrate` hands in; there is no offline mode and no ini file."""

from __future__ import annotations

from alembic import context

from service.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
