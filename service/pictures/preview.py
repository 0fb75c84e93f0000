"""preview.png: baseline, delayed, predicted, increase; sagittal, axial, coronal."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float64, Volume
from service.pictures.panels import (
    FIELD_MM,
    RGB,
    SECTIONS,
    Section,
    Window,
    cut,
    font,
    grey,
    grid_of_panels,
    heat,
    robust_window,
    with_edge_letters,
)

_HEADER = 46
_FOOTER = 40
INCREASE_FULL_SCALE = 0.8
"""Fat units at the top of the increase scale: about the signal gain of CSF at 0.35 mmol/L."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreviewSource:
    """What a preview shows; all in the baseline frame, `transform` maps baseline -> delayed.

    `predicted` and `increase` are None for a refusal. Each ``fat`` is source units per fat unit;
    0 when it is unknown, then each series gets a window of its own.
    """

    baseline: Volume
    delayed: Volume
    transform: RigidTransform
    centre: Float64
    fat_baseline: float = 0.0
    fat_delayed: float = 0.0
    predicted: tuple[Volume, ...] = ()
    increase: tuple[Volume, ...] = ()


def render_preview(source: PreviewSource, *, title: str, footer: str) -> bytes:
    """PNG bytes; a refusal's preview has only the two acquired columns."""
    fat = source.fat_baseline
    window = robust_window(source.baseline.array)
    delayed_window = robust_window(source.delayed.array)
    if fat > 0 and source.fat_delayed > 0:
        delayed_window = Window(low=0.0, high=window.high * source.fat_delayed / fat)
    rows = []
    for section in SECTIONS:
        row = [
            grey(cut(source.baseline, section, source.centre), window),
            grey(cut(source.delayed, section, source.centre, source.transform), delayed_window),
        ]
        if source.predicted:
            top = Window(low=0.0, high=INCREASE_FULL_SCALE * fat)
            row.append(_predicted_panel(source, source.predicted, section, window, as_heat=False))
            row.append(_predicted_panel(source, source.increase, section, top, as_heat=True))
        rows.append([with_edge_letters(panel, section) for panel in row])
    columns = ["baseline (acquired)", "delayed (acquired)"]
    if source.predicted:
        columns += ["24 h PREDICTED", "increase, predicted"]
    return _framed(grid_of_panels(rows), columns, title, footer, scale_bar=bool(source.predicted))


def _predicted_panel(
    source: PreviewSource, volumes: tuple[Volume, ...], section: Section, window: Window, *, as_heat: bool
) -> RGB:
    paint = heat if as_heat else grey
    if len(volumes) == 1:
        return paint(cut(volumes[0], section, source.centre), window)
    # A slice-pair model answers on its own two planes only; the coronal panel stays empty.
    by_section = dict(zip(("sagittal", "axial"), volumes, strict=True))
    if section not in by_section:
        return np.zeros((FIELD_MM, FIELD_MM, 3), dtype=np.uint8)
    picture = Image.fromarray(paint(by_section[section].array[0], window))
    return np.asarray(picture.resize((FIELD_MM, FIELD_MM)))


def _framed(body: RGB, columns: list[str], title: str, footer: str, *, scale_bar: bool) -> bytes:
    h, w = body.shape[:2]
    canvas = Image.new("RGB", (w, h + _HEADER + _FOOTER), (0, 0, 0))
    canvas.paste(Image.fromarray(body), (0, _HEADER))
    draw = ImageDraw.Draw(canvas)
    draw.text((w // 2, 4), title, font=font(15), fill=(255, 255, 255), anchor="ma")
    step = w / len(columns)
    for index, name in enumerate(columns):
        fill = (255, 150, 60) if "redicted" in name.lower() else (190, 200, 210)
        draw.text((int(step * (index + 0.5)), 26), name, font=font(14), fill=fill, anchor="ma")
    draw.text((6, h + _HEADER + 6), footer, font=font(12), fill=(190, 200, 210))
    if scale_bar:
        _draw_scale(canvas, draw, int(step * (len(columns) - 1)) + 8, h + _HEADER + 24, int(step) - 16)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _draw_scale(canvas: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, width: int) -> None:
    ramp = np.tile(np.linspace(0, 1, width - 90, dtype=np.float32), (8, 1))
    canvas.paste(Image.fromarray(heat(ramp, Window(low=0, high=1))), (x + 12, y))
    draw.text((x, y + 4), "0", font=font(11), fill=(190, 200, 210), anchor="lm")
    label = f"{INCREASE_FULL_SCALE:g} x fat"
    draw.text((x + width - 72, y + 4), label, font=font(11), fill=(190, 200, 210), anchor="lm")
