"""Contents of the page for print, and what a reader of PDF finds on it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from pypdf import PdfReader

from service.page.contents import CheckLine, PageContents, WarningLine
from service.pictures.panels import FIELD_MM, SECTIONS
from service.pictures.preview import SectionRow

MADE_AT = datetime(2024, 5, 14, 13, 37, tzinfo=UTC)
CHECKS = tuple(
    CheckLine(name=f"Figure number {n}", measured=f"{n / 7:.4g}", limit="at least 0.1 fat units", verdict="pass")
    for n in range(60)
)


def section_row(section: str, *, predicted: bool = True) -> SectionRow:
    """Grey and coloured noise."""
    noise = np.random.default_rng(SECTIONS.index(section)).integers(0, 255, (4, FIELD_MM, FIELD_MM), dtype=np.uint8)  # type: ignore[arg-type]
    grey = [np.repeat(panel[..., None], 3, axis=2) for panel in noise]
    coloured = grey[3] // np.array([1, 2, 3], dtype=np.uint8)
    return SectionRow(
        section=section,  # type: ignore[arg-type]
        acquired=(grey[0], grey[1]),
        predicted=(grey[2], coloured) if predicted else (),
    )


def page_contents(name: str = "Tester, P1", **changes: object) -> PageContents:
    """Of a case without warnings; `changes` by field name."""
    contents = PageContents(
        title="PREDICTED 24 h IMAGE – NOT ACQUIRED",
        cautions=("Research use, not for diagnosis.", "SIMULATED TRAINING: simulated tracer only."),
        patient=(("Patient", name), ("Patient ID", "P1"), ("Study", "2024-05-14 Head")),
        times=(("Injection", "2024-05-14 09:10"), ("Delayed scan", "2024-05-14 10:35, 1.43 h after injection")),
        rows=tuple(section_row(section) for section in SECTIONS),
        increase_scale="0.8 x fat",
        warnings=(),
        checks=CHECKS,
        findings=(("Reflux at 24 h, model-derived", "Index 0.66, grade 3."), ("Model", "volume3d 0.1.0")),
        limits="Do not treat or diagnose by this page.",
        made_at=MADE_AT,
    )
    return replace(contents, **changes)  # type: ignore[arg-type]


def warning_lines(count: int) -> tuple[WarningLine, ...]:
    """As long as those of the checks."""
    sentence = "Orbital fat varies more than it should within one orbit; look at the regions of fat and at the shading."
    return tuple(
        WarningLine(code=f"WARNING_NUMBER_{n}", text=f"{sentence} Measured 0.31, limit at most 0.25.")
        for n in range(count)
    )


def font_with(letters: str) -> bytes:
    """A TrueType font of square glyphs for `letters` and nothing else."""
    names = {ord(letter): f"letter{number}" for number, letter in enumerate(letters)}
    order = [".notdef", *names.values()]
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (900, 700), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    built = FontBuilder(1000, isTTF=True)
    built.setupGlyphOrder(order)
    built.setupCharacterMap(names)
    built.setupGlyf(dict.fromkeys(order, square))
    built.setupHorizontalMetrics(dict.fromkeys(order, (1000, 100)))
    built.setupHorizontalHeader(ascent=800, descent=-200)
    built.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    built.setupOS2()
    built.setupPost()
    content = BytesIO()
    built.save(content)
    return content.getvalue()


def text_of_page(page: bytes) -> str:
    """Of the only page, without line breaks."""
    (only,) = PdfReader(BytesIO(page)).pages
    return re.sub(r"\s+", " ", only.extract_text())
