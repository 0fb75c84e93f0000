"""Alembic environment of the ledger; run by `service.storage.database.migrate`."""
