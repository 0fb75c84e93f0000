"""Named windows of time after the injection: which visit is which."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path

from service.errors import ConfigError

BASELINE = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Half-open: it holds ``from_h <= hours < until_h``, hours after the injection."""

    name: str
    from_h: float
    until_h: float

    def holds(self, hours: float) -> bool:
        """Whether a visit that many hours after the injection belongs to it."""
        return self.from_h <= hours < self.until_h


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSet:
    """Windows that do not overlap, in order of time; one of them is called ``baseline`` and ends by 0 h."""

    windows: tuple[Window, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """In order of time."""
        return tuple(window.name for window in self.windows)

    def of(self, hours: float) -> str | None:
        """Name of the window that holds `hours`; None in the gaps between them."""
        return next((window.name for window in self.windows if window.holds(hours)), None)


def load_windows(which: str = "results") -> WindowSet:
    """A set that comes with the package (``results``, ``methods``), or ``FILE.toml#SET`` of one's own.

    Raises
    ------
    ConfigError
        There is no such set, or its windows are no half-open intervals, overlap, or lack a baseline.
    """
    path, _, name = which.rpartition("#")
    source = Path(path) if path else resources.files("training") / "windows.toml"
    try:
        sets = tomllib.loads(source.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([f"windows {which!r} cannot be read: {error}"]) from error
    if name not in sets:
        raise ConfigError([f"there are no windows {name!r}; there are {', '.join(sets)}, or give FILE.toml#SET"])
    return windows_from(sets[name])


def windows_from(table: Mapping[str, object]) -> WindowSet:
    """A set from ``{name: [from, until]}``; all its faults are named at once.

    Raises
    ------
    ConfigError
        See `load_windows`.
    """
    faults, found = [], []
    for name, ends in table.items():
        match ends:
            case [int() | float() as start, int() | float() as end] if start < end:
                found.append(Window(name=name, from_h=float(start), until_h=float(end)))
            case _:
                faults.append(f"window {name!r} is {ends!r}; accepted: [from, until] in hours, from below until")
    found.sort(key=lambda window: window.from_h)
    faults += [
        f"windows {one.name!r} and {other.name!r} overlap; accepted: from <= hours < until, each hour in one at most"
        for one, other in pairwise(found)
        if other.from_h < one.until_h
    ]
    if not any(window.name == BASELINE and window.until_h <= 0 for window in found):
        faults.append("no window 'baseline' that ends at 0 h or before")
    if faults:
        raise ConfigError(faults)
    return WindowSet(windows=tuple(found))
