from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.storage.ledger import Ledger
from service.storage.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    yield spool
    spool.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield ledger
    ledger.close()
