"""The pages in a real browser: accessible to axe-core, usable by keyboard, and whole without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page

from service.case_actions import CaseActions
from service.cases import CaseState
from service.config import Config
from service.monitoring.access import LogIn
from service.monitoring.role import Role
from service.monitoring.server import StatusServer
from service.monitoring.users_file import UsersFile, set_user
from tests.builders.chromium import chromium, violations
from tests.builders.programs import needs, wait_until
from tests.builders.ward import Ward

pytestmark = [needs("chromium"), pytest.mark.slow, pytest.mark.xdist_group("browser")]
PASSWORD = "correct horse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    ward: Ward
    url: str
    predicted: str
    refused: str
    held: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    ward = Ward(root / "data")
    predicted, refused, held = ward.predicted(), ward.refused(), ward.held()
    ward.compared(predicted)
    set_user(root / "users", "anna", Role.ACT, PASSWORD)

    def now() -> datetime:
        return datetime.now(UTC)

    access = LogIn(UsersFile(root / "users"), lasting=timedelta(hours=8), proxies=(), secure=False, now=now)
    server = StatusServer("127.0.0.1", 0, ward.source, access=access, actions=CaseActions(ward.ledger, Config(), now))
    server.start()
    yield Site(ward=ward, url=f"http://127.0.0.1:{server.port}", predicted=predicted, refused=refused, held=held)
    server.stop()
    ward.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """Logged in; anything that the browser complains of fails the test."""
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    enter(page, site)
    yield page
    context.close()
    # Answers that refuse are what some tests are about; scripts and styles that the policy forbids are not.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


def enter(page: Page, site: Site) -> None:
    """By keyboard alone: the name has the focus from the start."""
    page.goto(f"{site.url}/login")
    page.locator("input:focus").wait_for()  # keys typed sooner go nowhere
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.locator("input[type=password]:focus").wait_for()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/")


def shown(page: Page) -> list[str]:
    """Sources of the images that were really loaded."""
    wait_until(lambda: page.evaluate("Array.from(document.images).every(i => i.complete && i.naturalWidth > 100)"))
    sources: list[str] = page.evaluate("Array.from(document.images).map(i => i.src)")
    return sources


def test_no_page_has_anything_that_axe_core_objects_to(page: Page, site: Site, browser: Browser) -> None:
    failed = site.ward.failed(7)
    found = {}
    paths = ["/?refresh=off", *(f"/cases/{case}" for case in (site.predicted, site.refused, site.held, failed))]
    for path in (*paths, f"/cases/{failed}/discard", "/cases/c0000000000ff", "/trends"):
        page.goto(site.url + path)
        found[path] = violations(page)
    stranger = browser.new_context().new_page()
    stranger.goto(site.url)
    found["log-in"] = violations(stranger)

    assert {path: problems for path, problems in found.items() if problems} == {}


def test_the_slider_leafs_by_keyboard_and_tells_screen_readers_where_it_is(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/cases/{site.predicted}")
    before = shown(page)
    assert len(before) == 18  # five layers and an overlay in three planes
    slider = page.locator("#axial")
    start = int(slider.input_value())
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    moved = page.locator(f"#axial-row img[src$='/{start + 3}.png']")
    wait_until(lambda: moved.count() == 6)

    after = shown(page)
    assert sum(source.endswith(f"/axial/{start + 3}.png") for source in after) == 6
    assert [s for s in after if "/axial/" not in s] == [s for s in before if "/axial/" not in s]
    assert slider.get_attribute("aria-valuetext") == page.locator("#axial-row output").inner_text()
    count = int(str(slider.get_attribute("max"))) + 1
    assert 200 < count < 240  # mm, from vertex to neck
    assert str(page.locator("#axial-row img").first.get_attribute("alt")).endswith(f"section {start + 4} of {count}")
    assert f"axial={start + 3}" in page.url  # reloading shows the same
    page.locator("input[value=edges]").check()
    wait_until(lambda: page.locator("img[src*=edges]").count() == 3)
    assert len(shown(page)) == 18


def test_without_scripts_links_and_the_form_do_the_same(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    enter(page, site)
    page.goto(f"{site.url}/cases/{site.predicted}?axial=100")
    page.get_by_role("link", name="axial section +10").click()
    page.wait_for_load_state("networkidle")
    assert page.locator("#axial-row output").inner_text().startswith("111 of 2")
    page.locator("#coronal").fill("42")
    page.locator("#coronal-row button").click()
    page.wait_for_load_state("networkidle")

    assert page.locator("#coronal-row output").inner_text() == "43 of 240"
    assert page.locator("#axial-row output").inner_text().startswith("111 of 2")
    context.close()


def test_a_refused_case_shows_what_was_found_and_no_prediction(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/cases/{site.refused}")

    assert {source.split("/")[-3] for source in shown(page)} == {"baseline", "delayed", "checkerboard"}
    first = page.locator("table").filter(has=page.get_by_text("Verdict")).locator("tbody tr").first
    assert "NO_TRACER" in first.inner_text() and "reject" in first.inner_text()
    assert "There is no prediction" in page.locator("#images").inner_text()


def test_a_held_case_is_released_with_the_chosen_pair(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/cases/{site.held}")
    page.locator("#delayed").select_option(index=3)
    page.get_by_role("button", name="Release and convert").click()
    page.wait_for_load_state("networkidle")

    assert "released by anna on the status page" in page.inner_text("main")
    assert site.ward.ledger.cases.case(page.url.rpartition("/")[2]).state is CaseState.QUEUED


def test_another_site_cannot_press_a_button(page: Page, site: Site) -> None:
    """The browser sends the cookie along only where the site is the same; here even that is given away."""
    case_id = site.ward.failed(8)
    form = f"<form id=f method=post action='{site.url}/cases/{case_id}/discard'><input name=proof value=x></form>"
    page.goto(f"data:text/html,{form}")
    page.evaluate("document.getElementById('f').submit()")
    page.wait_for_load_state("networkidle")

    assert site.ward.ledger.cases.case(case_id).state is CaseState.FAILED
