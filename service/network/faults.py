"""Faults from elsewhere, in the log."""

from __future__ import annotations

import traceback


def where(fault: Exception) -> str:
    """Kind and place only: the text of an exception from elsewhere may quote patient data."""
    last = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{type(fault).__name__} in {last.name} ({last.filename.rpartition('/')[2]}:{last.lineno})"
