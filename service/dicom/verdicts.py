"""What pairing says of one patient's series; the only channel between pairing and whoever acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from service.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two series are a pair.

    Attributes
    ----------
    wait
        How long nothing more of either series may arrive before the pair is taken as whole: zero when
        counts say so, short when both slice grids are closed and agree, None (the listener's quiet time)
        when nothing in the headers can tell.
    follow_up_series_uid, follow_up_hours
        The scan that was acquired at the time which is predicted, and when that was after the injection; empty and None
        without one.
    """

    baseline_series_uid: str
    delayed_series_uid: str
    injection_time: datetime | None
    hours_after_injection: float | None
    wait: timedelta | None = None
    follow_up_series_uid: str = ""
    follow_up_hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A person must decide or supply something; `reasons` say what.

    Attributes
    ----------
    baseline_series_uid, delayed_series_uid
        Empty while not decided.
    series_uids
        All series it is about.
    """

    series_uids: tuple[str, ...]
    reasons: tuple[Reason, ...]
    baseline_series_uid: str = ""
    delayed_series_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The other series may still come; look again when something arrives, or at `until`.

    Attributes
    ----------
    reasons
        What is waited for, in words; a folder that will get no more series shows them.
    """

    series_uids: tuple[str, ...]
    until: datetime | None = None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpairable:
    """Series that look meant for us but can be no part of a pair, and why; the others go on without them."""

    series_uids: tuple[str, ...]
    reasons: tuple[Reason, ...]


Verdict: TypeAlias = Paired | Held | Waiting | Unpairable
"""Series that no verdict mentions are of no interest (localisers, reports, other modalities)."""
