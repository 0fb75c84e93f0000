"""Keeps audit messages: at once in a file, in turn by syslog; whoever reports an event waits for neither network."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from threading import Condition, Lock, Thread

import structlog

from service.monitoring.audit.events import AuditEvent
from service.monitoring.audit.message import AuditSource, render
from service.monitoring.audit.syslog import Sender, SyslogConnection, frame

_MOST_WAITING = 10_000
_RETRY_S = 5.0
_log = structlog.get_logger()


class AuditTrail:
    """Takes events from any thread.

    Parameters
    ----------
    file
        XML, one message a line; readable by its owner only. It is opened anew for each message, so it may be
        rotated at any time. None writes none.
    syslog
        None sends none. While it cannot be reached, up to 10000 messages wait; then the oldest are dropped.
    """

    def __init__(
        self, source: AuditSource, *, file: Path | None, syslog: SyslogConnection | None, sender: Sender
    ) -> None:
        self._source = source
        self._file = file
        self._syslog = syslog
        self._sender = sender
        self._writing = Lock()
        self._waiting: deque[bytes] = deque()
        self._changed = Condition()
        self._stopping = False
        self._lost = 0
        self._reachable = True
        self._thread = Thread(target=self._send, name="audit", daemon=True)

    @property
    def lost(self) -> int:
        """Messages that did not reach the file, or were given up for syslog."""
        return self._lost

    def start(self) -> None:
        """Begin to send.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        if self._file is not None:
            self._append(self._file, "")
        if self._syslog is not None:
            self._thread.start()

    def record(self, event: AuditEvent) -> None:
        """Keep an event; a trail that cannot be written is an error in the log, and never one of the caller's."""
        message = render(event, self._source)
        if self._file is not None:
            try:
                self._append(self._file, message + "\n")
            except OSError as fault:
                self._lose(1, "an audit message could not be written", fault=fault.strerror or type(fault).__name__)
        if self._syslog is not None:
            self._queue(frame(message, event.at, self._sender))

    def stop(self, wait_s: float) -> None:
        """Send what waits, for so long."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._syslog is not None and self._thread.ident is not None:
            self._thread.join(wait_s)
            if self._waiting:
                self._lose(len(self._waiting), "audit messages were not sent by syslog")

    def _append(self, file: Path, text: str) -> None:
        with self._writing:
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, text.encode("utf-8", "replace"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _queue(self, message: bytes) -> None:
        if self._syslog is not None and not self._syslog.fits(message):
            self._lose(1, "an audit message is too long for syslog over UDP")
            return
        with self._changed:
            self._waiting.append(message)
            surplus = len(self._waiting) - _MOST_WAITING
            for _ in range(surplus):
                self._waiting.popleft()
            self._changed.notify_all()
        if surplus > 0:
            self._lose(surplus, "audit messages were given up: syslog cannot be reached")

    def _send(self) -> None:
        assert self._syslog is not None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    break
                message = self._waiting[0]
            try:
                self._syslog.send(message)
            except OSError as fault:
                self._unreachable(fault)
                with self._changed:
                    if self._changed.wait_for(lambda: self._stopping, _RETRY_S):
                        break
                continue
            self._reached()
            with self._changed:
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()
        self._syslog.close()

    def _unreachable(self, fault: OSError) -> None:
        if self._reachable:
            _log.error("syslog for audit messages cannot be reached", fault=fault.strerror or type(fault).__name__)
        self._reachable = False

    def _reached(self) -> None:
        if not self._reachable:
            _log.info("syslog for audit messages is reached again")
        self._reachable = True

    def _lose(self, count: int, event: str, **facts: object) -> None:
        self._lost += count
        _log.error(event, count=count, **facts)
