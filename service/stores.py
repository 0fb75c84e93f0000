"""Spool, ledger and clock of a process; part of the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from service.storage.ledger import Ledger
from service.storage.spool import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What all parts of the service keep their things in."""

    spool: Spool
    ledger: Ledger
    now: Callable[[], datetime]
