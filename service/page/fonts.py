"""Letters that the page can draw. A letter that no font has is replaced by a sign that says so, never left out.

FiraGO (SIL Open Font License) writes Latin, Greek, Cyrillic and Georgian. Scripts whose letters change with their
neighbours or run from right to left are not drawn, even where a font has them: unshaped they would be misread.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pymupdf_fonts
from fontTools.ttLib import TTFont
from fpdf import FPDF

PLACEHOLDER = "▯"
FAMILY, FURTHER = "page", "further"
_STYLES = {"": "figo", "B": "figbo"}
_SIGNATURES = {b"ttcf": ".ttc", b"OTTO": ".otf"}
_DRAWN_AS_THEY_STAND = (
    (0x0020, 0x058F),  # Latin, Greek, Cyrillic, Armenian
    (0x10A0, 0x10FF),  # Georgian
    (0x1E00, 0x2BFF),  # further Latin and Greek, punctuation, signs
    (0x2E80, 0xA4CF),  # Chinese, Japanese
    (0xAC00, 0xD7A3),  # Korean
    (0xF900, 0xFAFF),
    (0xFE30, 0xFE4F),
    (0xFF01, 0xFFEE),
    (0x1F100, 0x1F1FF),
    (0x20000, 0x3FFFF),
)


class Letters:
    """The fonts of one document, and which texts they can write.

    Parameters
    ----------
    further
        TrueType or OpenType font (or collection, of which the first is taken) for what FiraGO lacks.
    """

    def __init__(self, further: bytes | None = None) -> None:
        self._further = further
        self._known = _letters_of(_font("figo")) | (_letters_of(further) if further else frozenset())
        self.missing = False

    def install(self, pdf: FPDF, folder: TemporaryDirectory[str]) -> None:
        """Make the fonts known to `pdf`, which reads them from `folder` until it is written."""
        for style, name in _STYLES.items():
            path = Path(folder.name) / f"{name}.ttf"
            path.write_bytes(_font(name))
            pdf.add_font(FAMILY, style, path)
        if self._further:
            path = Path(folder.name) / f"further{_SIGNATURES.get(self._further[:4], '.ttf')}"
            path.write_bytes(self._further)
            pdf.add_font(FURTHER, "", path)
            pdf.set_fallback_fonts([FURTHER], exact_match=False)

    def written(self, text: str) -> str:
        """`text` with `PLACEHOLDER` for each letter that cannot be drawn; `missing` remembers that there was one."""
        shown = []
        for letter in unicodedata.normalize("NFC", " ".join(text.split())):
            if unicodedata.category(letter) in ("Cc", "Cf"):
                continue  # invisible
            known = letter in self._known
            self.missing = self.missing or not known
            shown.append(letter if known else PLACEHOLDER)
        return "".join(shown)


def is_font(content: bytes) -> bool:
    """Whether `content` is a font that the page could use."""
    try:
        return bool(_letters_of(content))
    except Exception:  # noqa: BLE001 - fontTools raises whatever its tables' parsers raise on damaged files
        return False


@cache
def _font(name: str) -> bytes:
    content: bytes = pymupdf_fonts.myfont(name)
    return content


@cache
def _letters_of(font: bytes) -> frozenset[str]:
    with TTFont(BytesIO(font), fontNumber=0, lazy=True) as opened:
        codes = opened.getBestCmap() or {}
        return frozenset(chr(c) for c in codes if any(low <= c <= high for low, high in _DRAWN_AS_THEY_STAND))
