"""A thread that takes a turn of some work again and again, whatever becomes of any one turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread

import structlog

from service.errors import RetryableError

Turn = Callable[[datetime], object]
_log = structlog.get_logger()


class Rounds:
    """A daemon's thread: what it has in hand at the end of the process is given up.

    Parameters
    ----------
    pause_s
        Between two turns.
    at_once
        Whether the first turn comes before the first pause.
    """

    def __init__(
        self, name: str, turn: Turn, *, pause_s: float, now: Callable[[], datetime], at_once: bool = False
    ) -> None:
        self._turn = turn
        self._pause_s = pause_s
        self._now = now
        self._at_once = at_once
        self._wake = Event()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def stopping(self) -> bool:
        """Whether a turn that could go on had better end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Cut the pause short."""
        self._wake.set()

    def stop(self, timeout_s: float) -> None:
        """Take no further turn, and wait so long for the one in hand."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        if not self._at_once:
            self._pause()
        while not self.stopping:
            attempt(self._turn, self._now())
            self._pause()

    def _pause(self) -> None:
        self._wake.wait(self._pause_s)
        self._wake.clear()


def attempt(turn: Turn, now: datetime) -> bool:
    """Whether it went well; what fails is logged and will be repeated, since its thread must outlive any one turn."""
    try:
        turn(now)
    except RetryableError as fault:
        _log.warning("housekeeping will be repeated", fault=str(fault))
    except Exception as fault:  # noqa: BLE001 - the thread must outlive any one turn
        # The message may quote header values, so only the kind is logged.
        _log.error("housekeeping failed and will be repeated", kind=type(fault).__name__)
    else:
        return True
    return False
