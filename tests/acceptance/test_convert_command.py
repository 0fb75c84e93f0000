"""`csf24 convert` as a research group uses it: one folder with everything in it, real conversions."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, JPEGLSLossless, MRImageStorage, SecondaryCaptureImageStorage

from service.cases import case_id_for
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.batch import small_baseline, small_delayed, small_pair
from tests.builders.dicom import enhanced_series, make_uid
from tests.builders.heads import Head, head_volume
from tests.builders.patients import (
    BASELINE_AT,
    DELAYED_AT,
    INJECTED_AT,
    MOVED,
    SHIPPED,
    baseline_series,
    delayed_series,
    head_after,
    head_before,
    write,
)
from tests.builders.programs import wait_until
from tests.builders.service_process import REPOSITORY, csf24

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("convert"), pytest.mark.timeout(900)]

REPORT_FIELDS = {
    "case_id", "outcome", "reasons", "baseline", "delayed", "hours_after_injection", "registration", "normalisation",
    "model", "reflux", "uncertainty", "timings_s", "outputs",
}  # fmt: skip
BRAIN = np.array([[x, y, z] for x in (-50, 0, 50) for y in (-60, 0, 60) for z in (-25, 10, 55)], dtype=float)
"""Within 85 mm of the brain's centre, LPS mm."""


def case_of(patient: str) -> str:
    return case_id_for(make_uid(patient, 1, 1), make_uid(patient, 1, 2))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A finished run."""

    root: Path
    status: int
    stdout: str
    stderr: str

    @property
    def source(self) -> Path:
        return self.root / "study"

    @property
    def out(self) -> Path:
        """Within the source: what a batch writes must not disturb the next."""
        return self.source / "results"

    def report(self, case_id: str) -> dict[str, object]:
        return json.loads((self.out / case_id / "report.json").read_text())

    def reports(self) -> list[dict[str, object]]:
        return [json.loads(path.read_text()) for path in sorted(self.out.glob("*/report.json"))]

    def refused_with(self, code: str) -> list[dict[str, object]]:
        return [r for r in self.reports() if code in [reason["code"] for reason in r["reasons"]]]

    def predicted(self, case_id: str, sop_class: str) -> list[pydicom.Dataset]:
        found = [pydicom.dcmread(path) for path in sorted(self.out.glob(f"{case_id}/predicted/*.dcm"))]
        return [dataset for dataset in found if dataset.SOPClassUID == sop_class]

    def times(self) -> dict[str, int]:
        """When each file of a case was written; what lies beside the cases' folders is made anew by every run."""
        return {
            str(path.relative_to(self.out)): path.stat().st_mtime_ns
            for path in self.out.glob("*/**/*")
            if path.is_file()
        }


def sagittal_grid(shape: tuple[int, int, int], spacing_ijk: tuple[float, float, float]) -> Grid:
    """i -> posterior, j -> down, k -> right; around the middle of the head."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]) * spacing_ijk
    half = affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    affine[:3, 3] = np.array([0.0, 0.0, -20.0]) - half
    return Grid(shape, affine)


@cache
def sagittal_pair() -> tuple[Volume, Volume]:
    """The head of `tests.builders.patients` cut sagittally; the later matrix is another."""
    before = head_volume(Head(noise=0.02, seed=1), sagittal_grid((120, 160, 150), (1.5, 1.5, 1.5)))
    later = Head(noise=0.02, seed=2, tracer={"basal": 0.2}, gain=1500.0, bias=0.05)
    after = head_volume(later, sagittal_grid((126, 168, 160), (1.4, 1.42, 1.44)), MOVED)
    return before.with_array(before.array.round()), after.with_array(after.array.round())


def fill(study: Path) -> None:
    """Patients A to G as their folders came from here and there, and what else lies about."""
    write(baseline_series("A"), study / "A" / "visit 1")
    write(delayed_series("A"), study / "A" / "visit 1" / "later")
    before, after = sagittal_pair()
    given = {"patient_id": "B", "study": 1, "transfer_syntax": JPEGLSLossless}
    enhanced = [
        *enhanced_series(before, **given, series=1, acquired_at=BASELINE_AT),
        *enhanced_series(after, **given, series=2, acquired_at=DELAYED_AT, injected_at=INJECTED_AT),
    ]
    write(enhanced, study / "B")
    write(small_delayed("C"), study / "C")
    write(baseline_series("D"), study / "D" / "1")
    write(delayed_series("D", injected_at=None), study / "D" / "2")
    small_pair(study, "E")
    cut = study / "E" / "after" / "0030.dcm"
    cut.write_bytes(cut.read_bytes()[:-1000])
    write(small_baseline("F"), study / "F")
    write(small_delayed("F", birth_date="19500102"), study / "F" / "delayed")
    write(small_baseline("H", Modality="CT", SOPClassUID=CTImageStorage), study / "ct")
    (study / "notes.txt").write_text("to be done: everything")
    (study / "empty.dcm").touch()
    shutil.copy(SHIPPED, study / "G.zip")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("convert")
    fill(made / "study")
    (made / "csf24.toml").write_text("[outputs]\nmr_image = true\n")
    return made


def run(root: Path, *more: str) -> Batch:
    done = csf24("convert", "study", "--out", "study/results", "--config", "csf24.toml", *more, cwd=root)
    return Batch(root=root, status=done.returncode, stdout=done.stdout, stderr=done.stderr)


@pytest.fixture(scope="module")
def after_kill(root: Path) -> dict[str, int]:
    """What a first run had written, and when, as SIGKILL ended it between its cases."""
    started = subprocess.Popen(
        [sys.executable, "-m", "service", "convert", "study", "--out", "study/results", "--config", "csf24.toml",
         "--jobs", "2"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    killed = Batch(root=root, status=-1, stdout="", stderr="")
    try:
        wait_until(lambda: any(r["outcome"] == "predicted" for r in killed.reports()), timeout_s=200)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait(20)
    assert not (killed.out / "summary.csv").exists()
    return killed.times()


@pytest.fixture(scope="module")
def batch(root: Path, after_kill: dict[str, int]) -> Batch:
    """The same command again, to its end."""
    return run(root)


def test_the_outcomes_are_what_each_patient_deserves(batch: Batch) -> None:
    assert batch.status == 3, batch.stderr
    outcomes = {report["case_id"]: report["outcome"] for report in batch.reports()}
    predicted = {case for case, outcome in outcomes.items() if outcome == "predicted"}
    assert {case_of("A"), case_of("B")} < predicted
    assert len(predicted) == 3  # and G
    assert set(outcomes.values()) == {"predicted", "refused"}
    assert batch.report(case_of("D"))["reasons"][0]["code"] == "INJECTION_TIME_MISSING"
    (alone,) = batch.refused_with("BASELINE_MISSING")
    assert alone["delayed"]["series_instance_uid"] == make_uid("C", 1, 2)
    (damaged,) = batch.refused_with("MISSING_PIXEL_DATA")
    assert [s["series_instance_uid"] for s in damaged["other_series"]] == [make_uid("E", 1, 2)]
    (mixed,) = batch.refused_with("PATIENT_MISMATCH")
    assert mixed["case_id"] == case_of("F")
    # E's baseline has lost its partner; the CT and the other files are nobody's case.
    assert len(outcomes) == 8


def test_only_predicted_cases_have_predicted_objects(batch: Batch) -> None:
    for report in batch.reports():
        folder = batch.out / report["case_id"]
        assert (folder / "predicted").exists() == (report["outcome"] == "predicted")
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
            *report["outputs"], "report.json",
        }  # fmt: skip


def test_every_report_has_every_field(batch: Batch) -> None:
    for report in batch.reports():
        assert report.keys() >= REPORT_FIELDS, report["case_id"]
        assert {"mode", "orbital_fat"} <= report["normalisation"].keys()
        assert {"name", "version", "sha256", "provider"} <= report["model"].keys()
        assert {"index", "grade_24h", "interval"} <= report["reflux"].keys()
        assert "total" in report["timings_s"]
        for reason in report["reasons"]:
            assert reason.keys() == {"code", "message", "measured", "limit"}
        assert (report["outcome"] == "refused") == bool(report["reasons"])
    found = batch.report(case_of("A"))
    assert found["hours_after_injection"] == 1.5
    assert found["baseline"] == {
        "series_instance_uid": make_uid("A", 1, 1),
        "study_instance_uid": make_uid("A", 1),
        "acquired_at": BASELINE_AT.isoformat(),
        "instances": 160,
    }
    assert {"mean", "median", "voxels", "left", "right"} <= found["normalisation"]["orbital_fat"].keys()
    assert found["normalisation"]["orbital_fat"]["median"] == pytest.approx(1000, rel=0.02)
    stages = sum(seconds for stage, seconds in found["timings_s"].items() if stage != "total")
    assert found["timings_s"]["total"] == pytest.approx(stages, abs=0.01)


@pytest.mark.parametrize("patient", ["A", "B"])
def test_the_movement_between_the_scans_is_recovered(batch: Batch, patient: str) -> None:
    found = RigidTransform(np.array(batch.report(case_of(patient))["registration"]["matrix"]))
    error = np.linalg.norm(found.map(BRAIN) - MOVED.map(BRAIN), axis=1)
    assert error.max() < 0.5


def test_a_classic_prediction_lies_where_its_baseline_lies(batch: Batch) -> None:
    sources = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, (batch.source / "A/visit 1").glob("*.dcm"))}
    for sop_class in (SecondaryCaptureImageStorage, MRImageStorage):
        objects = batch.predicted(case_of("A"), sop_class)
        assert {d.SourceImageSequence[0].ReferencedSOPInstanceUID for d in objects} == set(sources)
        for made in objects:
            source = sources[made.SourceImageSequence[0].ReferencedSOPInstanceUID]
            for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
                np.testing.assert_allclose(made[name].value, source[name].value, atol=1e-6)
            for name in ("FrameOfReferenceUID", "PatientID", "StudyInstanceUID", "Rows", "Columns"):
                assert made[name].value == source[name].value, name


def test_an_enhanced_prediction_lies_where_its_baseline_lies(batch: Batch) -> None:
    (source,) = (d for d in map(pydicom.dcmread, (batch.source / "B").glob("*.dcm"))
                 if d.SeriesInstanceUID == make_uid("B", 1, 1))  # fmt: skip
    frames = source.PerFrameFunctionalGroupsSequence
    expected = sorted(tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in frames)
    objects = batch.predicted(case_of("B"), SecondaryCaptureImageStorage)
    np.testing.assert_allclose(sorted(tuple(d.ImagePositionPatient) for d in objects), expected, atol=1e-6)
    orientation = source.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    for made in objects:
        np.testing.assert_allclose(made.ImageOrientationPatient, orientation, atol=1e-6)
        assert (made.Rows, made.Columns) == (160, 150)
        assert made.FrameOfReferenceUID == source.FrameOfReferenceUID


@pytest.mark.parametrize(("patient", "source"), [("A", "A/visit 1"), ("B", "B")])
def test_itk_sees_prediction_and_baseline_in_one_place(batch: Batch, patient: str, source: str) -> None:
    folder = batch.out / case_of(patient) / "predicted"
    made = _by_itk(folder, batch.predicted(case_of(patient), MRImageStorage)[0].SeriesInstanceUID)
    given = _by_itk(batch.source / source, make_uid(patient, 1, 1))
    np.testing.assert_allclose(_corners(made), _corners(given), atol=1e-3)
    predicted = sitk.GetArrayFromImage(sitk.Resample(made, given, sitk.Transform(), sitk.sitkNearestNeighbor))
    baseline = sitk.GetArrayFromImage(given)
    alike = [_scalp_alike(np.roll(predicted, 1, axis), baseline) for axis in range(3)]
    # Fat does not take up tracer, and a scan moved by one voxel would show elsewhere; the banner covers a part.
    assert _scalp_alike(predicted, baseline) > max(0.8, *(share + 0.03 for share in alike))


def _corners(image: sitk.Image) -> list[tuple[float, ...]]:
    """Centres of the outermost voxels, LPS mm, in an order that does not depend on how the image is turned."""
    ends = [(0, n - 1) for n in image.GetSize()]
    points = [image.TransformIndexToPhysicalPoint((i, j, k)) for i in ends[0] for j in ends[1] for k in ends[2]]
    return sorted(tuple(round(v, 3) + 0.0 for v in point) for point in points)


def _scalp_alike(predicted: np.ndarray, baseline: np.ndarray) -> float:
    scalp = baseline > 850
    return float((np.abs(predicted[scalp] / baseline[scalp] - 1) < 0.1).mean())


def _by_itk(folder: Path, series_uid: str) -> sitk.Image:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series_uid)
    return sitk.ReadImage(names[0] if len(names) == 1 else names, sitk.sitkFloat32)


def test_the_summary_has_a_line_for_every_case(batch: Batch) -> None:
    with (batch.out / "summary.csv").open(newline="", encoding="utf-8") as file:
        lines = {line["case_id"]: line for line in csv.DictReader(file)}
    assert {case: line["outcome"] for case, line in lines.items()} == {
        report["case_id"]: report["outcome"] for report in batch.reports()
    }
    line = lines[case_of("A")]
    assert (line["hours_after_injection"], line["model"]) == ("1.5", "volume3d 0.1.0")
    assert (line["baseline_source"], line["delayed_source"]) == ("study/A/visit 1", "study/A/visit 1/later")
    (zipped,) = (line for line in lines.values() if line["baseline_source"].startswith("study/G.zip!"))
    assert zipped["outcome"] == "predicted"
    assert lines[case_of("D")]["reasons"] == "INJECTION_TIME_MISSING"


def test_what_is_printed_names_the_reasons_and_no_patient(batch: Batch) -> None:
    assert "8 cases: 3 predicted, 5 refused, 0 failed; " in batch.stdout
    assert "are not DICOM" in batch.stdout
    assert "NOT_AN_MR_IMAGE" in batch.stdout
    assert "SIMULATED tracer. Research use, not for diagnosis." in batch.stdout
    for report in batch.reports():
        assert report["case_id"] in batch.stdout
        for reason in report["reasons"]:
            assert f"{reason['code']}: {reason['message']}" in batch.stdout
    for secret in ("Tester", "19500101", "SIM-24-114"):
        assert secret not in batch.stdout + batch.stderr


def test_a_killed_run_is_taken_up_where_it_ended(batch: Batch, after_kill: dict[str, int]) -> None:
    reported = {Path(name).parts[0] for name in after_kill if name.endswith("/report.json")}
    kept = {name: time for name, time in after_kill.items() if Path(name).parts[0] in reported}
    assert any("/predicted/" in name for name in kept)
    assert kept.items() <= batch.times().items()
    assert len(reported) < len(batch.reports())


def test_another_run_converts_nothing_again(batch: Batch) -> None:
    before, summary = batch.times(), (batch.out / "summary.csv").read_bytes()
    again = run(batch.root)
    assert again.status == batch.status
    assert again.times() == before
    assert (batch.out / "summary.csv").read_bytes() == summary
    assert "8 of them from an earlier run" in again.stdout


def test_a_pair_is_converted_once_its_injection_time_is_told(batch: Batch) -> None:
    done = csf24(
        "convert", "study/D", "--out", "told", "--baseline", make_uid("D", 1, 1), "--delayed", make_uid("D", 1, 2),
        "--injection-time", INJECTED_AT.isoformat(), "--json",
        cwd=batch.root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["case_id"], report["outcome"]) == (case_of("D"), "predicted")
    assert (report["hours_after_injection"], report["injection_time"]) == (1.5, INJECTED_AT.isoformat())
    objects = [pydicom.dcmread(path) for path in (batch.root / "told").glob("*/predicted/*.dcm")]
    assert len(objects) == 160
    assert {d.SOPClassUID for d in objects} == {SecondaryCaptureImageStorage}


def test_a_nifti_pair_in_a_table_becomes_a_nifti_prediction_on_its_grid(tmp_path: Path) -> None:
    for name, volume in (("before.nii.gz", head_before()), ("after.nii", head_after())):
        sitk.WriteImage(sitk.Cast(volume.to_sitk(), sitk.sitkInt16), str(tmp_path / name))
    (tmp_path / "pairs.csv").write_text(
        "baseline,delayed,case,hours_after_injection\nbefore.nii.gz,after.nii,subject-01,1.5\n"
    )
    done = csf24("convert", "--manifest", "pairs.csv", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "out/subject-01"
    assert {path.name for path in folder.iterdir()} == {"predicted.nii.gz", "preview.png", "report.json"}
    made, given = nibabel.load(folder / "predicted.nii.gz"), nibabel.load(tmp_path / "before.nii.gz")
    assert made.shape == given.shape
    np.testing.assert_allclose(made.affine, given.affine, atol=1e-4)
    increase = made.get_fdata() - given.get_fdata()
    assert increase.max() > 100  # tracer, in source units: fat has 1000
    report = json.loads((folder / "report.json").read_text())
    assert (report["outcome"], report["hours_after_injection"]) == ("predicted", 1.5)
    found = RigidTransform(np.array(report["registration"]["matrix"]))
    assert np.linalg.norm(found.map(BRAIN) - MOVED.map(BRAIN), axis=1).max() < 0.5


def test_the_papers_model_gives_a_sagittal_and_an_axial_image(root: Path) -> None:
    done = csf24("convert", "study/A", "--out", "paper", "--model", "paper2d", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    sagittal, axial = (pydicom.dcmread(path) for path in sorted((root / "paper").glob("*/predicted/*.dcm")))
    for made, rows, columns in ((sagittal, (0, 1, 0), (0, 0, -1)), (axial, (1, 0, 0), (0, 1, 0))):
        assert made.SOPClassUID == SecondaryCaptureImageStorage
        assert made.pixel_array.shape == (256, 256)
        assert np.dot(made.ImageOrientationPatient[:3], rows) > 0.9
        assert np.dot(made.ImageOrientationPatient[3:], columns) > 0.9
        assert made.BurnedInAnnotation == "YES"
        head = made.pixel_array[60:] > 0.1 * made.pixel_array.max()
        assert head.mean() > 0.15  # an image, not only a banner
    assert len(list((root / "paper").glob("*/preview.png"))) == 1
