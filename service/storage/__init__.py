"""EDGE: the spool (files) and the ledger (database); the only importer of SQLAlchemy."""
