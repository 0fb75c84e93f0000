"""The table of injection times on disk."""

from __future__ import annotations

import structlog

from service.config import Config
from service.dicom.injection import InjectionTimes
from service.errors import Csf24Error
from service.wiring import injection_times

_log = structlog.get_logger()


class InjectionFile:
    """The table of injection times, read again when it changes on disk."""

    def __init__(self, config: Config) -> None:
        self._path = config.pairing.injection_times
        self._stamp: float | None = None
        self._times = self._read()

    def times(self) -> InjectionTimes:
        """As the file says now."""
        return self._times

    def changed(self) -> bool:
        """Read it again if it is another; a table that cannot be used leaves the last good one in force."""
        stamp = self._mtime()
        if stamp == self._stamp:
            return False
        try:
            self._times = self._read()
        except Csf24Error as fault:
            self._stamp = stamp
            _log.error("the table of injection times cannot be used; the last good one counts", fault=str(fault))
            return False
        return True

    def _read(self) -> InjectionTimes:
        self._stamp = self._mtime()
        return injection_times(self._path)

    def _mtime(self) -> float | None:
        try:
            return self._path.stat().st_mtime if self._path else None
        except OSError:
            return None
