from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from service.batch.cases import DicomCase, NiftiCase, RefusedCase, SeriesNote
from service.batch.convert_case import convert_case, finished_report, request_key, write_refused
from service.batch.sources import FileSource
from service.cases import CaseOutcome
from service.conversion import Conversion
from service.errors import Reason
from service.inference.manifest import load_manifest
from service.inference.predictor import ModelIdentity
from service.monitoring.report_facts import fact_groups
from service.report import CaseFacts, SeriesFacts, bare_report, case_report
from tests.builders.batch import ToldConverter, cases_below, request_for, small_pair
from tests.builders.models import tiny_model
from tests.builders.patients import BASELINE_AT, INJECTED_AT

MISSING = Reason(code="BASELINE_MISSING", message="None was received.", measured=None, limit="before the injection")
FACTS = SeriesFacts(series_instance_uid="1.2.3", study_instance_uid="1.2", acquired_at=BASELINE_AT, instances=7)


@pytest.fixture
def case(tmp_path: Path) -> DicomCase:
    small_pair(tmp_path / "src")
    (found,) = cases_below(tmp_path / "src")
    assert isinstance(found, DicomCase)
    return found


def told(case_id: str, what: str, folder: Path) -> ToldConverter:
    return ToldConverter({case_id: what}, folder / "journal")


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def report_in(folder: Path) -> dict[str, object]:
    return json.loads((folder / "report.json").read_text())


def test_a_prediction_is_written_with_its_report_last(case: DicomCase, tmp_path: Path) -> None:
    report = convert_case(case, request_for(tmp_path / "out"), told(case.case_id, "predict", tmp_path))
    folder = tmp_path / "out" / case.case_id
    assert below(folder) == ["predicted", "predicted/0001.dcm", "predicted/0002.dcm", "preview.png", "report.json"]
    assert report == report_in(folder)
    assert report["outputs"] == ["predicted/0001.dcm", "predicted/0002.dcm", "preview.png"]
    first = case.baseline.files[0].read()
    assert (folder / "predicted/0001.dcm").read_bytes() == first[:1000]
    newest = max(folder.rglob("*.*"), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == "report.json"


def test_a_refusal_by_the_conversion_has_a_notice_and_no_prediction(case: DicomCase, tmp_path: Path) -> None:
    convert_case(case, request_for(tmp_path), told(case.case_id, "predict", tmp_path))
    report = convert_case(case, request_for(tmp_path), told(case.case_id, "refuse", tmp_path))
    assert below(tmp_path / case.case_id) == [
        "preview.png", "refusal", "refusal/0001.dcm", "refusal/0002.dcm", "report.json",
    ]  # fmt: skip
    assert [reason["code"] for reason in report["reasons"]] == ["NO_TRACER"]


@pytest.mark.parametrize(
    ("what", "outcome", "code"),
    [
        ("crash", "failed", "INTERNAL_ERROR"),
        ("fail the check", "failed", "CONVERSION_FAILED"),
        ("refuse outright", "refused", "NOT_DICOM"),
    ],
)
def test_what_ends_a_conversion_leaves_nothing_but_a_report(
    case: DicomCase, tmp_path: Path, what: str, outcome: str, code: str
) -> None:
    request = request_for(tmp_path / "out")
    convert_case(case, request, told(case.case_id, "predict", tmp_path))
    report = convert_case(case, request, told(case.case_id, what, tmp_path))
    folder = tmp_path / "out" / case.case_id
    assert below(folder) == ["report.json"]
    assert (report["outcome"], [reason["code"] for reason in report["reasons"]]) == (outcome, [code])
    assert report == report_in(folder)
    # What the headers say is there all the same, and of the crash's text nothing is.
    assert report["baseline"]["series_instance_uid"] == case.baseline.series_uid
    assert report["delayed"]["instances"] == len(case.delayed.files)
    assert report["injection_time"] == INJECTED_AT.isoformat()
    assert "P1" not in json.dumps(report)


def test_a_source_that_vanished_fails_its_case_and_says_so(case: DicomCase, tmp_path: Path) -> None:
    case.delayed.files[3].path.unlink()
    report = convert_case(case, request_for(tmp_path / "out"), told(case.case_id, "predict", tmp_path))
    assert report["outcome"] == "failed"
    (reason,) = report["reasons"]
    assert (reason["code"], "No such file or directory" in reason["message"]) == ("FILE_FAULT", True)


def test_a_full_disk_in_the_middle_leaves_no_part_of_a_prediction(
    case: DicomCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "0002.dcm":
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    report = convert_case(case, request_for(tmp_path / "out"), told(case.case_id, "predict", tmp_path))
    assert below(tmp_path / "out" / case.case_id) == ["report.json"]
    assert "No space left on device" in report["reasons"][0]["message"]


def test_a_folder_that_cannot_be_made_fails_the_case_only(case: DicomCase, tmp_path: Path) -> None:
    (tmp_path / case.case_id).write_text("a file where the folder belongs")
    report = convert_case(case, request_for(tmp_path), told(case.case_id, "predict", tmp_path))
    assert report["outcome"] == "failed"
    assert {reason["code"] for reason in report["reasons"]} == {"FILE_FAULT"}
    assert (tmp_path / case.case_id).read_text() == "a file where the folder belongs"


def test_a_conversion_that_was_killed_is_cleared_away(case: DicomCase, tmp_path: Path) -> None:
    folder = tmp_path / "out" / case.case_id
    for left in (".predicted.part/0001.dcm", "refusal/0001.dcm", ".predicted.nii.gz", ".report.json.part"):
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).write_text("half")
    request = request_for(tmp_path / "out")
    assert finished_report(case, request) is None
    convert_case(case, request, told(case.case_id, "predict", tmp_path))
    assert below(folder) == ["predicted", "predicted/0001.dcm", "predicted/0002.dcm", "preview.png", "report.json"]


@pytest.mark.parametrize("what", ["predict", "refuse"])
def test_the_same_request_is_up_to_date(case: DicomCase, tmp_path: Path, what: str) -> None:
    request = request_for(tmp_path / "out")
    report = convert_case(case, request, told(case.case_id, what, tmp_path))
    later = replace(request, now=request.now + timedelta(days=1))
    assert finished_report(case, later) == report


@pytest.mark.parametrize("what", ["crash", "fail the check"])
def test_a_case_that_failed_is_taken_up_again(case: DicomCase, tmp_path: Path, what: str) -> None:
    request = request_for(tmp_path / "out")
    convert_case(case, request, told(case.case_id, what, tmp_path))
    assert finished_report(case, request) is None


def test_other_settings_other_files_or_another_time_make_it_anew(case: DicomCase, tmp_path: Path) -> None:
    request = request_for(tmp_path / "out")
    convert_case(case, request, told(case.case_id, "predict", tmp_path))
    assert finished_report(case, request_for(tmp_path / "out", "other model")) is None
    assert finished_report(replace(case, injection_time=None), request) is None
    altered = replace(case.delayed, sha256=("0" * 64, *case.delayed.sha256[1:]))
    assert finished_report(replace(case, delayed=altered), request) is None


@pytest.mark.parametrize("lost", ["predicted/0002.dcm", "preview.png", "report.json"])
def test_a_result_of_which_a_part_was_removed_is_made_anew(case: DicomCase, tmp_path: Path, lost: str) -> None:
    request = request_for(tmp_path / "out")
    convert_case(case, request, told(case.case_id, "predict", tmp_path))
    (tmp_path / "out" / case.case_id / lost).unlink()
    assert finished_report(case, request) is None


@pytest.mark.parametrize("text", ["", "[]", '"x"', "{", '{"request": 1}', '{"request": null, "outcome": "predicted"}'])
def test_a_report_that_is_not_ours_counts_as_none(case: DicomCase, tmp_path: Path, text: str) -> None:
    (tmp_path / case.case_id).mkdir()
    (tmp_path / case.case_id / "report.json").write_text(text)
    assert finished_report(case, request_for(tmp_path)) is None


def test_series_that_are_no_pair_are_reported_with_what_is_known_of_them(tmp_path: Path) -> None:
    case = RefusedCase(
        case_id="c1", reasons=(MISSING,), delayed=SeriesNote(place="d", facts=FACTS),
        others=(SeriesNote(place="e", facts=replace(FACTS, series_instance_uid="1.2.4")), SeriesNote(place="f")),
    )  # fmt: skip
    request = request_for(tmp_path)
    report = write_refused(case, request)
    assert below(tmp_path / "c1") == ["report.json"]
    assert report == report_in(tmp_path / "c1") == finished_report(case, request)
    assert (report["outcome"], report["baseline"]) == ("refused", None)
    assert report["reasons"] == [
        {"code": "BASELINE_MISSING", "message": "None was received.", "measured": None, "limit": "before the injection"}
    ]
    assert report["delayed"] == {
        "series_instance_uid": "1.2.3", "study_instance_uid": "1.2", "acquired_at": "2024-05-14T08:00:00",
        "instances": 7,
    }  # fmt: skip
    assert [series["series_instance_uid"] for series in report["other_series"]] == ["1.2.4"]
    # Another reason, or another series, is another request.
    assert finished_report(replace(case, reasons=()), request) is None
    assert finished_report(replace(case, delayed=None), request) is None


def test_a_report_without_a_conversion_has_every_field_of_one_with(tmp_path: Path) -> None:
    facts = CaseFacts(
        case_id="c1", baseline=FACTS, delayed=FACTS, injection_time=None, hours_after_injection=None,
        software_version="0.1.0",
    )  # fmt: skip
    whole = case_report(
        facts, CaseOutcome.REFUSED, reasons=(), warnings=(),
        identity=ModelIdentity(name="tiny", version="1", sha256="00", provider="CPUExecutionProvider"),
        manifest=load_manifest(tiny_model(tmp_path, (1, 1, 8, 8))), course=None, timings_s={},
    )  # fmt: skip
    bare = bare_report("c1", CaseOutcome.FAILED, (MISSING,), "0.1.0")
    assert bare.keys() == whole.keys()
    for name in ("normalisation", "model", "reflux"):
        assert bare[name].keys() == whole[name].keys(), name
    assert fact_groups(bare) == ()


class OneVolume(ToldConverter):
    """Answers with the baseline itself, as a model of volumes or of two slices would."""

    parts = 1

    def convert_volumes(
        self, facts: CaseFacts, pair: object, reasons: tuple[Reason, ...] = (), *, made_at: datetime
    ) -> Conversion:
        conversion = super().convert_volumes(facts, pair, reasons, made_at=made_at)  # type: ignore[arg-type]
        restored = type("Restored", (), {"predicted": (pair.baseline,) * self.parts})()  # type: ignore[attr-defined]
        report = conversion.report | {"facts": facts.hours_after_injection}
        course = type("Course", (), {"restored": None if reasons else restored})()
        return replace(conversion, files=(), course=course, report=report)


class TwoPlanes(OneVolume):
    parts = 2


def nifti_case(folder: Path, reasons: tuple[Reason, ...] = ()) -> NiftiCase:
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    for name in ("b.nii", "d.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.arange(24, dtype="<i2").reshape(2, 3, 4), affine), folder / name)
    return NiftiCase(
        case_id="n1",
        baseline=FileSource(path=folder / "b.nii"),
        delayed=FileSource(path=folder / "d.nii.gz"),
        hours_after_injection=1.5,
        reasons=reasons,
    )


def test_a_nifti_pair_comes_back_as_nifti_on_its_grid(tmp_path: Path) -> None:
    case, request = nifti_case(tmp_path), request_for(tmp_path / "out")
    report = convert_case(case, request, OneVolume({}, tmp_path / "journal"))
    assert below(tmp_path / "out/n1") == ["predicted.nii.gz", "preview.png", "report.json"]
    assert report["outputs"] == ["predicted.nii.gz", "preview.png"]
    made, given = nibabel.load(tmp_path / "out/n1/predicted.nii.gz"), nibabel.load(tmp_path / "b.nii")
    np.testing.assert_allclose(made.affine, given.affine)
    np.testing.assert_array_equal(made.get_fdata(), given.get_fdata())
    assert finished_report(case, request) == report


class WithPage(OneVolume):
    def convert_volumes(self, *given: Any, made_at: datetime) -> Conversion:
        return replace(super().convert_volumes(*given, made_at=made_at), page=f"%PDF of {made_at:%Y}".encode())


def test_the_page_for_print_lies_beside_the_preview_and_goes_when_it_is_no_longer_asked_for(tmp_path: Path) -> None:
    case, request = nifti_case(tmp_path), request_for(tmp_path / "out")
    report = convert_case(case, request, WithPage({}, tmp_path / "journal"))
    assert report["outputs"] == ["predicted.nii.gz", "preview.png", "report.pdf"]
    assert (tmp_path / "out/n1/report.pdf").read_bytes() == f"%PDF of {request.now:%Y}".encode()
    convert_case(case, request, OneVolume({}, tmp_path / "journal"))
    assert below(tmp_path / "out/n1") == ["predicted.nii.gz", "preview.png", "report.json"]


def test_two_planes_become_two_nifti_files_and_go_when_they_are_not_made_again(tmp_path: Path) -> None:
    case, request = nifti_case(tmp_path), request_for(tmp_path / "out")
    report = convert_case(case, request, TwoPlanes({}, tmp_path / "journal"))
    assert report["outputs"] == ["predicted-sagittal.nii.gz", "predicted-axial.nii.gz", "preview.png"]
    convert_case(case, request, OneVolume({}, tmp_path / "journal"))
    assert below(tmp_path / "out/n1") == ["predicted.nii.gz", "preview.png", "report.json"]


def test_a_nifti_pair_that_its_times_refuse_has_no_prediction(tmp_path: Path) -> None:
    case = nifti_case(tmp_path, reasons=(MISSING,))
    report = convert_case(case, request_for(tmp_path / "out"), OneVolume({}, tmp_path / "journal"))
    assert (report["outcome"], report["facts"]) == ("refused", 1.5)
    assert below(tmp_path / "out/n1") == ["preview.png", "report.json"]


def test_a_nifti_file_that_cannot_be_read_refuses_its_case(tmp_path: Path) -> None:
    case = nifti_case(tmp_path)
    case.delayed.path.write_bytes(b"no image")
    report = convert_case(case, request_for(tmp_path / "out"), OneVolume({}, tmp_path / "journal"))
    assert [reason["code"] for reason in report["reasons"]] == ["FILE_UNREADABLE"]
    assert report["hours_after_injection"] == 1.5
    assert below(tmp_path / "out/n1") == ["report.json"]


def test_a_nifti_file_that_was_written_again_makes_another_request(tmp_path: Path) -> None:
    case, request = nifti_case(tmp_path), request_for(tmp_path)
    before = request_key(case, request)
    os.utime(case.baseline.path, (1, 1))
    changed = request_key(case, request)
    case.baseline.path.unlink()
    assert len({before, changed, request_key(case, request)}) == 3
    assert request_key(replace(case, hours_after_injection=1.6), request) not in (before, changed)
