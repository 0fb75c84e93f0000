"""Processes that share a ledger: who may be there, who leads, and what the others see of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.errors import ConfigError
from service.jobs.recovery import SILENT_FOR, Leadership
from service.presence import Presence
from service.storage.ledger import Ledger
from tests.builders.received import NOON


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


class AsPostgreSql(Ledger):
    """Says that several machines may share it; what PostgreSQL itself does is tested with a real one."""

    @property
    def shared(self) -> bool:
        return True

    def clock(self, ours):
        return ours


def presence(ledger: Ledger, name: str, host: str, *, at=NOON, duties=()) -> Presence:
    return Presence(ledger, executor_id=name, host=host, roles=("work",), duties=duties, now=lambda: at)


def test_sqlite_is_refused_to_a_second_machine_until_the_first_is_gone(ledger: Ledger) -> None:
    first = presence(ledger, "a-0", "a")
    first.sign_on()
    presence(ledger, "a-1", "a").sign_on()  # another process of the same machine
    with pytest.raises(
        ConfigError, match=r"found SQLite, which a-0 on another machine uses too; accepted: a PostgreSQL"
    ):
        presence(ledger, "b-0", "b").sign_on()
    presence(ledger, "b-0", "b", at=NOON + SILENT_FOR).sign_on()  # a was killed, or its directory was moved here
    assert [worker.executor_id for worker in ledger.workers.all()] == ["a-0", "a-1", "b-0"]


def test_sqlite_is_free_at_once_after_an_orderly_end(ledger: Ledger) -> None:
    first = presence(ledger, "a-0", "a")
    first.sign_on()
    first.leave()
    presence(ledger, "b-0", "b").sign_on()
    assert [worker.executor_id for worker in ledger.workers.all()] == ["b-0"]


def test_a_name_is_refused_to_a_second_machine_while_the_first_has_it(tmp_path: Path) -> None:
    ledger = AsPostgreSql.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    presence(ledger, "worker", "a").sign_on()
    with pytest.raises(ConfigError, match=r"workers\.executor_id: found 'worker', which a process on a has"):
        presence(ledger, "worker", "b").sign_on()
    presence(ledger, "another", "b").sign_on()
    presence(ledger, "worker", "a").sign_on()  # started again after a kill
    presence(ledger, "worker", "b", at=NOON + SILENT_FOR).sign_on()
    ledger.close()


def test_one_leads_and_another_does_when_it_is_silent_or_gives_up(ledger: Ledger) -> None:
    first, second = (Leadership(ledger.leases, executor_id=name) for name in "ab")
    one = presence(ledger, "a", "h", duties=(first.renew,))
    other = presence(ledger, "b", "h", duties=(second.renew,))
    one.tick(NOON)
    other.tick(NOON)
    assert (first.held, second.held) == (True, False)
    late = NOON + SILENT_FOR
    other.tick(late)
    one.tick(late + timedelta(seconds=4))
    assert (first.held, second.held) == (False, True)
    other.leave()
    one.tick(late + timedelta(seconds=8))
    assert first.held


def test_who_cannot_ask_any_more_does_not_go_on_leading(ledger: Ledger) -> None:
    clock = [0.0]
    leader = Leadership(ledger.leases, executor_id="a", seconds=lambda: clock[0])
    assert leader.renew(NOON)
    assert leader.held
    clock[0] = SILENT_FOR.total_seconds()
    assert not leader.held
    assert leader.renew(NOON + SILENT_FOR)
    assert leader.held


def test_a_duty_that_fails_stops_neither_the_heartbeat_nor_the_next_duty(ledger: Ledger) -> None:
    done: list[object] = []

    def fail(_: object) -> None:
        raise ValueError

    presence(ledger, "a", "h", duties=(fail, done.append)).tick(NOON)
    assert done == [NOON]
    assert [worker.beat_at for worker in ledger.workers.all()] == [NOON]
