"""A ledger as an earlier version of the software left it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from service.cases import CaseState
from service.storage import database
from service.storage.ledger import Ledger
from tests.builders.received import NOON


def migrate_to(engine: Engine, revision: str) -> None:
    """Bring an empty database to the schema of that step of the migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def write_discarded_cases(engine: Engine) -> None:
    """In a ledger of 0003: closed by pairing, by a person, and when a person chose another pair."""
    insert_case = (
        "INSERT INTO cases (case_id, state, patient_key, baseline_series_uid, delayed_series_uid, injection_time, "
        "reasons, revision, attempts, retrying, created_at, updated_at) VALUES ('{case_id}', '{state}', 'k', '1.1', "
        "'1.2', '', '[]', 1, 0, false, '2026-03-04 12:00:00', '2026-03-04 12:00:00')"
    )
    insert_event = (
        "INSERT INTO events (case_id, at, kind, text) VALUES ('{}', '2026-03-04 12:00:00', 'discarded', '{}')"
    )
    with engine.begin() as connection:
        for case_id, state, text in (
            ("c-pairing", "discarded", "superseded: pairing now decides otherwise"),
            ("c-person", "discarded", "discarded by anna"),
            ("c-chosen", "discarded", "released as c1"),
        ):
            connection.exec_driver_sql(insert_case.format(case_id=case_id, state=state))
            connection.exec_driver_sql(insert_event.format(case_id, text))


def assert_upgrade_tells_who_closed(url: str) -> None:
    """Upgrade such a ledger; only what pairing closed is taken up again."""
    engine = database.connect(url)
    migrate_to(engine, "0003_follow_ups")
    write_discarded_cases(engine)
    engine.dispose()
    ledger = Ledger.open(url)
    assert {case.case_id: case.superseded for case in ledger.cases.cases()} == {
        "c-pairing": True,
        "c-person": False,
        "c-chosen": False,
    }
    states = [
        ledger.cases.open(case_id, state=CaseState.QUEUED, patient_key="k", now=NOON).state
        for case_id in ("c-pairing", "c-person", "c-chosen")
    ]
    assert states == [CaseState.QUEUED, CaseState.DISCARDED, CaseState.DISCARDED]
    ledger.close()
