"""What the page for print says of a case, from the facts of its conversion."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from service.case_page import PageFacts, check_lines, page_contents, with_page
from service.case_preview import NOTHING_SHOWN, Shown
from service.cases import CaseOutcome
from service.errors import Reason
from service.imaging.quality import Check, QualityReport
from service.imaging.recipe_types import SignalReference
from service.imaging.reflux import Reflux
from service.imaging.volume import Grid, Volume
from service.inference.manifest import ModelManifest, load_manifest
from service.page.contents import PageContents
from service.pictures.preview import PreviewSource
from service.pipeline import Outcome
from service.report import CaseFacts, SeriesFacts
from tests.builders.models import tiny_model
from tests.builders.page import text_of_page

MADE_AT = datetime(2024, 5, 14, 13, 37, tzinfo=UTC)
SERIES = SeriesFacts(
    series_instance_uid="1.2.3", study_instance_uid="1.2", acquired_at=datetime(2024, 5, 14, 10, 35), instances=7
)
CASE = CaseFacts(
    case_id="c0123456789ab",
    baseline=replace(SERIES, acquired_at=datetime(2024, 5, 14, 8, 0)),
    delayed=SERIES,
    injection_time=datetime(2024, 5, 14, 9, 10),
    hours_after_injection=1.4294,
    software_version="0.1.0",
)
FACTS = PageFacts(patient=(("Patient", "Tester, P1"),), warnings=(), made_at=MADE_AT)
REFLUX = Reflux(
    index=0.6557,
    grade_24h="3",
    interval=(0.027, 9.21),
    ventricle_mm=0.05,
    subarachnoid_mm=0.08,
    third_ventricle_mm=float("nan"),
    suprasellar_mm=0.1,
)


def check(code: str, *, passed: bool = True, measured: float | None = 0.12345) -> Check:
    return Check(code=code, passed=passed, action="WARN", message="Look.", measured=measured, limit="at most 0.2")


@pytest.fixture
def manifest(tmp_path: Path) -> ModelManifest:
    return load_manifest(tiny_model(tmp_path, (1, 1, 8, 8)))


def outcome(*checks: Check, reflux: Reflux | None = REFLUX, kind: str = "orbital_fat") -> Outcome:
    return Outcome(
        result=CaseOutcome.PREDICTED,
        reasons=(),
        checks=QualityReport(checks=checks),
        anatomy=None,
        registration=None,
        fat_baseline=None,
        fat_delayed=None,
        reference=SignalReference(baseline=1000.0, delayed=900.0, kind=kind),  # type: ignore[arg-type]
        restored=None,
        reflux=reflux,
        timings_s={},
    )


def source() -> PreviewSource:
    grid = Grid.axis_aligned((20, 20, 20), 8.0, np.zeros(3))
    volume = Volume(np.random.default_rng(1).uniform(0, 1000, grid.shape).astype(np.float32), grid)
    return PreviewSource(
        baseline=volume,
        delayed=volume,
        transform=None,
        centre=np.zeros(3),
        fat_baseline=1000.0,
        fat_delayed=900.0,
        predicted=(volume,),
        increase=(volume,),
    )


def contents(
    manifest: ModelManifest, course: Outcome | None = None, case: CaseFacts = CASE, **facts: object
) -> PageContents:
    return page_contents(case, course or outcome(), source(), manifest, replace(FACTS, **facts))  # type: ignore[arg-type]


def finding(found: PageContents, heading: str) -> str:
    (text,) = (text for name, text in found.findings if name.startswith(heading))
    return text


def test_it_says_what_is_simulated_and_what_it_replaces(manifest: ModelManifest) -> None:
    trained = replace(manifest, simulated_training=True)
    said = " ".join(contents(trained, case=replace(CASE, simulated_patient=True), replaces=1).cautions)
    for caution in ("Research use, not for diagnosis", "SIMULATED TRAINING", "SIMULATED PATIENT", "Rev 2, REPLACES"):
        assert caution in said
    plain = contents(replace(manifest, simulated_training=False))
    assert plain.cautions == ("Research use, not for diagnosis.",)
    assert "NOT ACQUIRED" in plain.title


def test_times_are_those_of_the_case(manifest: ModelManifest) -> None:
    assert dict(contents(manifest).times) == {
        "Injection": "2024-05-14 09:10",
        "Baseline": "2024-05-14 08:00",
        "Delayed scan": "2024-05-14 10:35, 1.43 h after injection",
        "Case": "c0123456789ab, converted 2024-05-14 13:37 +0000",
    }


def test_input_without_header_has_no_patient_and_no_times(manifest: ModelManifest) -> None:
    nothing = replace(SERIES, acquired_at=None)
    case = replace(CASE, baseline=nothing, delayed=nothing, injection_time=None)
    found = contents(manifest, case=case, patient=())
    assert found.patient == (("Patient", "not stated: the input is not DICOM"),)
    assert dict(found.times)["Injection"] == "not stated"
    assert dict(found.times)["Delayed scan"] == "time not stated, 1.43 h after injection"


def test_failed_checks_come_first_then_those_a_reader_looks_for_and_none_is_left_out() -> None:
    made = (check("MATRIX_TOO_LARGE"), check("NO_TRACER"), check("LOW_SNR"), check("LOW_SNR", passed=False))
    found = check_lines(QualityReport(checks=made))
    assert [(line.name, line.verdict) for line in found] == [
        ("Signal over noise, delayed", "warn"),
        ("Brightening of the basal fluid", "pass"),
        ("Signal over noise, baseline", "pass"),
        ("Size of the volume, baseline", "pass"),
    ]
    assert {line.measured for line in found} == {"0.1235"}
    (unmeasured,) = check_lines(QualityReport(checks=(check("NO_TRACER", measured=None),)))
    assert unmeasured.measured == "–"


def test_reflux_has_its_interval_and_its_caution(manifest: ModelManifest) -> None:
    said = finding(contents(manifest), "Reflux")
    assert said.startswith("Index 0.66 (interval 0.03 to 9.21), grade 3.")
    assert "no rater has validated" in said
    unsure = finding(contents(manifest, outcome(reflux=replace(REFLUX, grade_range=("0", "4")))), "Reflux")
    assert "grade 3 (bounds allow 0 to 4)." in unsure
    for none in (None, replace(REFLUX, index=None)):
        ungraded = finding(contents(manifest, outcome(reflux=none)), "Reflux")
        assert ungraded.startswith("Not gradable") and "no rater has validated" in ungraded


def test_the_model_is_named_with_its_hash_and_what_the_signal_rests_on(manifest: ModelManifest) -> None:
    said = finding(contents(manifest), "Model")
    assert f"{manifest.name} {manifest.version}, SHA-256 {manifest.sha256[:16]}…" in said
    assert "orbital fat" in said
    assert "white matter in place of orbital fat" in finding(contents(manifest, outcome(kind="white_matter")), "Model")


def test_warnings_have_their_figures(manifest: ModelManifest) -> None:
    given = Reason(code="FAT_VARIABLE", message="Orbital fat varies.", measured=0.31234, limit="at most 0.25")
    bare = Reason(code="SCANNER_DIFFERS", message="Two scanners.")
    first, second = contents(manifest, warnings=(given, bare)).warnings
    assert (first.code, first.text) == ("FAT_VARIABLE", "Orbital fat varies. Measured 0.3123, limit at most 0.25.")
    assert second.text == "Two scanners."


def test_the_page_is_drawn_of_a_prediction_only(manifest: ModelManifest) -> None:
    shown = with_page(Shown(source=source(), preview=b"png"), CASE, outcome(check("NO_TRACER")), manifest, FACTS)
    assert shown.preview == b"png" and shown.page is not None
    assert "Tester, P1" in text_of_page(shown.page)
    refused = Shown(source=replace(source(), predicted=(), increase=()))
    for nothing in (NOTHING_SHOWN, refused):
        with pytest.raises(ValueError, match="no prediction"):
            with_page(nothing, CASE, outcome(), manifest, FACTS)
