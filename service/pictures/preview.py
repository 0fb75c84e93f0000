"""preview.png: baseline, delayed, predicted, increase; sagittal, axial, coronal."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float64, Volume
from service.pictures.panels import (
    RGB,
    SECTIONS,
    Section,
    Window,
    cut,
    empty_panel,
    font,
    grey,
    grid_of_panels,
    heat,
    plane_grid,
    robust_window,
    section_grid,
    with_edge_letters,
)

_HEADER, _TITLE_LINE = 46, 18
_MARGIN, _LINE, _SCALE = 6, 16, 18
_TITLE, _FOOTER = 15, 12  # sizes of their letters
PLANES: tuple[Section, ...] = ("sagittal", "axial")
"""Of a slice-pair model, in the order of its answer."""
INCREASE_FULL_SCALE = 0.8
"""Fat units at the top of the increase scale: about the signal gain of CSF at 0.35 mmol/L."""
ACQUIRED_COLUMNS = ("baseline (acquired)", "delayed (acquired)")
PREDICTED_COLUMNS = ("24 h PREDICTED", "increase, predicted")
NOT_PREDICTED = "not predicted by this model"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreviewSource:
    """What a preview shows; all in the baseline frame, `transform` maps baseline -> delayed, where that is known.

    `predicted` and `increase` are one volume; or a sagittal and an axial plane, as a slice-pair model answers;
    or empty for a refusal. `lower` and `upper` bound the increase, where the model says so. Each ``fat`` is source
    units per fat unit; 0 when it is unknown, then each series gets a window of its own.
    """

    baseline: Volume
    delayed: Volume
    transform: RigidTransform | None
    centre: Float64
    fat_baseline: float = 0.0
    fat_delayed: float = 0.0
    predicted: tuple[Volume, ...] = ()
    increase: tuple[Volume, ...] = ()
    lower: tuple[Volume, ...] = ()
    upper: tuple[Volume, ...] = ()


def delayed_window_of(source: PreviewSource, baseline: Window) -> Window:
    """The delayed series' window: the baseline's through both fat references, or its own where one is unknown."""
    if source.fat_baseline > 0 and source.fat_delayed > 0:
        return Window(low=0.0, high=baseline.high * source.fat_delayed / source.fat_baseline)
    return robust_window(source.delayed.array)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SectionRow:
    """One section of every column: ``(FIELD_MM, FIELD_MM, 3)`` panels of 1 mm, without letters at their edges.

    `acquired` is baseline, delayed; `predicted` is the 24 h image and its increase, empty where none was made.
    """

    section: Section
    acquired: tuple[RGB, RGB]
    predicted: tuple[RGB, ...]


def section_rows(source: PreviewSource) -> tuple[SectionRow, ...]:
    """Every section as it is shown, on screen or on paper."""
    window = robust_window(source.baseline.array)
    delayed_window = delayed_window_of(source, window)
    top = Window(low=0.0, high=INCREASE_FULL_SCALE * source.fat_baseline)
    rows = []
    for section in SECTIONS:
        predicted, increase = (_shown_in(section, volumes) for volumes in (source.predicted, source.increase))
        # Planes have a place and tilt of their own; the acquired images are shown there, so that they compare.
        own_plane = predicted is not None and len(source.predicted) > 1
        grid = plane_grid(predicted.grid) if predicted and own_plane else section_grid(section, source.centre)
        acquired = (
            grey(cut(source.baseline, grid), window),
            grey(cut(source.delayed, grid, source.transform), delayed_window),
        )
        shown = (grey(cut(predicted, grid), window), heat(cut(increase, grid), top)) if predicted and increase else ()
        rows.append(SectionRow(section=section, acquired=acquired, predicted=shown))
    return tuple(rows)


def columns_of(source: PreviewSource) -> tuple[str, ...]:
    """What stands above the panels."""
    return (*ACQUIRED_COLUMNS, *PREDICTED_COLUMNS) if source.predicted else ACQUIRED_COLUMNS


def render_preview(source: PreviewSource, *, title: str, footer: str) -> bytes:
    """PNG bytes; a refusal's preview has only the two acquired columns."""
    rows = []
    for row in section_rows(source):
        panels = [with_edge_letters(panel, row.section) for panel in (*row.acquired, *row.predicted)]
        if source.predicted and not row.predicted:
            panels += [empty_panel(NOT_PREDICTED)] * len(PREDICTED_COLUMNS)
        rows.append(panels)
    return _framed(grid_of_panels(rows), columns_of(source), title, footer, scale_bar=bool(source.predicted))


def _shown_in(section: Section, volumes: tuple[Volume, ...]) -> Volume | None:
    """The volume; of a slice pair, the plane of that section."""
    if len(volumes) < 2:
        return volumes[0] if volumes else None
    return dict(zip(PLANES, volumes, strict=True)).get(section)


def _framed(body: RGB, columns: tuple[str, ...], title: str, footer: str, *, scale_bar: bool) -> bytes:
    """Title and column heads above the panels; the colour bar right below its column, and below that the footer."""
    h, w = body.shape[:2]
    above, below = (_wrapped(text, w - 2 * _MARGIN, size) for text, size in ((title, _TITLE), (footer, _FOOTER)))
    top = _HEADER + _TITLE_LINE * (len(above) - 1)
    text_at = top + h + _MARGIN + (_SCALE if scale_bar else 0)
    canvas = Image.new("RGB", (w, text_at + _LINE * len(below)), (0, 0, 0))
    canvas.paste(Image.fromarray(body), (0, top))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(above):
        draw.text((w // 2, 4 + _TITLE_LINE * number), line, font=font(_TITLE), fill=(255, 255, 255), anchor="ma")
    step = w / len(columns)
    for index, name in enumerate(columns):
        fill = (255, 150, 60) if "redicted" in name.lower() else (190, 200, 210)
        draw.text((int(step * (index + 0.5)), top - 20), name, font=font(14), fill=fill, anchor="ma")
    if scale_bar:
        _draw_scale(canvas, draw, int(step * (len(columns) - 1)) + 8, top + h + _MARGIN, int(step) - 16)
    for number, line in enumerate(below):
        draw.text((_MARGIN, text_at + _LINE * number), line, font=font(_FOOTER), fill=(190, 200, 210))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """Lines no longer than `width` pixels; a word that is longer than a line, as a name may be, is broken."""

    def fits(line: str) -> bool:
        return bool(font(size).getlength(line) <= width)

    lines: list[str] = []
    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
            continue
        rest = word
        while not fits(rest):
            most = next(n for n in range(len(rest), 0, -1) if n == 1 or fits(rest[:n]))
            lines.append(rest[:most])
            rest = rest[most:]
        lines.append(rest)
    return lines


def _draw_scale(canvas: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, width: int) -> None:
    ramp = np.tile(np.linspace(0, 1, width - 90, dtype=np.float32), (8, 1))
    canvas.paste(Image.fromarray(heat(ramp, Window(low=0, high=1))), (x + 12, y))
    draw.text((x, y + 4), "0", font=font(11), fill=(190, 200, 210), anchor="lm")
    label = f"{INCREASE_FULL_SCALE:g} x fat"
    draw.text((x + width - 72, y + 4), label, font=font(11), fill=(190, 200, 210), anchor="lm")
