"""Numbers and moments in words, the same on every page. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

NOTHING = "–"
_STEPS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size(n_bytes: int) -> str:
    """Bytes in decimal units, as disks are sold, e.g. ``"412 GB"`` or ``"1.9 GB"``."""
    for step, unit in _STEPS:
        if n_bytes >= step:
            value = n_bytes / step
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{n_bytes} B"


def duration(span: timedelta) -> str:
    """The one or two units that matter, e.g. ``"3 min"``, ``"2 h 05 min"``, ``"4 d 6 h"``; never negative."""
    seconds = max(0, int(span.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes == 0:
        return f"{seconds} s"
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{days} d {hours % 24} h"


def ago(at: datetime, now: datetime) -> str:
    """How long since `at`."""
    return f"{duration(now - at)} ago"


def moment(at: datetime, now: datetime) -> str:
    """Time of day, with the date when it is another day than `now`; both as given, in their own zone."""
    return at.strftime("%H:%M" if at.date() == now.date() else "%Y-%m-%d %H:%M")


def timestamp(at: datetime) -> str:
    """Date, time to the second and zone."""
    return at.strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def hours(value: float | None) -> str:
    """Hours after the injection to a tenth."""
    return NOTHING if value is None else f"{value:.1f} h"


def figure(value: float | str | None) -> str:
    """A measured value or a limit: four significant digits, a dash when there is none."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else f"{value:.4g}"


def seconds(value: float) -> str:
    """The time a stage took."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def plural(number: int, one: str, many: str = "") -> str:
    """``"1 case"``, ``"2 cases"``."""
    return f"{number} {one if number == 1 else many or one + 's'}"
