"""Offline conversion of folders, archives and tables of pairs: files in, files out, no network and no ledger."""
