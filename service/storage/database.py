"""Engine, transactions and migrations of the ledger's database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from service.errors import StorageUnavailable

_T = TypeVar("_T")
BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for another process's transaction; ours last milliseconds."""
_POSTGRESQL_WAITS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,  # ms without an acknowledgement: a server that is gone resets nothing
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""libpq's. By the kernel's own a commit waits a quarter of an hour for a server that lost its power, and every sender
with it; new connections would work."""
_RACE_ATTEMPTS = 3
_MIGRATION_LOCK = 0x6373663234  # "csf24"


def connect(url: str) -> Engine:
    """Engine for a SQLAlchemy URL, e.g. ``sqlite:////var/lib/csf24/ledger.sqlite``.

    SQLite runs in WAL mode with a sync per commit, so a committed row survives a power cut.
    Parameters of statements never appear in error messages: they hold patient data.
    """
    is_file = url.startswith("sqlite")
    waits = {} if is_file else _POSTGRESQL_WAITS
    engine = create_engine(url, hide_parameters=True, pool_pre_ping=not is_file, connect_args=waits)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: SQLiteConnection, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to issue, see _begin_sqlite
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A read that turns into a write fails at once when another writer was quicker (SQLITE_BUSY), whatever the
    # timeout; taking the write lock at the start waits instead.
    reading = connection.get_execution_options().get("csf24_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def database_faults() -> Iterator[None]:
    """Turn the database's failures into `StorageUnavailable`."""
    try:
        yield
    except SQLAlchemyError as fault:
        origin = getattr(fault, "orig", None)
        raise StorageUnavailable(f"the ledger failed: {type(origin or fault).__name__}") from fault


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read-only transaction: a consistent view that keeps no writer waiting."""
    with database_faults(), engine.connect().execution_options(csf24_reading=True) as connection, connection.begin():
        yield connection


def writing(engine: Engine, work: Callable[[Connection], _T]) -> _T:
    """Run `work` in one transaction, again if another process inserted the same key meanwhile."""
    with database_faults():
        for attempt in range(1, _RACE_ATTEMPTS + 1):
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as fault:
                lost_race = isinstance(fault, IntegrityError) or "serializ" in str(fault.orig).lower()
                if not lost_race or attempt == _RACE_ATTEMPTS:
                    raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema; an up-to-date one is left untouched.

    Raises
    ------
    StorageUnavailable
        The database cannot be reached or altered.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    with database_faults(), engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # several machines may start at once; SQLite has one writer anyway
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
