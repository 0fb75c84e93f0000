from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.monitoring import attempts
from service.monitoring.attempts import PER_ADDRESS, PER_NAME, PER_NAME_AND_ADDRESS, PERIOD, Attempts
from service.monitoring.sessions import Sessions


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 9, 10, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_after_a_few_wrong_passwords_one_waits_and_others_do_not(clock: Clock) -> None:
    tried = Attempts(clock)
    for _ in range(PER_NAME_AND_ADDRESS):
        assert tried.begin("anna", "10.0.0.1") is None

    assert tried.begin("anna", "10.0.0.1") == PERIOD
    assert tried.begin("anna", "10.0.0.2") is None
    assert tried.begin("berta", "10.0.0.1") is None
    clock.now += PERIOD - timedelta(seconds=1)
    assert tried.begin("anna", "10.0.0.1") == timedelta(seconds=1)
    clock.now += timedelta(seconds=1)
    assert tried.begin("anna", "10.0.0.1") is None


def test_many_names_from_one_address_are_one_attack(clock: Clock) -> None:
    tried = Attempts(clock)
    for number in range(PER_ADDRESS):
        tried.begin(f"user{number}", "10.0.0.1")

    assert tried.begin("anna", "10.0.0.1") is not None
    assert tried.begin("anna", "10.0.0.2") is None


def test_one_name_from_many_addresses_is_one_attack(clock: Clock) -> None:
    tried = Attempts(clock)
    for number in range(PER_NAME):
        tried.begin("anna", f"10.0.0.{number}")

    assert tried.begin("anna", "10.0.1.1") is not None
    assert tried.begin("berta", "10.0.1.1") is None


def test_the_right_password_forgives_slips(clock: Clock) -> None:
    tried = Attempts(clock)
    for _ in range(PER_NAME_AND_ADDRESS):
        tried.begin("anna", "10.0.0.1")
    tried.succeeded("anna", "10.0.0.1")

    assert tried.begin("anna", "10.0.0.1") is None


def test_right_passwords_never_add_up(clock: Clock) -> None:
    tried = Attempts(clock)
    for _ in range(2 * PER_NAME):
        assert tried.begin("anna", "10.0.0.1") is None
        tried.succeeded("anna", "10.0.0.1")


def test_guessing_cannot_fill_the_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_REMEMBERED", 50)
    tried = Attempts(clock)
    for number in range(1000):
        tried.begin(f"user{number}", f"address{number}")

    assert len(tried._tries) <= 50


def test_a_session_ends_after_its_time_and_by_logging_out(clock: Clock) -> None:
    sessions = Sessions(timedelta(hours=8), clock)
    first, second = sessions.begin("anna", "h"), sessions.begin("anna", "h")
    assert first != second
    assert sessions.find(first).name == "anna"  # type: ignore[union-attr]
    sessions.end(first)
    assert sessions.find(first) is None
    clock.now += timedelta(hours=8)
    assert sessions.find(second) is None
    assert sessions.find("made up") is None
