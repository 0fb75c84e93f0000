"""The words burned into every predicted image; nothing that a viewer can switch off.

They stand in a black strip over the first rows, which a viewer shows on top, because the matrix must stay
that of the source for the two to scroll together.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.imaging.volume import Float32, read_only

_SMALLEST_LEGIBLE = 9  # pixels of font size; below it the default font's letters run together
_LARGEST_SHARE = 0.22  # of the rows; the image below must stay recognisable
_LARGEST_SHARE_SHORTEST = 0.34  # where nothing shorter is left to say
_SMALLEST_POSSIBLE = 5
_SHORTEST = 34  # letters; the last layouts
_MARGIN = 2

_LAYOUTS = (
    ("PREDICTED 24 h - NOT ACQUIRED", "research use, not for diagnosis"),
    ("PREDICTED 24 h", "NOT ACQUIRED", "not for diagnosis"),
    ("PREDICTED 24 h", "NOT ACQUIRED"),
    ("PREDICTED", "NOT ACQUIRED"),
    ("PREDICTED 24 h - NOT ACQUIRED",),
    ("PREDICTED",),
)
_LAYOUTS_SIMULATED = (
    ("PREDICTED 24 h - NOT ACQUIRED", "research use, not for diagnosis, SIMULATED TRAINING"),
    ("PREDICTED 24 h - NOT ACQUIRED", "SIMULATED TRAINING"),
    ("PREDICTED 24 h", "NOT ACQUIRED", "SIMULATED"),
    ("PREDICTED, SIMULATED", "NOT ACQUIRED"),
    ("PREDICTED", "NOT ACQUIRED"),
    ("PREDICTED, NOT ACQUIRED, SIMULATED",),
    ("PREDICTED",),
)
"""Longest first; two lines where they fit, because the rows they cover may show the vertex of the head."""


def burn_in(plane: Float32, *, black: float, white: float, simulated_training: bool) -> Float32:
    """A copy of `plane` ``(rows, columns)`` with the banner over its first rows.

    Parameters
    ----------
    black, white
        Values of the strip and of the letters, in the plane's units: the ends of the window it is shown with.
    """
    strip = banner(plane.shape[0], plane.shape[1], simulated_training=simulated_training)
    burned = plane.copy()
    burned[: strip.shape[0]] = black + (white - black) * strip
    return burned


@cache
def banner(rows: int, columns: int, *, simulated_training: bool) -> Float32:
    """``(height, columns)`` of 0 (strip) to 1 (letter), as large as fits an image of ``(rows, columns)``."""
    size = _SMALLEST_POSSIBLE
    for lines in _LAYOUTS_SIMULATED if simulated_training else _LAYOUTS:
        size = _largest_size(lines, rows, columns)
        if size >= _SMALLEST_LEGIBLE:
            return _drawn(lines, size, columns)
    return _drawn(("PREDICTED",), size, columns)[:rows]


def _largest_size(lines: tuple[str, ...], rows: int, columns: int) -> int:
    """Font size at which `lines` fit; in proportion to the width, so that it looks alike on any matrix."""
    wanted = max(_SMALLEST_LEGIBLE + 1, round(columns / 28))
    share = _LARGEST_SHARE if len("".join(lines)) > _SHORTEST else _LARGEST_SHARE_SHORTEST
    for size in range(wanted, _SMALLEST_POSSIBLE, -1):
        width = max(_font(size).getlength(line) for line in lines)
        if width + 2 * _MARGIN <= columns and _height(lines, size) <= share * rows:
            return size
    return _SMALLEST_POSSIBLE


def _drawn(lines: tuple[str, ...], size: int, columns: int) -> Float32:
    image = Image.new("L", (columns, _height(lines, size)), 0)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        top = _MARGIN + number * _line_height(size)
        draw.text((columns // 2, top), line, font=_font(size), fill=255, anchor="ma")
    letters = np.asarray(image, dtype=np.float32) / np.float32(255)
    read_only(letters)
    return letters


def _height(lines: tuple[str, ...], size: int) -> int:
    return 2 * _MARGIN + len(lines) * _line_height(size)


def _line_height(size: int) -> int:
    return round(size * 1.2)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # Pillow's own; no font files of the host are needed
