"""Upright sagittal, axial and coronal sections of volumes, as 8-bit panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Volume

Section = Literal["sagittal", "axial", "coronal"]
SECTIONS: tuple[Section, ...] = ("sagittal", "axial", "coronal")

FIELD_MM = 240
"""Side of the square field that is shown; holds a whole head from chin to vertex."""

_AXES: dict[Section, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    # (column direction, row direction) in LPS, radiological display: patient's right on the viewer's left
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
}

EDGE_LETTERS: dict[Section, tuple[str, str, str, str]] = {
    # left, right, top, bottom of the panel
    "sagittal": ("A", "P", "S", "I"),
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
}

RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Display range: `low` is black, `high` is white, in the volume's units."""

    low: float
    high: float


def section_grid(section: Section, centre_lps: Float64, field_mm: int = FIELD_MM) -> Grid:
    """A 1 mm single-slice grid through `centre_lps`, oriented for display."""
    columns, rows = (np.array(v, dtype=np.float64) for v in _AXES[section])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = columns, rows, np.cross(columns, rows)
    affine[:3, 3] = np.asarray(centre_lps) - (columns + rows) * (field_mm - 1) / 2
    return Grid((1, field_mm, field_mm), affine)


def plane_grid(plane: Grid, field_mm: int = FIELD_MM) -> Grid:
    """The same field as `section_grid` gives, 1 mm, in the middle of a plane that has a tilt of its own."""
    affine = np.eye(4)
    affine[:3, :3] = plane.directions
    affine[:3, 3] = plane.centre - (affine[:3, 0] + affine[:3, 1]) * (field_mm - 1) / 2
    return Grid((1, field_mm, field_mm), affine)


def cut(volume: Volume, grid: Grid, transform: RigidTransform | None = None) -> Float32:
    """``(rows, columns)`` of `volume` on the single-slice `grid`; `transform` maps the grid's frame to the volume's."""
    return np.asarray(resample(volume, grid, transform).array[0])


def grey(values: Float32, window: Window) -> RGB:
    """Linear grey scale, ``(h, w, 3)`` uint8."""
    span = max(window.high - window.low, 1e-9)
    level = np.clip((values - window.low) / span, 0, 1) * 255
    return np.repeat(level.astype(np.uint8)[..., None], 3, axis=2)


_HEAT = np.array(
    [
        [0, 0, 0],
        [40, 11, 84],
        [101, 21, 110],
        [159, 42, 99],
        [212, 72, 66],
        [245, 125, 21],
        [250, 193, 39],
        [252, 255, 164],
    ]
)


def heat(values: Float32, window: Window) -> RGB:
    """Perceptually ordered black-violet-orange-yellow scale, ``(h, w, 3)`` uint8."""
    span = max(window.high - window.low, 1e-9)
    level = np.clip((values - window.low) / span, 0, 1) * (len(_HEAT) - 1)
    steps = np.arange(len(_HEAT))
    return np.stack([np.interp(level, steps, _HEAT[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own scalable font: no font files of the host are needed."""
    return ImageFont.load_default(size)


def with_edge_letters(panel: RGB, section: Section) -> RGB:
    """Patient directions on the four edges, as on a workstation."""
    image = Image.fromarray(panel)
    draw = ImageDraw.Draw(image)
    h, w = panel.shape[:2]
    places = ((4, h // 2, "lm"), (w - 4, h // 2, "rm"), (w // 2, 3, "ma"), (w // 2, h - 3, "md"))
    for letter, (x, y, anchor) in zip(EDGE_LETTERS[section], places, strict=True):
        draw.text((x, y), letter, font=font(12), fill=(255, 214, 90), anchor=anchor)
    return np.asarray(image)


def robust_window(values: Float32, *, above: float = 99.7) -> Window:
    """0 to the `above` percentile of what is not air, so that fat does not wash out the brain."""
    positive = values[values > 0.05 * float(np.percentile(values, 99.9))]
    high = float(np.percentile(positive, above)) if positive.size else 1.0
    return Window(low=0.0, high=max(high, 1e-6))


def empty_panel(text: str) -> RGB:
    """Black, with a line that says why."""
    image = Image.new("RGB", (FIELD_MM, FIELD_MM))
    ImageDraw.Draw(image).text((FIELD_MM // 2, FIELD_MM // 2), text, font=font(12), fill=(150, 160, 170), anchor="mm")
    return np.asarray(image)


def grid_of_panels(rows: Sequence[Sequence[RGB]], gap: int = 4) -> RGB:
    """Panels in rows and columns on black; panels of one row share a height."""
    lines = []
    for row in rows:
        bar = np.zeros((row[0].shape[0], gap, 3), dtype=np.uint8)
        cells: list[RGB] = []
        for panel in row:
            cells += [panel, bar]
        lines.append(np.concatenate(cells[:-1], axis=1))
    space = np.zeros((gap, lines[0].shape[1], 3), dtype=np.uint8)
    stacked: list[RGB] = []
    for line in lines:
        stacked += [line, space]
    return np.concatenate(stacked[:-1], axis=0)
