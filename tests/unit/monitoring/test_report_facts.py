from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from service.cases import CaseOutcome
from service.check_words import MEASURES
from service.errors import Reason
from service.imaging.quality_limits import LIMITS
from service.inference.manifest import load_manifest
from service.inference.predictor import ModelIdentity
from service.monitoring.report_facts import checks, fact_groups, stage_seconds, warnings
from service.report import CaseFacts, SeriesFacts, bare_report, case_report
from tests.builders.models import tiny_model

SERIES = SeriesFacts(
    series_instance_uid="1.2.826.0.1.3680043.8.498.11",
    study_instance_uid="1.2.826.0.1.3680043.8.498.1",
    acquired_at=datetime(2026, 9, 10, 7, 59, tzinfo=UTC),
    instances=224,
)
WARNING = Reason(code="FAT_SMALL", message="Little orbital fat was found.", measured=90.0, limit="at least 200")


def report(tmp_path: Path) -> dict[str, object]:
    return case_report(
        CaseFacts(
            case_id="c000000000001",
            baseline=SERIES,
            delayed=SERIES,
            injection_time=datetime(2026, 9, 10, 8, 17, tzinfo=UTC),
            hours_after_injection=1.6,
            software_version="0.1.0",
        ),
        CaseOutcome.PREDICTED,
        reasons=(),
        warnings=(WARNING,),
        identity=ModelIdentity(name="tiny", version="0.0.1", sha256="ab" * 32, provider="CPUExecutionProvider"),
        manifest=load_manifest(tiny_model(tmp_path, (1, 1, 8, 8))),
        course=None,
        timings_s={"read": 1.5, "registration": 16.25},
    )


def test_a_report_as_the_conversion_writes_it_is_understood(tmp_path):
    groups = {group.title: dict(group.rows) for group in fact_groups(report(tmp_path))}

    assert groups["Model"]["Name"] == "tiny"
    assert groups["Model"]["Execution provider"] == "CPUExecutionProvider"
    assert groups["Series"]["Baseline instances"] == "224"
    assert groups["Signal reference (orbital fat)"] == {"Mode": "fat_global"}
    assert groups["Ventricular reflux at 24 h, predicted"] == {"Grade": "not gradable"}
    assert "Registration" not in groups


def test_the_figures_of_a_registration_keep_their_units():
    found = {"registration": {"rotation_deg": 3.41159, "two_start_mm": 0.0801, "matrix": [[1, 0], [0, 1]]}}

    (group,) = fact_groups(found)

    assert group.rows == (("Rotation", "3.412°"), ("Two starts differ by", "0.0801 mm"))


def test_an_interval_is_spelled_from_end_to_end():
    (group,) = fact_groups({"reflux": {"index": 0.31, "grade_24h": 2, "interval": [0.2, None]}})

    assert group.rows == (("Grade", "2"), ("Index", "0.31"), ("Interval", "0.2 to –"))


def test_neither_uid_nor_time_nor_hash_is_taken_over(tmp_path):
    text = repr(fact_groups(report(tmp_path)))

    assert "1.2.826" not in text
    assert "2026" not in text


def test_stages_come_without_their_total(tmp_path):
    assert stage_seconds(report(tmp_path)) == {"read": 1.5, "registration": 16.25}


def test_warnings_are_read_back(tmp_path):
    assert warnings(report(tmp_path)) == (WARNING,)


def test_the_report_of_a_case_that_was_never_looked_at_has_no_facts():
    bare = bare_report("c000000000001", CaseOutcome.FAILED, (), "0.1.0")

    assert fact_groups(bare) == ()
    assert stage_seconds(bare) == {}
    assert warnings(bare) == ()


def test_every_check_that_can_be_made_has_its_figure_in_words() -> None:
    assert set(MEASURES) == set(LIMITS)


def test_checks_say_which_series_they_were_made_on_and_how_they_ended() -> None:
    def made(code: str, *, passed: bool = True, action: str = "REJECT") -> dict[str, object]:
        return {"code": code, "passed": passed, "action": action, "measured": 1.0, "limit": "at least 1"}

    found = checks(
        {
            "checks": [
                made("NOT_FINITE"),
                made("NOT_FINITE"),
                made("BRAIN_VOLUME", passed=False),
                made("ORBITS_NOT_FOUND", passed=False, action="WARN"),
                made("PREDICTION_DARKENS"),
                made("PREDICTION_DARKENS"),
                made("NEW_IN_A_LATER_VERSION"),
            ]
        }
    )
    assert [check.verdict for check in found] == ["pass", "pass", "reject", "warn", "pass", "pass", "pass"]
    assert [check.measures.partition(",")[2] for check in found[:6]] == [
        " baseline", " delayed", "", "", " sagittal", " axial",
    ]  # fmt: skip
    assert found[-1].measures == "NEW_IN_A_LATER_VERSION"
    assert checks({}) == ()
