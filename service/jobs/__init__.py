"""EDGE: durable steps (DBOS) behind a thin port."""
