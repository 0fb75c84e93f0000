"""The exception tree, and the reason record that refusals carry.

::

    Csf24Error
    ├── PermanentError            trying again gives the same answer
    │   ├── ConfigError           the configuration cannot be used
    │   ├── UsageError            the command line cannot be used
    │   ├── InputRefused          the input failed a check; carries the reasons
    │   ├── ModelError            a model directory is missing, altered or unsuitable
    │   └── SelfCheckFailed       an object that was written does not read back as it should
    └── RetryableError            the same call may succeed later
        ├── PeerUnavailable       a DICOM peer refused, aborted or did not answer
        └── StorageUnavailable    disk full, or the ledger cannot be reached
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a case was refused, held or warned about.

    Attributes
    ----------
    code
        Stable upper-case identifier, e.g. ``"FAT_NOT_FOUND"``; others script against it.
    message
        One sentence: what was found, what is accepted, what to do. Never contains patient data.
    measured, limit
        The value that was measured and the limit it was held against, where there is one.
    """

    code: str
    message: str
    measured: float | str | None = None
    limit: float | str | None = None


class Csf24Error(Exception):
    """Base of every error that csf24 raises on purpose."""


class PermanentError(Csf24Error):
    """Trying again with the same input gives the same answer."""


class RetryableError(Csf24Error):
    """The same call may succeed later."""


class ConfigError(PermanentError):
    """The configuration cannot be used; ``problems`` lists every fault at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("configuration cannot be used:\n  - " + "\n  - ".join(self.problems))


class UsageError(PermanentError):
    """The command line cannot be used as given."""


class InputRefused(PermanentError):
    """The input failed one or more checks; no prediction may be made from it."""

    def __init__(self, *reasons: Reason) -> None:
        if not reasons:
            raise ValueError("InputRefused needs at least one Reason")
        self.reasons = reasons
        super().__init__("; ".join(f"{r.code}: {r.message}" for r in reasons))


class ModelError(PermanentError):
    """A model directory is missing, altered, or does not fit this software."""


class SelfCheckFailed(PermanentError):
    """A derived object does not read back as it should; nothing of its case may be sent."""


class PeerUnavailable(RetryableError):
    """A DICOM peer refused, aborted or did not answer."""


class StorageUnavailable(RetryableError):
    """The disk is full or the ledger cannot be reached."""


def places_of(fault: BaseException) -> list[str]:
    """Where an unexpected error came from, ``file:line``; its message may quote header values and is not logged."""
    return [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(fault.__traceback__)]
