"""How long to persist with a step that may succeed later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from service.errors import PermanentError, RetryableError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential pauses with a cap, in seconds.

    Attributes
    ----------
    give_up_after_s
        Sum of pauses after which the step fails for good; None persists for ever, since a
        case that is dropped while a PACS is down for a weekend is a case lost.
    """

    first_pause_s: float = 2.0
    factor: float = 2.0
    longest_pause_s: float = 300.0
    give_up_after_s: float | None = None

    def pause_s(self, attempt: int) -> float:
        """Pause after the attempt of this number (from 1)."""
        # The exponent is bounded, so that attempt 10 000 does not overflow.
        return min(self.longest_pause_s, self.first_pause_s * self.factor ** min(attempt - 1, 64))


class GaveUp(PermanentError):
    """The step kept failing for as long as the policy allows."""


class WorkerStopping(BaseException):
    """The worker is to end while a step waits; not an error, and not to be recorded as the step's result.

    It passes every ``except Exception`` on its way out, so the job stays unfinished in the queue and runs again.
    """


def persist(
    action: Callable[[], _T],
    *,
    policy: RetryPolicy,
    stopping: Event,
    on_retry: Callable[[RetryableError], None],
) -> _T:
    """Call `action` until it does not raise `RetryableError`.

    Parameters
    ----------
    stopping
        Ends the pause between two tries.
    on_retry
        Told of each failure that will be tried again.

    Raises
    ------
    GaveUp
        The policy's time is over.
    WorkerStopping
        `stopping` was set.
    """
    attempt, paused_s = 0, 0.0
    while True:
        if stopping.is_set():
            raise WorkerStopping
        attempt += 1
        try:
            return action()
        except RetryableError as fault:
            pause_s = policy.pause_s(attempt)
            paused_s += pause_s
            if policy.give_up_after_s is not None and paused_s > policy.give_up_after_s:
                raise GaveUp(f"gave up after {attempt} attempts: {fault}") from fault
            on_retry(fault)
        stopping.wait(pause_s)
