"""One section of a case's browsing volumes as a labelled PNG: a layer, or the two scans laid over each other."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw

from service.imaging.volume import Mask
from service.pictures.browsing import PREDICTED_LAYERS, Contents, Layer, UInt8
from service.pictures.panels import RGB, Section, Window, font, heat

Overlay = Literal["checkerboard", "edges"]
OVERLAYS: tuple[Overlay, ...] = get_args(Overlay)

_TILE_MM = 24
_EDGE_SHARE = 92.0  # per cent of the section's voxels that are no edge
_STRIP, _LEGEND = 16, 30
_NARROWEST = 184  # columns that the words below need
_LETTERS: Mapping[Section, tuple[str, str, str, str]] = {
    # left, right, top, bottom; F and H for feet and head, as PS3.3 C.7.6.1.1.1 has them
    "sagittal": ("A", "P", "H", "F"),
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "H", "F"),
}
_TITLES: Mapping[Layer, str] = {
    "baseline": "baseline",
    "delayed": "delayed",
    "predicted": "24 h PREDICTED",
    "increase": "increase, predicted",
    "uncertainty": "width of interval, predicted",
}
_ORANGE, _PALE, _YELLOW, _EDGE = (255, 150, 60), (200, 208, 216), (255, 214, 90), (255, 160, 40)


def count_of(section: Section, contents: Contents) -> int:
    """How many sections there are, 1 mm apart."""
    nk, nj, ni = contents.shape
    return {"sagittal": ni, "axial": nk, "coronal": nj}[section]


def middle_of(section: Section, contents: Contents) -> int:
    """The section through the brain's centre."""
    k, j, i = contents.middle
    return {"sagittal": i, "axial": k, "coronal": j}[section]


def picture_size(section: Section, contents: Contents) -> tuple[int, int]:
    """``(width, height)`` of a section's picture in pixels, with the lines around it."""
    nk, nj, ni = contents.shape
    width, height = {"sagittal": (nj, nk), "axial": (ni, nj), "coronal": (ni, nk)}[section]
    return max(width, _NARROWEST), _STRIP + height + _LEGEND


def layer_png(values: UInt8, layer: Layer, section: Section, index: int, contents: Contents) -> bytes:
    """Section `index` of one layer; they count from right to left, from feet to head, from front to back."""
    plane = _plane(values, section, index)
    if layer in ("increase", "uncertainty"):
        panel = heat(plane.astype(np.float32), Window(low=0, high=255))
    else:
        panel = _grey(plane)
    return _png(panel, section, _TITLES[layer], contents, predicted=layer in PREDICTED_LAYERS)


def overlay_png(
    scans: tuple[UInt8, UInt8], overlay: Overlay, section: Section, index: int, contents: Contents
) -> bytes:
    """Both `scans`, baseline and delayed, in one section: as tiles in turn, or the first's edges on the second."""
    fixed, moving = (_plane(scan, section, index) for scan in scans)
    if overlay == "checkerboard":
        rows, columns = np.indices(fixed.shape) // _TILE_MM
        panel = _grey(np.where((rows + columns) % 2 == 0, fixed, moving))
        title = "baseline and delayed in tiles"
    else:
        panel = _grey(moving)
        panel[_edges(fixed)] = _EDGE
        title = "baseline's edges on delayed"
    return _png(panel, section, title, contents, predicted=False)


def _plane(values: UInt8, section: Section, index: int) -> UInt8:
    """``(rows, columns)`` for display: head or front up, the patient's right on the viewer's left."""
    plane: UInt8
    if section == "axial":
        plane = values[index]
    else:
        plane = values[::-1, :, index] if section == "sagittal" else values[::-1, index, :]
    return plane


def _grey(plane: UInt8) -> RGB:
    return np.repeat(plane[..., None], 3, axis=2)


def _edges(plane: UInt8) -> Mask:
    down, across = np.gradient(plane.astype(np.float32))
    strength = np.hypot(down, across)
    edges: Mask = strength > max(float(np.percentile(strength, _EDGE_SHARE)), 1.0)
    return edges


def _png(panel: RGB, section: Section, title: str, contents: Contents, *, predicted: bool) -> bytes:
    """The panel between a line that names it and lines that say what it is not."""
    height, width = panel.shape[:2]
    wide = max(width, _NARROWEST)
    left = (wide - width) // 2
    canvas = Image.new("RGB", (wide, _STRIP + height + _LEGEND))
    canvas.paste(Image.fromarray(panel), (left, _STRIP))
    draw = ImageDraw.Draw(canvas)
    draw.text((wide // 2, 2), title, font=font(11), fill=_ORANGE if predicted else _PALE, anchor="ma")
    places = (
        (left + 3, _STRIP + height // 2, "lm"),
        (left + width - 3, _STRIP + height // 2, "rm"),
        (wide // 2, _STRIP + 2, "ma"),
        (wide // 2, _STRIP + height - 2, "md"),
    )
    for letter, (x, y, anchor) in zip(_LETTERS[section], places, strict=True):
        draw.text((x, y), letter, font=font(12), fill=_YELLOW, anchor=anchor)
    for number, (line, fill) in enumerate(_legend(contents, predicted=predicted)):
        draw.text((wide // 2, _STRIP + height + 2 + 13 * number), line, font=font(10), fill=fill, anchor="ma")
    packed = io.BytesIO()
    canvas.save(packed, format="PNG", compress_level=3)
    return packed.getvalue()


def _legend(contents: Contents, *, predicted: bool) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    simulated = ("SIMULATED PATIENT", _ORANGE) if contents.simulated_patient else None
    if not predicted:
        return (simulated,) if simulated else (("acquired", _PALE),)
    trained = ("trained on SIMULATED tracer", _ORANGE) if contents.simulated_training else None
    both = ("SIMULATED PATIENT AND TRAINING", _ORANGE) if simulated and trained else None
    second = both or simulated or trained
    return (("PREDICTED - NOT ACQUIRED", _ORANGE), *((second,) if second else ()))
