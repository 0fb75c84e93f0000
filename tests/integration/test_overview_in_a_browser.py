"""overview.html as a browser shows it, from the file: no server, no scripts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from service.batch.overview import OVERVIEW_NAME, write_overview
from service.cases import CaseOutcome
from service.errors import Reason
from service.report import bare_report
from tests.builders.batch import request_for
from tests.builders.chromium import chromium, violations
from tests.builders.overview import case_of, predicted, refused
from tests.builders.programs import needs, wait_until

pytestmark = [needs("chromium"), pytest.mark.xdist_group("browser")]
LONG = Reason(code="BASELINE_NOT_BEFORE_INJECTION", message="A sentence of some length that has to be broken. " * 4)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a failed, three refused and 200 predicted cases."""
    out = tmp_path_factory.mktemp("results")
    picture = io.BytesIO()
    Image.fromarray(np.full((814, 972, 3), 90, dtype=np.uint8)).save(picture, format="PNG")
    rows = [(case_of("f"), bare_report("f", CaseOutcome.FAILED, (LONG,), "0.1.0"))]
    rows += [refused(f"r{number}", "/data/" + "a-folder-with-a-long-name/" * 5) for number in range(3)]
    rows += [predicted(f"c{number:012x}") for number in range(200)]
    for case, report in rows:
        if report["outputs"]:
            (out / case.case_id).mkdir()
            (out / case.case_id / "preview.png").write_bytes(picture.getvalue())
    write_overview(rows, request_for(out), planned=len(rows) + 1)
    return out


@pytest.fixture
def page(results: Path) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.goto((results / OVERVIEW_NAME).as_uri())
        yield page


def test_axe_core_objects_to_nothing_wide_or_narrow(page: Page) -> None:
    assert violations(page) == []
    page.set_viewport_size({"width": 400, "height": 800})
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_previews_are_shown_when_they_come_into_view_and_not_all_at_once(page: Page) -> None:
    loaded = "Array.from(document.images).filter(i => i.complete && i.naturalWidth == 972).length"
    assert page.evaluate("document.images.length") == 200
    assert page.evaluate(loaded) < 100
    page.locator("img").last.scroll_into_view_if_needed()
    wait_until(lambda: page.evaluate("document.images[199].complete && document.images[199].naturalWidth == 972"))


def test_the_counts_lead_to_their_cases(page: Page) -> None:
    page.get_by_role("link", name="200 predicted").click()
    assert page.url.endswith("#predicted")
    page.get_by_role("heading", name="Predicted").wait_for()
