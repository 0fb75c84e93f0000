"""Results beside their baseline in a web viewer of others: Cornerstone3D, with its metadata and its synchroniser."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.builders.chromium import chromium
from tests.builders.cornerstone import served, viewer
from tests.builders.patients import SHIPPED, baseline_series, delayed_series, write
from tests.builders.programs import needs
from tests.builders.service_process import csf24

pytestmark = [
    needs("chromium"), pytest.mark.slow, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600),
]  # fmt: skip
KINDS = ("baseline", "secondary", "mr")
PREDICTED = KINDS[1:]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is served; `sides` are the letters at the edges of its images as they were cut."""

    folder: Path
    files: dict[str, list[str]]
    slices: int
    sides: dict[str, str]


@dataclass(frozen=True)
class Shown:
    """The page with the three series; `planes` are what the viewer knows of each, in its order."""

    page: Page
    planes: dict[str, list[dict[str, Any]]]

    def scroll(self, name: str, index: int) -> dict[str, dict[str, Any]]:
        """Scroll one view; what all of them show then."""
        found: dict[str, dict[str, Any]] = self.page.evaluate("([name, index]) => scroll_(name, index)", [name, index])
        return found

    def picture(self, name: str) -> np.ndarray:
        """The canvas, grey values from 0 to 255, without the marks that the page lays over it."""
        canvas = self.page.locator(f"#{name} canvas").first
        self.page.evaluate("document.querySelectorAll('.mark').forEach(mark => { mark.hidden = true; })")
        try:
            content = canvas.screenshot()
        finally:
            self.page.evaluate("document.querySelectorAll('.mark').forEach(mark => { mark.hidden = false; })")
        return np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=float)


SIDES = {
    "sagittal": {"top": "H", "bottom": "F", "left": "A", "right": "P"},
    "axial": {"top": "A", "bottom": "P", "left": "R", "right": "L"},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module", params=SIDES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The viewer and, in folders beside it, a patient: the baseline's files, and those of both kinds of results."""
    root = tmp_path_factory.mktemp(request.param)
    shutil.copytree(viewer(), root / "site")
    if request.param == "sagittal":
        shutil.unpack_archive(SHIPPED, root / "source", "zip")
    else:
        write(baseline_series(), root / "source" / "1")
        write(delayed_series(), root / "source" / "2")
    (root / "csf24.toml").write_text("[outputs]\nmr_image = true\n")
    done = csf24("convert", "source", "--out", "results", "--config", "csf24.toml", cwd=root)
    assert done.returncode == 0, done.stderr
    (report,) = (json.loads(path.read_text()) for path in (root / "results").glob("*/report.json"))
    files: dict[str, list[str]] = {name: [] for name in KINDS}
    for path in [*(root / "source").rglob("*.dcm"), *(root / "results").glob("*/predicted/*.dcm")]:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        kind = "baseline"
        if "results" in path.parts:
            kind = "secondary" if header.Modality == "OT" else "mr"
        elif header.SeriesInstanceUID != report["baseline"]["series_instance_uid"]:
            continue
        name = f"{kind}/{hashlib.sha256(header.SOPInstanceUID.encode()).hexdigest()[:12]}.dcm"  # in no order of theirs
        (root / "site" / kind).mkdir(exist_ok=True)
        shutil.copy(path, root / "site" / name)
        files[kind].append(name)
    return Site(
        folder=root / "site",
        files={kind: sorted(names) for kind, names in files.items()},
        slices=report["baseline"]["instances"],
        sides=SIDES[request.param],
    )


@pytest.fixture(scope="module")
def shown(site: Site, browser: Browser) -> Iterator[Shown]:
    page = browser.new_context(viewport={"width": 1180, "height": 460}).new_page()
    complaints: list[str] = []
    elsewhere: list[str] = []
    with served(site.folder) as url:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: elsewhere.append(sent.url) if not sent.url.startswith((url, "blob:")) else None)
        page.goto(f"{url}/page.html")
        page.wait_for_function("window.ready_ === true")
        yield Shown(page, page.evaluate("files => open_(files)", site.files))
        page.context.close()
    assert (complaints, elsewhere) == ([], [])


def test_every_series_falls_into_the_same_places_in_the_same_order(shown: Shown, site: Site) -> None:
    baseline = shown.planes["baseline"]
    assert len(baseline) == site.slices > 100
    for kind in PREDICTED:
        assert len(shown.planes[kind]) == site.slices
        for made, given in zip(shown.planes[kind], baseline, strict=True):
            assert made["frame"] == given["frame"]
            assert made["size"] == given["size"]
            for name in ("position", "rows", "columns", "spacing"):
                np.testing.assert_allclose(made[name], given[name], atol=1e-4)


@pytest.mark.parametrize("kind", PREDICTED)
def test_a_viewer_that_orders_by_instance_number_has_the_same_order(shown: Shown, kind: str) -> None:
    numbers = [plane["number"] for plane in shown.planes[kind]]
    assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
    given = [plane["number"] for plane in shown.planes["baseline"]]
    assert (numbers == sorted(numbers)) == (given == sorted(given))


def test_views_that_the_viewer_joins_stay_in_step_whichever_is_scrolled(shown: Shown, site: Site) -> None:
    last = site.slices - 1
    for scrolled, index in (("baseline", 64), ("secondary", 20), ("mr", 101), ("baseline", 0), ("secondary", last)):
        found = shown.scroll(scrolled, index)
        for kind in KINDS:
            assert found[kind]["index"] == index, (scrolled, kind)
            np.testing.assert_allclose(found[kind]["position"], found["baseline"]["position"], atol=1e-4)


def test_orientation_labels_agree(shown: Shown, site: Site) -> None:
    found = shown.scroll("baseline", 64)
    assert [found[kind]["labels"] for kind in KINDS] == [site.sides] * 3


@pytest.mark.parametrize("index", [40, 64, 88])
def test_the_first_window_shows_a_head_neither_black_nor_white(shown: Shown, index: int) -> None:
    shown.scroll("baseline", index)
    given = shown.picture("baseline")
    for kind in PREDICTED:
        picture = shown.picture(kind)
        assert picture.shape == given.shape
        below = picture[picture.shape[0] // 4 :]  # of the banner
        assert 0.2 < (below > 25).mean() < 0.9  # air around a head
        assert (below > 250).mean() < 0.05
        assert np.ptp(np.percentile(below, [5, 95])) > 80


@pytest.mark.parametrize("kind", PREDICTED)
def test_the_banner_can_be_seen_on_every_image_and_stands_on_none_of_the_baseline(
    shown: Shown, site: Site, kind: str
) -> None:
    for index in (0, 32, 64, 96, site.slices - 1):
        shown.scroll("baseline", index)
        top = slice(0, shown.picture(kind).shape[0] // 4)
        made, given = shown.picture(kind)[top], shown.picture("baseline")[top]
        # Letters: many steps between dark and bright along a row, of which a head's or the air's has few.
        steps = [(np.abs(np.diff(picture, axis=1)) > 100).sum() for picture in (made, given)]
        assert steps[0] > 300 > 5 * steps[1], (index, steps)


@pytest.mark.parametrize("kind", PREDICTED)
def test_the_description_that_the_viewer_shows_says_that_it_was_predicted(shown: Shown, kind: str) -> None:
    assert shown.scroll("baseline", 64)[kind]["description"].startswith("PREDICTED 24 h T1")
