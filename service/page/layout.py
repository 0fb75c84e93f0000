"""Where everything stands on the page. Pure: contents in, bytes out.

From top to bottom: what the images are not, whose they are, the images, warnings, checks beside the findings, limits of
use. The images have a fixed size; warnings take what they need, up to a part of what is left, and checks the rest. What
has no room is counted in words, so that nothing is missing in silence.
"""

from __future__ import annotations

import numpy as np

from service.page.contents import CheckLine, Facts, PageContents, WarningLine
from service.page.fonts import PLACEHOLDER, Letters
from service.page.sheet import HEIGHT_MM, LEADING, MARGIN_MM, MM_PER_POINT, WHITE, WIDTH_MM, Sheet
from service.pictures.panels import EDGE_LETTERS, Section, Window, heat
from service.pictures.preview import ACQUIRED_COLUMNS, NOT_PREDICTED, PREDICTED_COLUMNS

_LEFT, _TOP, _INNER = MARGIN_MM, MARGIN_MM, WIDTH_MM - 2 * MARGIN_MM
_BOTTOM = HEIGHT_MM - MARGIN_MM
_TITLE, _CAUTION, _HEAD, _TEXT, _SMALL = 15.0, 9.0, 8.0, 7.0, 6.5  # points
_LARGEST_PANEL, _SMALLEST_PANEL, _GAP, _SIDE = 42.75, 34.0, 1.0, 6.0
_LABEL = 24.0  # column of names in facts
_CHECKS, _BETWEEN = 126.0, 5.0
_NAME, _MEASURED, _LIMIT, _LIMIT_WIDTH = 56.0, 67.0, 69.0, 50.0  # width, right edge, left edge, width
_FINDINGS = _INNER - _CHECKS - _BETWEEN
_FEWEST_CHECKS = 7
_WARNING_LINES, _FINDING_LINES = 3, 9
_APART = 1.2
_MARK = "PREDICTED"
"""In the corner of what was: a picture may be looked at without its heading."""


def render_page(contents: PageContents, *, further_font: bytes | None = None) -> bytes:
    """A PDF of one A4 page, black on white, with text that can be selected; the same contents give the same bytes.

    Parameters
    ----------
    further_font
        For letters that the page's own font lacks.
    """
    letters = Letters(further_font)
    for text in _texts_of_others(contents):  # the foot, which is set before all is drawn, says what was missing
        letters.written(text)
    sheet = Sheet(letters, title=contents.title, author="csf24", made_at=contents.made_at)
    y = _heading(sheet, contents)
    y = _facts(sheet, contents, y + 2.0) + 1.5
    foot = _foot(sheet, contents)
    lowest = foot - max(_step(_TEXT) * (_FEWEST_CHECKS + 2), _height(sheet, contents.findings)) - 4.0
    panel = _panel_size(sheet, contents, lowest - y)
    y = _pictures(sheet, contents, y, panel) + 1.5
    y = _warnings(sheet, contents.warnings, y, lowest=lowest)
    _checks(sheet, contents.checks, y + 2.0, lowest=foot - 1.5)
    _findings(sheet, contents.findings, y + 2.0, lowest=foot - 1.5)
    return sheet.written()


def _texts_of_others(contents: PageContents) -> tuple[str, ...]:
    """What may hold letters of any script: of the patient, and of whoever made the model."""
    values = (*contents.patient, *contents.times, *contents.findings, *((w.code, w.text) for w in contents.warnings))
    return (*(text for fact in values for text in fact), contents.limits)


def _step(size: float) -> float:
    return size * MM_PER_POINT * LEADING


def _heading(sheet: Sheet, contents: PageContents) -> float:
    """What the images are not, in a frame."""
    title = sheet.lines(contents.title, _INNER - 6, _TITLE, bold=True)
    cautions = sheet.lines(" ".join(contents.cautions), _INNER - 6, _CAUTION, bold=True)
    y = sheet.put(title, WIDTH_MM / 2, _TOP + 1.0, _TITLE, bold=True, anchor="middle")
    y = sheet.put(cautions, WIDTH_MM / 2, y, _CAUTION, bold=True, anchor="middle") + 1.2
    sheet.box(_LEFT, _TOP, _INNER, y - _TOP)
    return y


def _facts(sheet: Sheet, contents: PageContents, y: float) -> float:
    """The name over the whole width, then the patient on the left and the times on the right."""
    half = (_INNER - _BETWEEN) / 2
    y = _fact_column(sheet, contents.patient[:1], _LEFT, y, _INNER, bold=True)
    left = _fact_column(sheet, contents.patient[1:], _LEFT, y, half)
    right = _fact_column(sheet, contents.times, _LEFT + half + _BETWEEN, y, half)
    return max(left, right)


def _fact_column(sheet: Sheet, facts: Facts, x: float, y: float, width: float, *, bold: bool = False) -> float:
    for name, value in facts:
        sheet.put(name, x, y, _HEAD, grey=90)
        y = sheet.put(sheet.lines(value, width - _LABEL, _HEAD, bold=bold) or [""], x + _LABEL, y, _HEAD, bold=bold)
    return y


def _panel_size(sheet: Sheet, contents: PageContents, room: float) -> float:
    """Images give way to warnings, down to a size at which they can still be read."""
    lines = [sheet.lines(f"{w.code}: {w.text}", _INNER, _TEXT, most=_WARNING_LINES) for w in contents.warnings]
    others = _step(_HEAD) * 2 + _step(_SMALL) + 2.0 + _step(_TEXT) * sum(len(found) for found in lines)
    wanted = (room - others) / len(contents.rows) - _GAP
    return min(max(wanted, _SMALLEST_PANEL), _LARGEST_PANEL)


def _pictures(sheet: Sheet, contents: PageContents, y: float, panel: float) -> float:
    """Columns as in the preview, the names of the sections at the side."""
    names = (*ACQUIRED_COLUMNS, *PREDICTED_COLUMNS)
    left = _LEFT + _SIDE + (_LARGEST_PANEL - panel) * len(names) / 2
    columns = [left + number * (panel + _GAP) for number in range(len(names))]
    for name, x in zip(names, columns, strict=True):
        sheet.put(name, x + panel / 2, y, _HEAD, bold=name in PREDICTED_COLUMNS, anchor="middle")
    y += _step(_HEAD) + 0.5
    for row in contents.rows:
        sheet.turned(row.section, left - 2.0, y + panel / 2, _HEAD)
        for name, x, shown in zip(names, columns, (*row.acquired, *row.predicted), strict=False):
            sheet.picture(shown, x, y, panel, panel, alt=f"{row.section}, {name}")
            _edge_letters(sheet, row.section, x, y, panel)
            if name in PREDICTED_COLUMNS:
                sheet.put(_MARK, x + 0.8, y + 0.3, _TEXT, bold=True, grey=WHITE)
        if not row.predicted:
            sheet.put(NOT_PREDICTED, columns[3] - _GAP / 2, y + panel / 2, _TEXT, anchor="middle", grey=90)
        y += panel + _GAP
    return _scale(sheet, contents.increase_scale, columns, y)


def _edge_letters(sheet: Sheet, section: Section, x: float, y: float, panel: float) -> None:
    high = _step(_TEXT)
    left, right, top, bottom = EDGE_LETTERS[section]
    for letter, at, height, anchor in (
        (left, x + 0.8, y + (panel - high) / 2, "left"),
        (right, x + panel - 0.8, y + (panel - high) / 2, "right"),
        (top, x + panel / 2, y + 0.3, "middle"),
        (bottom, x + panel / 2, y + panel - high - 0.3, "middle"),
    ):
        sheet.put(letter, at, height, _TEXT, bold=True, anchor=anchor, grey=WHITE)


def _scale(sheet: Sheet, top: str, columns: list[float], y: float) -> float:
    """What the letters and the colours mean."""
    side = "R, L: the patient's right and left; A, P: front and back; S, I: head and feet."
    sheet.put(side, columns[0], y, _SMALL)
    ramp = heat(np.tile(np.linspace(0, 1, 256, dtype=np.float32), (8, 1)), Window(low=0, high=1))
    x, wide = columns[3] + 3.0, columns[1] - columns[0] - 19.0
    sheet.put("0", x - 1.0, y, _SMALL, anchor="right")
    sheet.picture(ramp, x, y + 0.5, wide, _step(_SMALL) - 1.0, alt="scale of the predicted increase")
    return sheet.put(top, x + wide + 1.0, y, _SMALL)


def _warnings(sheet: Sheet, warnings: tuple[WarningLine, ...], y: float, *, lowest: float) -> float:
    """Each with its sentence as far as there is room, then the others by code, then their number."""
    count = f"{len(warnings)}" if warnings else "none"
    y = sheet.put(f"Warnings: {count}", _LEFT, y, _HEAD, bold=True)
    for number, warning in enumerate(warnings):
        left = warnings[number:]
        lines = sheet.lines(f"{warning.code}: {warning.text}", _INNER, _TEXT, most=_WARNING_LINES)
        room = int((lowest - y) / _step(_TEXT) + 1e-6)
        if len(lines) + (2 if len(left) > 1 else 0) > room:
            rest = f"… and {len(left)} more: {', '.join(w.code for w in left)}"
            shown = sheet.lines(rest, _INNER, _TEXT, most=max(room, 1))
            return sheet.put(shown, _LEFT, y, _TEXT)
        y = sheet.put(lines, _LEFT, y, _TEXT)
    return y


def _checks(sheet: Sheet, checks: tuple[CheckLine, ...], y: float, *, lowest: float) -> None:
    """A table of as many as there is room for, and how many others there are."""
    passed = sum(check.verdict == "pass" for check in checks)
    sheet.put(f"Checks: {passed} of {len(checks)} passed", _LEFT, y, _HEAD, bold=True)
    sheet.put("measured", _LEFT + _MEASURED, y, _TEXT, anchor="right", grey=90)
    sheet.put("limit", _LEFT + _LIMIT, y, _TEXT, grey=90)
    y = sheet.put("verdict", _LEFT + _CHECKS, y, _TEXT, anchor="right", grey=90) + 0.6
    sheet.rule(_LEFT, y, _CHECKS)
    y += 0.4
    rows = int((lowest - y) / _step(_TEXT) + 1e-6)
    shown = checks if len(checks) <= rows else checks[: max(rows - 1, 0)]
    for check in shown:
        y = _check(sheet, check, y)
    rest = checks[len(shown) :]
    if rest:
        failed = sum(check.verdict != "pass" for check in rest)
        more = f"{len(rest)} more passed" if not failed else f"{len(rest)} more, {failed} of them NOT passed"
        sheet.put(f"… and {more}; csf24's report.json has all.", _LEFT, y, _TEXT)


def _check(sheet: Sheet, check: CheckLine, y: float) -> float:
    bold = check.verdict != "pass"
    sheet.put(sheet.lines(check.name, _NAME, _TEXT, bold=bold, most=1), _LEFT, y, _TEXT, bold=bold)
    sheet.put(check.measured, _LEFT + _MEASURED, y, _TEXT, bold=bold, anchor="right")
    limit = sheet.lines(check.limit, _LIMIT_WIDTH, _TEXT, bold=bold, most=1)
    sheet.put(limit, _LEFT + _LIMIT, y, _TEXT, bold=bold)
    verdict = check.verdict if check.verdict == "pass" else check.verdict.upper()
    return sheet.put(verdict, _LEFT + _CHECKS, y, _TEXT, bold=bold, anchor="right")


def _findings(sheet: Sheet, findings: Facts, y: float, *, lowest: float) -> None:
    """Beside the checks; a text that would reach too far down ends in an ellipsis."""
    x = _LEFT + _CHECKS + _BETWEEN
    for heading, text in findings:
        room = max(int((lowest - y - _step(_HEAD)) / _step(_TEXT) + 1e-6), 1)
        y = sheet.put(sheet.lines(heading, _FINDINGS, _HEAD, bold=True, most=1), x, y, _HEAD, bold=True)
        y = sheet.put(sheet.lines(text, _FINDINGS, _TEXT, most=min(room, _FINDING_LINES)), x, y, _TEXT) + _APART


def _height(sheet: Sheet, findings: Facts) -> float:
    """What the findings take when nothing of them is cut."""
    lines = [min(len(sheet.lines(text, _FINDINGS, _TEXT)), _FINDING_LINES) for _, text in findings]
    return sum(count * _step(_TEXT) + _step(_HEAD) + _APART for count in lines)


def _foot(sheet: Sheet, contents: PageContents) -> float:
    """Limits of use, up from the lower margin; where they begin."""
    text = contents.limits
    if sheet.letters.missing:
        text = f"{PLACEHOLDER}: a letter that this page's font lacks; the DICOM header has it. {text}"
    lines = sheet.lines(text, _INNER, _SMALL, most=6)
    y = _BOTTOM - len(lines) * _step(_SMALL)
    sheet.rule(_LEFT, y - 0.8, _INNER)
    sheet.put(lines, _LEFT, y, _SMALL)
    return y - 0.8
