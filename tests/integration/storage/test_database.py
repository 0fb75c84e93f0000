from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.errors import StorageUnavailable
from service.storage import schema
from service.storage.database import connect, migrate
from service.storage.ledger import Ledger
from tests.builders.old_ledger import assert_upgrade_tells_who_closed
from tests.builders.received import make_header, make_stored, series_uid

ROOT = Path(__file__).parents[3]

WRITER = """
import sys
from service.storage.ledger import Ledger
from tests.builders.received import make_header, make_stored
ledger = Ledger.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
outcomes = []
for number in range(60):
    header = make_header(1, number)
    outcomes.append(ledger.instances.record(make_stored(header), header).value)
print(outcomes.count("new"), outcomes.count("duplicate"))
"""


def test_an_empty_database_is_brought_to_the_schema_of_the_code(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/ledger.sqlite")
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


def test_migrating_again_keeps_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger.open(url)
    header = make_header()
    ledger.instances.record(make_stored(header), header)
    ledger.close()

    again = Ledger.open(url)
    assert again.counts().instances == 1
    again.close()


def test_what_pairing_closed_before_an_upgrade_may_come_back_and_what_a_person_closed_may_not(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    assert_upgrade_tells_who_closed(url)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        Ledger.open(f"sqlite:///{tmp_path}/no-such-directory/ledger.sqlite")


def test_two_processes_record_the_same_series_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    Ledger.open(url).close()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    counts = [tuple(map(int, writer.communicate(timeout=60)[0].split())) for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0]
    assert tuple(map(sum, zip(*counts, strict=True))) == (60, 60)
    ledger = Ledger.open(url)
    row = ledger.instances.series(series_uid(1))
    assert row is not None
    assert (row.n_instances, row.arrivals, len(ledger.instances.instances_of(series_uid(1)))) == (60, 60, 60)
    ledger.close()
