"""The same promises with ledger and queue on PostgreSQL, as several machines share them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.cases import CaseState
from service.errors import Reason
from service.storage import schema
from service.storage.database import connect
from service.storage.instance_ledger import Recorded
from service.storage.ledger import Ledger
from service.storage.used_series import UsedSeries
from service.storage.work_ledger import DeliveryState
from tests.builders.kill_rig import KILLED, assert_done_once, prepare, read_log, run, start
from tests.builders.old_ledger import assert_upgrade_tells_who_closed
from tests.builders.postgresql import ACCOUNT, postgresql
from tests.builders.received import NOON, make_header, make_stored, series_uid


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as address:
        yield address


@pytest.fixture
def urls(server: str, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Ledger and queue URL of databases of this test's own."""
    name = f"t{abs(hash(request.node.name))}"
    engine = connect(f"postgresql+psycopg://{ACCOUNT}@/postgres{server}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}_ledger")
        connection.exec_driver_sql(f"CREATE DATABASE {name}_queue")
    engine.dispose()
    return (
        f"postgresql+psycopg://{ACCOUNT}@/{name}_ledger{server}",
        f"postgresql://{ACCOUNT}@/{name}_queue{server}",
    )


def test_the_ledger_is_the_same_on_postgresql(urls: tuple[str, str]) -> None:
    ledger = Ledger.open(urls[0])
    engine = connect(urls[0])
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()
    header = make_header()
    outcomes = [ledger.instances.record(make_stored(header, content), header) for content in ("a", "a", "b")]
    assert outcomes == [Recorded.NEW, Recorded.DUPLICATE, Recorded.CONFLICT]
    row = ledger.instances.series(series_uid(1))
    assert row is not None
    assert (row.n_instances, row.n_conflicts, row.last_received_at) == (1, 1, NOON)
    ledger.cases.open("c1", state=CaseState.QUEUED, patient_key="k", now=NOON)
    ledger.cases.transition("c1", expected=[CaseState.QUEUED], to=CaseState.RUNNING, now=NOON)
    assert ledger.cases.interrupted("c1", now=NOON) == 1
    assert ledger.counts().cases[CaseState.RUNNING] == 1
    ledger.deliveries.plan("c1", 1, ["A", "B"], ["9.1"], NOON)
    ledger.deliveries.mark("c1", 1, "A", ["9.1"], DeliveryState.SENT, now=NOON)
    ledger.cases.fail("c1", 1, [Reason(code="PEER_UNAVAILABLE", message="B")], retrying=True, now=NOON)
    assert ledger.cases.requeue("c1", now=NOON).replaces == 1
    used = UsedSeries.of(series_uid(1), ledger.instances.sop_instance_uids_of(series_uid(1)))
    for _ in range(2):
        ledger.used.record("c1", 1, [used], NOON)
    assert ledger.used.of("c1", 1) == {series_uid(1): used}
    ledger.close()


def test_an_upgrade_on_postgresql_tells_what_pairing_closed(urls: tuple[str, str]) -> None:
    assert_upgrade_tells_who_closed(urls[0])


def test_a_dead_machine_s_work_is_taken_over_on_postgresql(tmp_path: Path, urls: tuple[str, str]) -> None:
    ledger, queue = urls
    prepare(tmp_path, ledger)
    shared = ("--ledger", ledger, "--queue", queue)
    assert run(tmp_path, *shared, "--kill", "sending", "--executor", "machine-a") == KILLED
    assert run(tmp_path, *shared, "--executor", "machine-b", "--silent-for", "0.5") == 0
    assert read_log(tmp_path) == ["convert", "send", "send", "confirm"]
    assert_done_once(tmp_path, ledger)


def test_two_live_machines_do_a_job_once_on_postgresql(tmp_path: Path, urls: tuple[str, str]) -> None:
    ledger, queue = urls
    prepare(tmp_path, ledger)
    shared = ("--ledger", ledger, "--queue", queue)
    workers = [start(tmp_path, *shared, "--executor", f"machine-{name}") for name in "ab"]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    assert read_log(tmp_path) == ["convert", "send", "confirm"]
    assert_done_once(tmp_path, ledger)
