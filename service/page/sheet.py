"""A sheet of paper that text is set on: measured, wrapped and cut in millimetres and points."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from tempfile import TemporaryDirectory

from fpdf import FPDF
from fpdf.enums import MethodReturnValue
from PIL import Image

from service.page.fonts import FAMILY, Letters
from service.pictures.panels import RGB

WIDTH_MM, HEIGHT_MM = 210.0, 297.0
MARGIN_MM = 15.0
MM_PER_POINT = 25.4 / 72
LEADING = 1.22
"""Line to line, in sizes of the letters."""
MORE = "…"
WHITE = 255


class Sheet:
    """One A4 page, upright. Every text goes through `Letters`; what is drawn stays where it was put."""

    def __init__(self, letters: Letters, *, title: str, author: str, made_at: datetime) -> None:
        self.letters = letters
        self._folder = TemporaryDirectory()  # fpdf2 takes fonts as files only
        pdf = FPDF(orientation="portrait", unit="mm", format="A4")
        pdf.set_auto_page_break(False)
        pdf.set_margin(MARGIN_MM)
        pdf.c_margin = 0.0
        letters.install(pdf, self._folder)
        pdf.set_creation_date(made_at)  # else the clock's
        pdf.set_title(title)
        pdf.set_author(author)
        pdf.set_producer(author)
        pdf.set_lang("en-GB")
        pdf.set_display_mode("fullpage")
        pdf.add_page()
        self._pdf = pdf

    def lines(self, text: str, width: float, size: float, *, bold: bool = False, most: int = 0) -> list[str]:
        """`text` in lines of at most `width` mm; with `most`, a longer one ends in an ellipsis."""
        self._set_font(size, bold=bold)
        found = self._broken(self.letters.written(text), width)
        if most and len(found) > most:
            found = [*found[: most - 1], self._cut(" ".join(found[most - 1 :]), width)]
        return found

    def put(
        self,
        lines: Sequence[str] | str,
        x: float,
        y: float,
        size: float,
        *,
        bold: bool = False,
        anchor: str = "left",
        grey: int = 0,
    ) -> float:
        """Set `lines` from `y` downwards and from `x`, around it (middle) or up to it (right); where they end.

        White letters stand on black, so that they can be read on a picture.
        """
        self._set_font(size, bold=bold)
        self._pdf.set_text_color(grey)
        self._pdf.set_fill_color(0)
        step = size * MM_PER_POINT * LEADING
        for line in [self.letters.written(lines)] if isinstance(lines, str) else lines:
            wide = self._pdf.get_string_width(line)
            left = x - {"left": 0.0, "middle": wide / 2, "right": wide}[anchor]
            self._pdf.set_xy(left, y)
            self._pdf.cell(wide, step, line, fill=grey == WHITE)
            y += step
        return y

    def turned(self, text: str, x: float, y: float, size: float) -> None:
        """Set `text` to be read upwards, its foot at `x`, around `y`."""
        self._set_font(size, bold=False)
        self._pdf.set_text_color(0)
        with self._pdf.rotation(90, x, y):
            self._pdf.text(x - self._pdf.get_string_width(text) / 2, y, text)

    def picture(self, panel: RGB, x: float, y: float, width: float, height: float, *, alt: str) -> None:
        """Place an ``(h, w, 3)`` picture; one without colour is kept as grey values."""
        colourless = bool((panel[..., 0] == panel[..., 1]).all() and (panel[..., 1] == panel[..., 2]).all())
        image = Image.fromarray(panel[..., 0].copy() if colourless else panel)
        self._pdf.image(image, x=x, y=y, w=width, h=height, alt_text=alt)

    def rule(self, x: float, y: float, width: float, thickness: float = 0.1) -> None:
        """A horizontal line."""
        self._pdf.set_line_width(thickness)
        self._pdf.line(x, y, x + width, y)

    def box(self, x: float, y: float, width: float, height: float, thickness: float = 0.5) -> None:
        """An empty frame."""
        self._pdf.set_line_width(thickness)
        self._pdf.rect(x, y, width, height)

    def written(self) -> bytes:
        """The document; nothing can be added after that."""
        content = bytes(self._pdf.output())
        self._folder.cleanup()
        return content

    def _set_font(self, size: float, *, bold: bool) -> None:
        self._pdf.set_font(FAMILY, "B" if bold else "", size)

    def _broken(self, text: str, width: float) -> list[str]:
        found = self._pdf.multi_cell(width, text=text, align="L", dry_run=True, output=MethodReturnValue.LINES)
        return [str(line) for line in found] if isinstance(found, list) else []

    def _cut(self, text: str, width: float) -> str:
        while text and self._pdf.get_string_width(text + MORE) > width:
            text = text[:-1]
        return text.rstrip() + MORE
