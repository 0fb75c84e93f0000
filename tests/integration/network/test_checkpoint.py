"""The pause that our associations give the library's reactor."""

from __future__ import annotations

import time
from threading import Thread

import pytest

from service.network.checkpoint import guard


class Reactor(Thread):
    """Loops as the library's does, and is slow to get from the checkpoint to its look into the queue."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rounds = 0
        self.stopped = False
        self._is_paused = False
        guard(self)

    def run(self) -> None:
        while not self.stopped:
            self._is_paused = True
            self._reactor_checkpoint.wait()
            time.sleep(0.01)
            self._is_paused = False
            self.rounds += 1


@pytest.fixture
def reactor():
    thread = Reactor()
    thread.start()
    yield thread
    thread.stopped = True
    thread._reactor_checkpoint.set()
    thread.join(5)
    assert not thread.is_alive()


def test_once_paused_the_reactor_does_not_look_again_until_it_may(reactor):
    for _ in range(10):
        reactor._reactor_checkpoint.clear()
        rounds = reactor.rounds
        assert reactor._is_paused
        time.sleep(0.03)
        assert reactor.rounds == rounds
        reactor._reactor_checkpoint.set()
    time.sleep(0.05)
    assert reactor.rounds > rounds


def test_a_paused_reactor_keeps_saying_so(reactor):
    reactor._reactor_checkpoint.clear()
    reactor._is_paused = False  # as the thread that answers an N-EVENT-REPORT does
    time.sleep(0.2)
    assert reactor._is_paused


def test_pausing_one_that_has_ended_does_not_hang(reactor):
    reactor.stopped = True
    reactor.join(5)
    reactor._reactor_checkpoint.clear()


def test_it_may_pause_itself(reactor):
    paused: list[bool] = []
    wait = reactor._reactor_checkpoint.wait

    def pause_from_within() -> None:
        if not paused:
            reactor._reactor_checkpoint.clear()
            paused.append(True)
            reactor._reactor_checkpoint.set()
        wait()

    reactor._reactor_checkpoint.wait = pause_from_within
    time.sleep(0.1)
    assert paused == [True]
