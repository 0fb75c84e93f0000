"""What somebody may do on the status page."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Every role includes those before it."""

    VIEW = "view"
    ACT = "act"  # also retry, release and discard cases
