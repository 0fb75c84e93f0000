"""Which sections a case page shows, and the links to those beside them. Pure; works without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from service.monitoring.snapshot import BrowsingView, PlaneView

_STEPS = (-10, -1, 1, 10)
TITLES: Mapping[str, str] = {
    "baseline": "Baseline",
    "delayed": "Delayed",
    "predicted": "24 h image, predicted, not acquired",
    "increase": "Increase, predicted, not acquired",
    "uncertainty": "Width of the predicted interval, not acquired",
    "checkerboard": "Registration: baseline and delayed in turn as tiles",
    "edges": "Registration: edges of the baseline on the delayed scan",
}
OVERLAYS: Mapping[str, str] = {"checkerboard": "Tiles of both scans", "edges": "Baseline's edges on the delayed scan"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image of a row; with `stem` and a number a script finds those beside it."""

    stem: str
    source: str
    title: str
    overlay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A link to another section of the plane; `target` is None at the end of the stack."""

    by: int
    target: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One plane: the section shown, from 0, its pictures, and the way to others."""

    plane: PlaneView
    index: int
    pictures: tuple[Picture, ...]
    back: tuple[Step, ...]
    on: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Browse:
    """Everything that the page's section of images needs."""

    rows: tuple[Row, ...]
    overlay: str
    registered: bool


def browse(case_id: str, view: BrowsingView, asked: Mapping[str, str]) -> Browse:
    """The sections that a query asks for; what it does not say, or says wrongly, is the middle of the brain."""
    overlay = asked.get("overlay", "")
    overlay = overlay if overlay in OVERLAYS else "checkerboard"
    shown = {plane.name: _index(asked.get(plane.name, ""), plane) for plane in view.planes}

    def link(plane: PlaneView, by: int) -> Step:
        target = min(max(shown[plane.name] + by, 0), plane.count - 1)
        if target == shown[plane.name]:
            return Step(by=by, target=None)
        query = urlencode({**shown, plane.name: target, "overlay": overlay})
        return Step(by=by, target=f"/cases/{case_id}?{query}#{plane.name}-row")

    def row(plane: PlaneView) -> Row:
        views = (*view.layers, overlay)
        steps = [link(plane, by) for by in _STEPS]
        return Row(
            plane=plane,
            index=shown[plane.name],
            pictures=tuple(_picture(case_id, name, plane.name, shown[plane.name]) for name in views),
            back=tuple(step for step in steps if step.by < 0),
            on=tuple(step for step in steps if step.by > 0),
        )

    return Browse(rows=tuple(row(plane) for plane in view.planes), overlay=overlay, registered=view.registered)


def _index(text: str, plane: PlaneView) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        return plane.middle
    return min(int(text), plane.count - 1)


def _picture(case_id: str, view: str, plane: str, index: int) -> Picture:
    stem = f"/cases/{case_id}/sections/{view}/{plane}/"
    return Picture(stem=stem, source=f"{stem}{index}.png", title=TITLES[view], overlay=view in OVERLAYS)
