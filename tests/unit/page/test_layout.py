"""The page for print as pypdf reads it and poppler draws it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from service.page.contents import PageContents
from service.page.fonts import PLACEHOLDER, is_font
from service.page.layout import render_page
from service.page.sheet import MARGIN_MM
from tests.builders.page import CHECKS, MADE_AT, font_with, page_contents, section_row, text_of_page, warning_lines
from tests.builders.programs import needs, required

LONG_NAME = "Wolfeschlegelsteinhausenbergerdorff, Hubert Blaine " + "Ölçek Żółć Ђорђе Zoë " * 5
FULL = {
    "cautions": ("Research use, not for diagnosis. " * 4,),
    "warnings": warning_lines(12),
    "checks": tuple(replace(check, verdict="warn") for check in CHECKS),
    "findings": (("Reflux " * 20, "Tracer in the lateral ventricles. " * 40), ("Model", "volume3d " * 60)),
    "limits": "Do not treat or diagnose by this page. " * 30,
}


def test_it_is_one_a4_page_that_says_first_what_it_is_not() -> None:
    page = render_page(page_contents())
    reader = PdfReader(BytesIO(page))
    (only,) = reader.pages
    assert [round(float(side) / 72 * 25.4) for side in only.mediabox[2:]] == [210, 297]
    said = text_of_page(page)
    assert said.startswith("PREDICTED 24 h IMAGE – NOT ACQUIRED Research use, not for diagnosis. SIMULATED TRAINING")
    for part in ("Tester, P1", "1.43 h after injection", "Index 0.66, grade 3.", "volume3d 0.1.0", "Do not treat"):
        assert part in said
    assert reader.metadata is not None and reader.metadata.title == "PREDICTED 24 h IMAGE – NOT ACQUIRED"


def test_every_section_has_its_four_pictures_directions_and_marks() -> None:
    (only,) = PdfReader(BytesIO(render_page(page_contents()))).pages
    said = only.extract_text()
    assert len([image for image in only.images if image.image and image.image.size == (240, 240)]) == 12
    for heading in ("baseline (acquired)", "delayed (acquired)", "24 h PREDICTED", "increase, predicted", "0.8 x fat"):
        assert heading in said
    letters = re.findall(r"(?m)^[RLAPSI]$|(?<![\w,])[RLAPSI](?![\w,:])", said)
    assert [letters.count(letter) for letter in "RLAPSI"] == [8, 8, 8, 8, 8, 8]
    assert len(re.findall(r"PREDICTED(?! 24| h)", said)) >= 6


def test_pictures_are_kept_as_they_are() -> None:
    contents = page_contents()
    (only,) = PdfReader(BytesIO(render_page(contents))).pages
    found = [np.asarray(image.image.convert("RGB")) for image in only.images if image.image]
    for row in contents.rows:
        for panel in (*row.acquired, *row.predicted):
            assert any(shown.shape == panel.shape and (shown == panel).all() for shown in found)


def test_the_same_contents_give_the_same_bytes_and_the_date_is_the_case_s() -> None:
    page = render_page(page_contents())
    assert render_page(page_contents()) == page
    metadata = PdfReader(BytesIO(page)).metadata
    assert metadata is not None and metadata.creation_date == MADE_AT
    assert render_page(page_contents(made_at=MADE_AT + timedelta(days=1))) != page


@pytest.mark.parametrize(
    "name", ["Müller-Ångström, Zoë", "Παπαδόπουλος, Άννα", "Щербаков, Ђорђе", "Żółć, Łukasz", "Đặng, Ấn", "შოთა"]
)
def test_names_in_letters_of_europe_are_drawn(name: str) -> None:
    said = text_of_page(render_page(page_contents(name)))
    assert name in said
    assert PLACEHOLDER not in said


def test_letters_that_came_apart_are_put_together_again() -> None:
    assert "Müller" in text_of_page(render_page(page_contents("Mu\u0308ller")))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Yamada, Tarou = 山田 太郎", f"Yamada, Tarou = {PLACEHOLDER * 2} {PLACEHOLDER * 2}"),
        ("Kim = 김희중", f"Kim = {PLACEHOLDER * 3}"),
        ("أحمد", PLACEHOLDER * 4),  # the font has them, but only their isolated forms would be drawn, left to right
        ("שרה", PLACEHOLDER * 3),
    ],
)
def test_letters_that_cannot_be_drawn_leave_a_sign_that_the_page_explains(name: str, shown: str) -> None:
    said = text_of_page(render_page(page_contents(name)))
    assert shown in said
    assert f"{PLACEHOLDER}: a letter that this page's font lacks" in said


def test_a_further_font_draws_what_the_page_s_own_lacks() -> None:
    font = font_with("山田太")
    page = render_page(page_contents("Yamada, Tarou = 山田 太郎"), further_font=font)
    said = text_of_page(page)
    assert f"Yamada, Tarou = 山田 太{PLACEHOLDER}" in said
    assert f"{PLACEHOLDER}: a letter" in said
    whole = text_of_page(render_page(page_contents("山田"), further_font=font))
    assert "山田" in whole and PLACEHOLDER not in whole


def test_a_font_is_told_from_what_is_none() -> None:
    font = font_with("山")
    assert is_font(font)
    for content in (b"", b"no font", font[:200], b"OTTO" + font[4:200]):
        assert not is_font(content)


def test_a_long_name_stands_there_whole() -> None:
    assert re.sub(r"\s", "", LONG_NAME) in re.sub(r"\s", "", text_of_page(render_page(page_contents(LONG_NAME))))


@pytest.mark.parametrize("count", [1, 5, 12])
def test_warnings_stand_there_in_full(count: int) -> None:
    said = text_of_page(render_page(page_contents(warnings=warning_lines(count))))
    assert f"Warnings: {count}" in said
    assert said.count("limit at most 0.25.") == count
    assert "more:" not in said


@pytest.mark.parametrize("count", [24, 60])
def test_warnings_without_room_are_counted_and_named_as_far_as_they_go(count: int) -> None:
    said = text_of_page(render_page(page_contents(warnings=warning_lines(count))))
    in_full = said.count("limit at most 0.25.")
    assert 8 <= in_full < count
    assert f"… and {count - in_full} more: WARNING_NUMBER_{in_full}," in said
    assert count == 60 or all(f"WARNING_NUMBER_{number}" in said for number in range(count))
    assert shown_checks(said) >= 6


def test_without_warnings_it_says_so() -> None:
    assert "Warnings: none" in text_of_page(render_page(page_contents()))


def shown_checks(said: str) -> int:
    return sum(f"{check.name} {check.measured}" in said for check in CHECKS)


def test_checks_without_room_are_counted() -> None:
    said = text_of_page(render_page(page_contents()))
    shown = shown_checks(said)
    assert 15 <= shown < len(CHECKS)
    assert f"… and {len(CHECKS) - shown} more passed" in said
    assert "Checks: 60 of 60 passed" in said
    few = text_of_page(render_page(page_contents(checks=CHECKS[:5])))
    assert shown_checks(few) == 5 and "more passed" not in few


def test_failed_checks_without_room_are_counted_as_failed() -> None:
    said = text_of_page(render_page(page_contents(checks=tuple(replace(check, verdict="warn") for check in CHECKS))))
    rest = len(CHECKS) - shown_checks(said)
    assert f"… and {rest} more, {rest} of them NOT passed" in said
    assert "Checks: 0 of 60 passed" in said


def test_a_section_that_the_model_does_not_answer_is_said_to_be_missing() -> None:
    rows = (section_row("sagittal"), section_row("axial"), section_row("coronal", predicted=False))
    page = render_page(page_contents(rows=rows))
    assert "not predicted by this model" in text_of_page(page)


@needs("pdftoppm")
@pytest.mark.parametrize(
    "contents",
    [page_contents(), page_contents(LONG_NAME, **FULL)],
    ids=["plain", "all that a page can be asked to hold"],
)
def test_nothing_is_drawn_in_the_margins(contents: PageContents, tmp_path: Path) -> None:
    drawn = render_page(contents)
    ran = subprocess.run(
        [required("pdftoppm"), "-r", "127", "-gray", "-png", "-", str(tmp_path / "page")],
        input=drawn,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0 and ran.stderr == b""
    (path,) = tmp_path.glob("*.png")
    grey = np.asarray(Image.open(path).convert("L"))
    margin = int(MARGIN_MM * 5) - 2  # 127 dots to the inch are 5 to the millimetre
    inner = grey[margin:-margin, margin:-margin]
    assert inner.min() == 0
    assert (grey == 255).sum() - (inner == 255).sum() == grey.size - inner.size  # all of the margin is white
