from __future__ import annotations

import re
import time
from pathlib import Path

from service.batch.cases import BatchCase, DicomCase
from service.batch.overview import OVERVIEW_NAME, overview_of, write_overview
from service.cases import CaseOutcome
from service.errors import Reason
from service.report import Json, bare_report, series_report
from tests.builders.batch import cases_below, request_for, small_pair
from tests.builders.overview import NO_TRACER, case_of, predicted, refused


def page(*rows: tuple[BatchCase, Json], planned: int | None = None) -> str:
    return overview_of(rows, request_for(Path()), planned=len(rows) if planned is None else planned)


def row_of(case_id: str, html: str) -> str:
    (found,) = (row for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if f">{case_id}</a>" in row)
    return str(found)


def test_a_predicted_case_shows_preview_hours_grade_marks_and_time() -> None:
    row = row_of("one", page(predicted("one"), refused("two")))
    assert 'src="one/preview.png"' in row
    for said in (">1.43<", ">3<", ">12.3<", "SIMULATED TRAINING", "SIMULATED PATIENT", "nothing to report"):
        assert said in row, said
    plain = row_of("one", page(predicted("one", simulated=False)))
    assert "SIMULATED" not in plain


def test_a_page_for_print_is_linked_where_there_is_one() -> None:
    paged = page(predicted("one", outputs=["predicted/0001.dcm", "preview.png", "report.pdf"]), predicted("two"))
    assert 'href="one/report.pdf"' in row_of("one", paged)
    assert "report.pdf" not in row_of("two", paged)


def test_reasons_and_warnings_stand_there_in_words_with_their_figures() -> None:
    warning = {"code": "SCANNER_DIFFERS", "message": "Two scanners.", "measured": None, "limit": None}
    html = page(refused("two"), predicted("one", warnings=[warning]))
    assert re.search(r"NO_TRACER</code>: No tracer is seen\. <span.*?>\(measured 0\.01235, limit 0\.05\)", html)
    assert "<strong>Warning</strong> <code>SCANNER_DIFFERS</code>: Two scanners." in html
    assert "preview.png" not in row_of("two", html)


def test_what_needs_looking_at_comes_first_and_what_is_to_come_is_counted() -> None:
    failed = (case_of("x"), bare_report("x", CaseOutcome.FAILED, (NO_TRACER,), "0.1.0"))
    html = page(predicted("a"), refused("b"), failed, planned=7)
    assert [html.index(f'<h2 id="{name}">') for name in ("failed", "refused", "predicted")] == sorted(
        html.index(f'<h2 id="{name}">') for name in ("failed", "refused", "predicted")
    )
    assert "4 not yet done" in html
    assert "not yet done" not in page(predicted("a"))


def test_everything_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'&"
    reason = Reason(code="<b>", message=evil, measured=evil, limit=evil)
    html = page(refused("a", evil, reason=reason))
    assert "<script" not in html and "<b>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") == 4


def test_it_holds_nothing_of_the_patient_that_the_summary_does_not_hold(tmp_path: Path) -> None:
    small_pair(tmp_path / "src", "PATIENT7")
    (case,) = cases_below(tmp_path / "src")
    assert isinstance(case, DicomCase)
    _, report = predicted(case.case_id)
    report |= {"baseline": series_report(case.baseline.facts), "delayed": series_report(case.delayed.facts)}
    html = page((case, report))
    assert html.count("PATIENT7") == 2  # the two folders, which summary.csv names too
    assert case.baseline.facts.study_instance_uid not in html
    assert str(case.baseline.facts.acquired_at.year) not in html.replace("run of 2024-06-01", "")  # type: ignore[union-attr]


def test_it_needs_neither_scripts_nor_anything_from_elsewhere() -> None:
    html = page(predicted("a"), refused("b"))
    assert "<script" not in html and "http" not in html
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) == {
        "#predicted", "#refused", "a/report.json", "a/preview.png", "b/report.json", "summary.csv",
    }  # fmt: skip


def test_a_page_of_two_hundred_patients_is_small_and_quick(tmp_path: Path) -> None:
    rows = [predicted(f"case-{number}") for number in range(200)]
    page(*rows[:1])  # the template is compiled once
    start = time.monotonic()
    write_overview(rows, request_for(tmp_path), planned=200)
    assert time.monotonic() - start < 1
    assert [path.name for path in tmp_path.iterdir()] == [OVERVIEW_NAME]
    assert (tmp_path / OVERVIEW_NAME).stat().st_size < 400_000
