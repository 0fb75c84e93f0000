"""Messages on their way: each channel has a queue of its own, and is tried again with growing pauses."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from service.monitoring.notifications.account import Message

MOST_WAITING = 100
_FIRST_PAUSE = timedelta(seconds=10)
_LONGEST_PAUSE = timedelta(minutes=5)
_STALE = timedelta(days=1)
_log = structlog.get_logger()


class Undelivered(Exception):
    """A channel did not take a message; the text is short, and quotes nothing that the other side said."""


class Channel(Protocol):
    """A way to people."""

    def send(self, message: Message, /) -> str:
        """Hand one message over; a remark where not everybody gets it, else empty.

        Raises
        ------
        Undelivered
            It was not taken.
        """
        ...

    def check(self) -> None:
        """Reach the other side and log in, without a message; raises `Undelivered`."""
        ...


class Outbox:
    """Used by one thread; counts may be read by any.

    A message that waits for longer than a day, or behind which more than 100 wait, is given up.
    """

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = dict(channels)
        self._queues: dict[str, deque[Message]] = {name: deque() for name in self._channels}
        self._failures: dict[str, int] = dict.fromkeys(self._channels, 0)
        self._next_try: dict[str, datetime] = {}
        self._counts = Counter({(name, result): 0 for name in self._channels for result in ("sent", "failed", "lost")})

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Since the start, by channel and ``sent``, ``failed`` (tries) or ``lost`` (messages given up)."""
        return dict(self._counts)

    @property
    def waiting(self) -> dict[str, tuple[Message, ...]]:
        """What no channel of that name has taken."""
        return {name: tuple(queue) for name, queue in self._queues.items() if queue}

    def resume(self, waiting: Mapping[str, Sequence[Message]]) -> None:
        """Take up what another process left, in place of what was here; channels that are no longer there are left."""
        for name, queue in self._queues.items():
            queue.clear()
            queue.extend(waiting.get(name, ()))

    def add(self, message: Message) -> None:
        """For every channel."""
        for name, queue in self._queues.items():
            queue.append(message)
            if len(queue) > MOST_WAITING:
                queue.popleft()
                self._lose(name, "too many wait")

    def pump(self, now: datetime) -> bool:
        """Send what waits, on channels that are not in a pause; whether a queue has changed."""
        before = self.waiting
        for name, channel in self._channels.items():
            self._pump(name, channel, now)
        return self.waiting != before

    def _pump(self, name: str, channel: Channel, now: datetime) -> None:
        queue = self._queues[name]
        while queue and now - queue[0].at > _STALE:
            queue.popleft()
            self._lose(name, "older than a day")
        if name in self._next_try and now < self._next_try[name]:
            return
        while queue:
            try:
                remark = channel.send(queue[0])
            except Undelivered as fault:
                self._failed(name, str(fault), now)
                return
            queue.popleft()
            self._counts[name, "sent"] += 1
            self._reached(name)
            if remark:
                _log.warning("a notification did not reach everybody", channel=name, remark=remark)

    def _failed(self, name: str, fault: str, now: datetime) -> None:
        self._counts[name, "failed"] += 1
        if not self._failures[name]:
            _log.error("notifications cannot be delivered; tried again", channel=name, fault=fault)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures[name], 16))
        self._failures[name] += 1
        self._next_try[name] = now + pause

    def _reached(self, name: str) -> None:
        if self._failures[name]:
            _log.info("notifications are delivered again", channel=name)
        self._failures[name] = 0
        self._next_try.pop(name, None)

    def _lose(self, name: str, why: str) -> None:
        self._counts[name, "lost"] += 1
        _log.error("a notification was given up", channel=name, why=why)
