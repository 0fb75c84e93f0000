from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import service.monitoring
from service import __version__
from service.cases import CaseOutcome, CaseState
from service.errors import Reason
from service.monitoring.access import Visitor
from service.monitoring.page import render, render_case, render_discard, render_log_in, render_message
from service.monitoring.role import Role
from service.monitoring.snapshot import (
    AssociationView,
    BrowsingView,
    CaseView,
    CheckView,
    DiskView,
    MachineView,
    PlaneView,
    SeriesChoice,
)
from tests.builders.html import Element, parse
from tests.builders.status import (
    BASELINE_UID,
    DELAYED_UID,
    FAT_DRIFT,
    INJECTION_MISSING,
    NOW,
    case,
    cases,
    predicted_view,
    snapshot,
)

REFUSED = CaseView(
    case=case(8, CaseState.DONE, outcome=CaseOutcome.REFUSED, reasons=(FAT_DRIFT,), delivered=2, deliverable=2),
    has_picture=True,
)
HELD = CaseView(
    case=case(
        4,
        CaseState.HELD,
        injection_time=None,
        hours_after_injection=None,
        baseline_series_uid="",
        reasons=(INJECTION_MISSING,),
    )
)
ANNA = Visitor(name="anna", role=Role.ACT, token="t", may_log_out=True)
SCRIPT = (Path(service.monitoring.__file__).parent / "templates" / "browse.js").read_text()
PLANES = tuple(PlaneView(name=name, count=180, middle=90, width=200, height=240) for name in ("sagittal", "axial"))
LAYERS = ("baseline", "delayed", "predicted", "increase")


def browsed(view: CaseView, *layers: str, registered: bool = True) -> CaseView:
    return replace(view, browsing=BrowsingView(layers=layers, planes=PLANES, registered=registered))


PAGES = {
    "busy": render(snapshot(), config_path="/etc/csf24.toml"),
    "idle": render(snapshot(cases=(), peers=(), last_association=None)),
    "without ledger": render(snapshot(cases=(), ledger=None, ledger_problem="the ledger failed: OperationalError")),
    "predicted": render_case(predicted_view()),
    "refused": render_case(REFUSED),
    "held": render_case(HELD),
    "predicted, with images": render_case(browsed(predicted_view(), *LAYERS)),
    "refused, with images": render_case(browsed(REFUSED, *LAYERS[:2], registered=False)),
    "held, for one who may act": render_case(
        HELD, visitor=ANNA, choices=(SeriesChoice(uid="1.2.3", text="series 301"),)
    ),
    "discard": render_discard(HELD, visitor=ANNA),
    "log-in": render_log_in(proof="p", onward="/", problem="The name or the password is not right."),
    "message": render_message("Not found", "There is no such page."),
}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())


def section(page: str, name: str) -> Element:
    return parse(page).one("section", aria_labelledby=name)


def cases_in(found: Element) -> list[str]:
    return [link.text for link in found.all("a") if link.attributes["href"].startswith("/cases/")]


def test_every_case_stands_in_the_section_of_its_state():
    page = render(snapshot())

    assert cases_in(section(page, "attention")) == ["c000000000004", "c000000000006", "c000000000005"]
    assert cases_in(section(page, "progress")) == ["c000000000001", "c000000000002", "c000000000003"]
    assert cases_in(section(page, "finished")) == ["c000000000007", "c000000000008", "c000000000009", "c00000000000a"]


def test_a_case_that_retries_by_itself_comes_after_those_that_wait_for_a_person():
    retrying = CaseView(case=case(1, CaseState.FAILED), retrying=True)
    waiting = CaseView(case=case(2, CaseState.FAILED))

    page = render(snapshot(cases=(retrying, waiting)))

    assert cases_in(section(page, "attention")) == ["c000000000002", "c000000000001"]


def test_a_held_case_says_why_and_what_to_type():
    found = section(render(snapshot(), config_path="/srv/my site/csf24.toml"), "attention").all("article")[0]

    assert "INJECTION_TIME_MISSING" in found.text
    assert INJECTION_MISSING.message in found.text
    assert "when the tracer was injected" in found.text
    command = found.one("dl").all("code")[0].text
    assert command == (
        "csf24 cases release c000000000004 --injection-time YYYY-MM-DDTHH:MM --config '/srv/my site/csf24.toml'"
    )


def test_a_measured_value_stands_beside_its_limit():
    failed = CaseView(case=case(1, CaseState.FAILED, reasons=(FAT_DRIFT,)))

    assert "Measured 0.4127, accepted at most 0.25." in section(render(snapshot(cases=(failed,))), "attention").text


def test_a_finished_case_shows_outcome_hours_delivery_and_time():
    row = section(render(snapshot()), "finished").one("tbody").all("tr")[0]

    assert row.one("th").text == "c000000000007"
    assert [cell.text for cell in row.all("td")] == ["predicted", "1.6 h", "448 of 448", "–", "12:59"]


def test_a_case_of_another_day_shows_its_date():
    row = section(render(snapshot()), "finished").one("tbody").all("tr")[2]

    assert row.all("td")[-1].text == "2026-09-09 09:43"


def test_the_page_says_that_older_cases_are_left_out():
    assert "newest 4 of 57 cases" in section(render(snapshot()), "finished").text


def test_cases_are_counted_by_where_they_stand_and_each_number_leads_to_its_list():
    tiles = parse(render(snapshot())).one("ul", aria_label="Cases").all("a")

    assert {link.text: link.attributes["href"] for link in tiles} == {
        "2 red": "#attention",
        "1 held for a person": "#attention",
        "0 waiting": "#progress",
        "0 running or sending": "#progress",
        "6 refused": "/?show=refused#finished",
        "51 sent": "/?show=sent#finished",
    }


@pytest.mark.parametrize(
    ("show", "numbers", "heading"),
    [
        ("sent", "79", "newest 2 of 51 cases"),
        ("refused", "8", "newest 1 of 6 cases"),
        ("discarded", "a", "1 case"),
        ("everything' or 1", "789a", "newest 4 of 57 cases"),
    ],
)
def test_the_finished_cases_can_be_told_apart(show: str, numbers: str, heading: str):
    found = section(render(snapshot(), show=show), "finished")

    assert cases_in(found) == [f"c00000000000{number}" for number in numbers]
    assert heading in found.text
    assert found.one("strong", aria_current="true").text == (show if " " not in show else "all")


@pytest.mark.parametrize(
    ("changes", "heading"),
    [
        ({}, "3 cases need attention"),
        ({"cases": cases()[3:4]}, "1 case needs attention"),
        ({"cases": ()}, "Ready, but no answer from PACS2"),
        ({"cases": (), "peers": ()}, "Ready; nothing needs attention"),
        ({"ledger": None}, "Not ready to receive"),
        ({"disk": DiskView(free_bytes=10**9, total_bytes=10**12, required_bytes=2 * 10**9)}, "Not ready to receive"),
    ],
)
def test_the_heading_is_the_verdict(changes, heading):
    document = parse(render(snapshot(**changes)))

    assert document.one("h1").text == heading
    assert document.one("title").text == f"{heading} – csf24"


def test_a_ledger_that_does_not_answer_is_no_empty_list():
    page = render(snapshot(cases=(), ledger=None, ledger_problem="the ledger failed: OperationalError"))

    document = parse(page)
    assert "the ledger failed: OperationalError" in document.one("div", role="status").text
    assert "cannot be shown" in document.text
    assert "No case waits for a person" not in document.text


def test_the_health_strip_names_listener_disk_queue_model_and_destinations():
    strip = parse(render(snapshot())).one("dl", aria_label="Health").text

    for fact in (
        "CSF24@10.20.1.15:11112",
        "from MODALITY1",
        "412 GB free of 960 GB",
        "2 running, 1 waiting",
        "volume3d 0.1.0",
        "CPU",
        "trained on simulated tracer",
        "ORTHANC@pacs.example.org:4242",
        "connection refused",
    ):
        assert fact in strip


def test_only_the_list_refreshes_and_only_until_it_is_stopped():
    def refreshes(page):
        return [found.attributes["content"] for found in parse(page).all("meta", http_equiv="refresh")]

    assert refreshes(render(snapshot())) == ["10"]
    assert refreshes(render(snapshot(), refreshing=False)) == []
    assert refreshes(render_case(predicted_view())) == []
    assert "/?refresh=off" in [link.attributes["href"] for link in parse(render(snapshot())).all("a")]


def test_the_page_of_a_prediction_shows_history_figures_timings_and_picture():
    document = parse(render_case(predicted_view()))

    events = document.one("ol").all("li")
    assert [event.one("strong").text for event in events][:3] == ["queued", "running", "interrupted"]
    assert "started again" in events[2].text
    assert "Two starts differ by" in document.text
    assert [row.one("th").text for row in section(render_case(predicted_view()), "timings").one("tbody").all("tr")][
        -2:
    ] == ["derive", "in all"]
    assert "37.6 s" in section(render_case(predicted_view()), "timings").text
    picture = document.one("img")
    assert picture.attributes["src"] == "/cases/c000000000007/preview.png"
    assert "predicted 24 h image" in picture.attributes["alt"]
    assert "VENTRICLES_NOT_FOUND" in section(render_case(predicted_view()), "warnings").text
    assert "0xB000" in section(render_case(predicted_view()), "deliveries").text


def test_the_page_of_a_refusal_shows_the_measured_value_and_promises_no_prediction():
    document = parse(render_case(REFUSED))

    cells = document.one("table", aria_label="Reasons").one("tbody").all("td")
    assert [cell.text for cell in cells] == [FAT_DRIFT.message, "0.4127", "at most 0.25"]
    assert "there is no prediction" in document.one("img").attributes["alt"]
    assert "csf24 cases retry c000000000008" in document.text


def test_a_held_case_without_a_pair_is_asked_for_both_series():
    assert "release c000000000004 --baseline UID --delayed UID --injection-time" in parse(render_case(HELD)).text


def test_a_case_without_a_picture_shows_none():
    assert parse(render_case(replace(predicted_view(), has_picture=False))).all("img") == []


@every_page
def test_no_series_uid_and_no_time_of_injection_is_on_a_page(page):
    assert BASELINE_UID not in page
    assert DELAYED_UID not in page
    assert "08:17" not in page


@every_page
def test_every_page_names_the_version_and_the_limit_of_use(page):
    header = parse(page).one("header").text

    assert f"version {__version__}" in header
    assert "Research use, not for diagnosis" in header


@every_page
def test_every_page_has_our_script_at_most_our_forms_and_nothing_from_outside(page):
    document = parse(page)

    assert page.count(f"<script>{SCRIPT}</script>") == len(document.all("script"))
    for form in document.all("form"):
        assert form.attributes["action"].startswith("/")
        assert form.attributes["method"] == "get" or form.all("input", type="hidden", name="proof")
    for element in document.walk():
        assert "style" not in element.attributes
        assert not any(name.startswith("on") for name in element.attributes)
        assert element.attributes.get("src", "/").startswith("/")
        assert element.attributes.get("href", "/").startswith(("/", "#"))
    assert "url(" not in document.one("style").children[0].texts[0]
    assert "@import" not in page


@every_page
def test_every_page_can_be_read_aloud(page):
    document = parse(page)

    assert document.one("html").attributes["lang"] == "en"
    assert document.one("main").attributes["id"] == "content"
    document.one("h1")
    document.one("header")
    document.one("footer")
    for cell in document.all("th"):
        assert cell.attributes["scope"] in {"col", "row"}
    for picture in document.all("img"):
        assert picture.attributes["alt"]
    assert [found for found in document.all("section") if "aria-labelledby" not in found.attributes] == []


def test_what_comes_from_outside_is_escaped():
    hostile = "<script>alert(1)</script>"
    reason = Reason(code="X", message=hostile, measured=hostile, limit='"><b>')
    view = CaseView(case=case(1, CaseState.HELD, reasons=(reason,)))

    for page in (
        render(
            snapshot(cases=(view,), last_association=AssociationView(calling_ae="<b>AE</b>", at=NOW, accepted=False)),
            config_path=hostile,
        ),
        render_case(view, config_path=hostile),
        render_message(hostile, hostile),
    ):
        document = parse(page)
        assert document.all("script") == []
        assert document.all("b") == []
        assert hostile in document.text


def test_a_clock_that_was_set_back_shows_no_negative_age():
    later = AssociationView(calling_ae="AE", at=NOW + timedelta(minutes=3), accepted=True)

    assert "Last association 0 s ago" in parse(render(snapshot(last_association=later))).text


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ("--ink", "--ground"),
        ("--soft", "--ground"),
        ("--soft", "--sheet"),
        ("--accent", "--ground"),
        ("--red", "--red-ground"),
        ("--amber", "--amber-ground"),
        ("--green", "--green-ground"),
        ("--blue", "--blue-ground"),
    ],
)
def test_text_stands_out_from_its_ground_as_wcag_asks(ink, ground):
    (package,) = service.monitoring.__path__
    style = Path(package, "templates", "style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", style))

    light, dark = _luminance(colours[ground]), _luminance(colours[ink])

    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_every_picture_of_a_prediction_is_named_as_not_acquired():
    pictures = parse(PAGES["predicted, with images"]).all("img")

    assert len(pictures) == 2 * 5  # four layers and an overlay in two planes
    for picture in pictures:
        predicted = any(f"/{layer}/" in picture.attributes["src"] for layer in ("predicted", "increase"))
        assert ("not acquired" in picture.attributes["alt"]) is predicted


def test_a_refused_case_shows_what_was_received_and_where_it_lay():
    text = section(PAGES["refused, with images"], "images-title").text

    assert "There is no prediction." in text
    assert "before the two were aligned" in text
    assert not parse(PAGES["refused, with images"]).all("img", src=f"/cases/{REFUSED.case.case_id}/preview.png")


def test_a_prediction_of_single_planes_is_seen_in_the_preview():
    view = predicted_view()
    preview = f"/cases/{view.case.case_id}/preview.png"

    assert parse(render_case(browsed(view, *LAYERS[:2]))).one("img", src=preview)
    assert not parse(render_case(browsed(view, *LAYERS))).all("img", src=preview)
    assert parse(render_case(view)).one("img", src=preview)


def test_a_simulated_patient_is_called_so():
    page = render_case(replace(browsed(predicted_view(), *LAYERS), simulated_patient=True))

    assert "SIMULATED PATIENT, no patient exists" in parse(page).text
    assert "simulated patient" not in parse(PAGES["predicted, with images"]).text.lower()


def test_checks_that_failed_come_first_and_say_their_code():
    checks = tuple(
        CheckView(code=code, measures=code.lower(), measured=1.0, limit="at least 2", verdict=verdict)
        for code, verdict in (("GOOD", "pass"), ("ODD", "warn"), ("BAD", "reject"), ("FINE", "pass"))
    )
    found = section(render_case(replace(REFUSED, checks=checks)), "checks")

    assert "1 rejected, 1 warned, 2 passed" in found.text
    rows = found.one("tbody").all("tr")
    assert [row.one("th").children[0].text for row in rows] == ["bad", "odd", "good", "fine"]
    assert rows[0].one("code").text == "BAD"
    assert not rows[2].all("code")


@pytest.mark.parametrize(
    ("view", "actions"),
    [
        (HELD, {"release", "discard"}),
        (REFUSED, {"retry"}),
        (predicted_view(), set()),
        (CaseView(case=case(6, CaseState.FAILED)), {"retry", "discard"}),
        (CaseView(case=case(1, CaseState.RUNNING)), {"discard"}),
        (CaseView(case=case(2, CaseState.DISCARDED)), set()),
    ],
)
def test_only_buttons_that_the_case_allows_are_there(view: CaseView, actions: set[str]):
    page = parse(render_case(view, visitor=ANNA))
    forms = {form.attributes["action"].rpartition("/")[2] for form in page.all("form", method="post")}
    links = {link.attributes["href"].rpartition("/")[2] for link in page.all("a", class_="button danger")}

    assert (forms | links) - {"logout"} == actions
    assert not parse(render_case(view)).all("form", method="post")


def machine(name: str, state: str, *roles: str) -> MachineView:
    return MachineView(name=name, host=name, roles=roles, state=state, heard_at=NOW - timedelta(minutes=2))


def test_of_several_machines_each_is_named_and_the_lost_are_told_of() -> None:
    alive, lost = machine("a-0", "alive", "listen"), machine("b-0", "lost", "work")
    page = render(snapshot(machines=(alive, lost), cases=(), peers=()))
    assert "Ready, but nothing is heard of b-0" in page
    assert "1 missing" in page and "a-0 (listen)</dd>" in page and "b-0 (work): lost, last heard of 2 min ago" in page
    assert "Machines" not in render(snapshot(machines=(alive,)))


def test_a_process_with_one_role_says_what_is_elsewhere() -> None:
    only_works = render(snapshot(listener=None))
    assert "This process only works" in only_works
    only_listens = render(snapshot(queue=None, model=None, cases=()))
    assert "This process only listens" in only_listens
    assert "Ready" in only_listens
