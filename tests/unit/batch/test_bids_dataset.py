"""The dataset that a batch leaves; its predictions are stand-ins on small grids, the validator is BIDS's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from service.batch.bids.dataset import describe_dataset
from service.batch.bids.target import plan_target
from service.batch.cases import BatchCase, DicomCase, NiftiCase, RefusedCase, SeriesNote
from service.batch.convert_case import BatchRequest, write_died
from service.batch.run import run_batch
from service.batch.sources import FileSource
from service.conversion import Conversion
from service.errors import Reason, UsageError
from service.imaging.recipe_types import RestoredPrediction, SignalReference
from service.imaging.volume import Volume
from service.pipeline import VolumePair
from service.received_pair import DicomPair
from service.report import CaseFacts, Json
from tests.builders.batch import DERIVED_AT, ToldConverter, cases_below, conversions, small_pair
from tests.builders.bids import violations
from tests.builders.dicom import ramp_volume

FAT = 500.0
AFFINE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.1, -0.2, 0.3) @ np.diag([-1.0, 2.0, 3.0]), (5, -6, 7)
)
MODEL = {"name": "tiny", "version": "2", "sha256": "ab" * 32, "provider": "CPU", "simulated_training": True}
INTERVAL = {"quantiles": [0.05, 0.5, 0.95], "mean_width_fat_units": 0.2, "calibration": "none; nominal"}


@dataclass(frozen=True)
class Course:
    """As much of `service.pipeline.Outcome` as files are made of."""

    restored: RestoredPrediction | None
    reference: SignalReference


class BrighterBy(ToldConverter):
    """Predicts the baseline, brighter by a tenth of the fat's signal, in an interval from 0.05 to 0.2 of it."""

    planes = 1
    interval = True

    def convert_dicom(self, pair: DicomPair) -> Conversion:
        return self._with_volumes(super().convert_dicom(pair), ramp_volume("axial", (4, 5, 6), (2.0, 2.0, 2.0)))

    def convert_volumes(
        self, facts: CaseFacts, pair: VolumePair, reasons: Sequence[Reason] = (), *, made_at: datetime
    ) -> Conversion:
        found = super().convert_volumes(facts, pair, reasons, made_at=made_at)
        return self._with_volumes(found, pair.baseline)

    def _with_volumes(self, found: Conversion, baseline: Volume) -> Conversion:
        if found.reasons:
            return found

        def by(share: float) -> tuple[Volume, ...]:
            return (baseline.with_array(np.full_like(baseline.array, share * FAT)),) * self.planes

        restored = RestoredPrediction(
            predicted=(baseline.with_array(baseline.array + np.float32(0.1 * FAT)),) * self.planes,
            increase=by(0.1),
            lower=by(0.05) if self.interval else (),
            upper=by(0.2) if self.interval else (),
        )
        course = Course(restored, SignalReference(kind="orbital_fat", baseline=FAT, delayed=400.0))
        report: Json = found.report | {
            "model": MODEL,
            "uncertainty": INTERVAL if self.interval else None,
            "simulated_patient": True,
            "intended_use": "Research use, not for diagnosis.",
            "normalisation": {**found.report["normalisation"], "reference": "orbital_fat"},
            "hours_after_injection": 1.5,
        }
        return replace(found, course=course, files=(), report=report)  # type: ignore[arg-type]


class Slices(BrighterBy):
    planes = 2
    interval = False


class Batch:
    """Runs that follow each other into one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def dataset(self) -> Path:
        return self.out / "bids"

    def run(
        self,
        *cases: BatchCase,
        bids: bool = True,
        behaviour: dict[str, str] | None = None,
        converter: Callable[..., ToldConverter] = BrighterBy,
        settings: str = "s",
        jobs: int = 1,
    ) -> list[Json]:
        request = self.request(*cases, bids=bids, settings=settings)
        made = _Made(converter, behaviour or {}, self.journal)
        reports = [report for _, report, _ in run_batch(cases, request, made, jobs=jobs)]
        if request.bids is not None:
            describe_dataset(request.bids, "0.1.0")
        return reports

    def request(self, *cases: BatchCase, bids: bool = True, settings: str = "s") -> BatchRequest:
        target = plan_target(self.dataset, cases) if bids else None
        return BatchRequest(out=self.out, settings=settings, software_version="0.1.0", now=DERIVED_AT, bids=target)

    def nifti(self, name: str, where: str = "", delayed: str = "", *, reasons: tuple[Reason, ...] = ()) -> NiftiCase:
        """A pair of files; below a folder `where`, or two of them."""
        places = [self.folder / folder / f"{file}.nii.gz" for folder, file in ((where, "b"), (delayed or where, "d"))]
        for path in places:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                nibabel.save(nibabel.Nifti1Image(np.arange(24, dtype="<i2").reshape(2, 3, 4), AFFINE), path)
        baseline, later = (FileSource(path=path) for path in places)
        return NiftiCase(case_id=name, baseline=baseline, delayed=later, hours_after_injection=1.5, reasons=reasons)

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.dataset).as_posix() for path in self.dataset.rglob("*") if path.is_file())

    def contents(self) -> dict[str, bytes]:
        return {name: (self.dataset / name).read_bytes() for name in self.files()}

    def json(self, name: str) -> Any:
        return json.loads((self.dataset / name).read_text())

    def table(self, name: str) -> dict[str, dict[str, str]]:
        with (self.dataset / name).open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        return {next(iter(line.values())): line for line in lines}


@dataclass(frozen=True)
class _Made:
    """A picklable way to make a converter in a worker process."""

    kind: Callable[..., ToldConverter]
    behaviour: dict[str, str]
    journal: Path

    def __call__(self) -> ToldConverter:
        return self.kind(self.behaviour, self.journal)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


ALONE = RefusedCase(
    case_id="c9", reasons=(Reason(code="BASELINE_MISSING", message="None."),), delayed=SeriesNote(place="d")
)
P1 = "sub-P1/ses-pre/anat/sub-P1_ses-pre_space-baseline_desc-"


def sessions_of_a_dataset(batch: Batch) -> NiftiCase:
    return batch.nifti("c1", "raw/sub-P1/ses-pre/anat", "raw/sub-P1/ses-1h/anat")


def test_the_official_validator_finds_nothing_in_a_mixed_batch(batch: Batch) -> None:
    small_pair(batch.folder / "dicom")
    (dicom,) = cases_below(batch.folder / "dicom")
    refused = batch.nifti("no_tracer", reasons=(Reason(code="NO_TRACER", message="None."),))
    later = batch.nifti("sub-P1_ses-late")
    batch.run(dicom, sessions_of_a_dataset(batch), later, refused, ALONE)
    assert violations(batch.dataset) == []
    # It would say so.
    (batch.dataset / f"{P1}predicted24h_T1w.nii.gz").rename(batch.dataset / "sub-P1/ses-pre/anat/predicted.nii.gz")
    assert ("error", "NOT_INCLUDED", "/sub-P1/ses-pre/anat/predicted.nii.gz") in violations(batch.dataset)


def test_a_predicted_case_has_its_images_on_the_grid_of_its_baseline_with_a_sidecar_each(batch: Batch) -> None:
    case = sessions_of_a_dataset(batch)
    batch.run(case)
    given = nibabel.load(case.baseline.path)
    factors = {"increase24h": 0.1, "increase24hLower": 0.05, "increase24hUpper": 0.2}
    for desc in ("predicted24h", *factors):
        made = nibabel.load(batch.dataset / f"{P1}{desc}_T1w.nii.gz")
        np.testing.assert_allclose(made.affine, given.affine, atol=1e-5)
        np.testing.assert_allclose(made.get_qform(), made.get_sform(), atol=1e-5)
        assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (2, 2)
        assert made.header.get_xyzt_units()[0] == "mm"
        assert b"not acquired" in made.header["descrip"].tobytes()
        assert made.get_data_dtype() == np.float32
        expected = given.get_fdata() + 0.1 * FAT if desc == "predicted24h" else np.full(given.shape, factors[desc])
        np.testing.assert_allclose(made.get_fdata(), expected, rtol=1e-6)
        sidecar = batch.json(f"{P1}{desc}_T1w.json")
        assert "NOT ACQUIRED" in sidecar["Description"]
        assert (sidecar["PredictedNotAcquired"], sidecar["SimulatedTraining"]) == (True, True)
        assert sidecar["Model"] == {"name": "tiny", "version": "2", "sha256": "ab" * 32}
        assert sidecar["Sources"] == [
            "bids:source:sub-P1/ses-pre/anat/b.nii.gz", "bids:source:sub-P1/ses-1h/anat/d.nii.gz",
        ]  # fmt: skip
        assert sidecar["SpatialReference"] == sidecar["Sources"][0]
    assert batch.json(f"{P1}predicted24h_T1w.json")["Units"] == "arbitrary"
    assert "fat" in batch.json(f"{P1}increase24h_T1w.json")["Units"]
    bounds = [batch.json(f"{P1}increase24h{end}_T1w.json") for end in ("Lower", "Upper")]
    assert [(bound["Quantile"], bound["Calibration"]) for bound in bounds] == [
        (0.05, "none; nominal"), (0.95, "none; nominal"),
    ]  # fmt: skip


def test_the_dataset_says_what_made_it_and_where_its_images_come_from(batch: Batch) -> None:
    batch.run(sessions_of_a_dataset(batch))
    description = batch.json("dataset_description.json")
    assert (description["DatasetType"], description["DatasetLinks"]) == ("derivative", {"source": "../../raw"})
    assert (batch.dataset / "../../raw/sub-P1").is_dir()
    assert description["SourceDatasets"] == [{"URL": "../../raw"}]
    ours, model = description["GeneratedBy"]
    assert (ours["Name"], ours["Version"]) == ("csf24", "0.1.0")
    assert (model["Name"], model["Version"]) == ("tiny", "2")
    assert "ab" * 32 in model["Description"] and "SIMULATED" in model["Description"]
    readme = (batch.dataset / "README").read_text()
    assert "NOT ACQUIRED" in readme and "SIMULATED tracer" in readme and "not for diagnosis" in readme


def test_a_dicom_case_says_neither_uids_nor_dates_nor_places_and_lies_in_scanner_space(batch: Batch) -> None:
    small_pair(batch.folder / "Mustermann", "PAT-4711")
    (case,) = cases_below(batch.folder / "Mustermann")
    assert isinstance(case, DicomCase)
    batch.run(case)
    stem = f"sub-{case.case_id}/anat/sub-{case.case_id}_space-baseline_desc-predicted24h_T1w"
    made = nibabel.load(batch.dataset / f"{stem}.nii.gz")
    assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (1, 1)
    assert batch.json(f"{stem}.json")["SpatialReference"] == "orig"
    assert batch.json(f"{stem}.json")["SimulatedPatient"] is True
    report = json.loads((batch.out / case.case_id / "report.json").read_text())
    secrets = ["4711", "Mustermann", "Tester", case.baseline.series_uid, str(report["injection_time"])[:10]]
    for name, content in batch.contents().items():
        text = name if name.endswith(".gz") else name + content.decode()
        assert [secret for secret in secrets if secret in text] == [], name


def test_refused_and_failed_cases_are_listed_with_their_reasons_and_have_no_image(batch: Batch) -> None:
    cases = [batch.nifti("ok"), batch.nifti("none"), batch.nifti("broken"), ALONE]
    batch.run(*cases, behaviour={"none": "refuse", "broken": "crash"})
    table = batch.table("participants.tsv")
    assert {name: (line["outcome"], line["reasons"]) for name, line in table.items()} == {
        "sub-ok": ("predicted", "n/a"),
        "sub-none": ("refused", "NO_TRACER"),
        "sub-broken": ("failed", "INTERNAL_ERROR"),
        "sub-c9": ("refused", "BASELINE_MISSING"),
    }
    assert [name for name in batch.files() if name.endswith(".gz") and "sub-ok" not in name] == []
    assert batch.json("sub-none/sub-none_report.json")["reasons"][0]["message"] == "No tracer is seen."
    assert batch.json("participants.json").keys() == table["sub-ok"].keys() - {"participant_id"}


def test_a_subject_s_sessions_stand_in_a_table_of_their_own(batch: Batch) -> None:
    batch.run(batch.nifti("sub-1_ses-a"), batch.nifti("sub-1_ses-b"), batch.nifti("sub-2_ses-a"),
              behaviour={"sub-1_ses-b": "refuse"})  # fmt: skip
    sessions = batch.table("sub-1/sub-1_sessions.tsv")
    assert {name: line["outcome"] for name, line in sessions.items()} == {"ses-a": "predicted", "ses-b": "refused"}
    people = batch.table("participants.tsv")
    assert [(line["cases"], line["outcome"]) for line in people.values()] == [("2", "n/a"), ("1", "predicted")]


def test_a_worker_that_died_is_listed_as_failed(batch: Batch) -> None:
    case = batch.nifti("a")
    request = batch.request(case)
    write_died(case, request, "for want of memory")
    assert batch.json("sub-a/sub-a_report.json")["reasons"][0]["code"] == "WORKER_DIED"


@pytest.mark.parametrize("jobs", [1, 2])
def test_another_run_converts_nothing_and_changes_no_byte(batch: Batch, jobs: int) -> None:
    cases = [batch.nifti(f"p{n}") for n in range(4)]
    batch.run(*cases, behaviour={"p1": "refuse"}, jobs=jobs)
    before = batch.contents()
    assert len([name for name in before if name.endswith("predicted24h_T1w.nii.gz")]) == 3
    # RFC 1952: neither a time of modification nor a file's name, which a later run would write otherwise.
    assert {content[3:8] for name, content in before.items() if name.endswith(".gz")} == {bytes(5)}
    batch.run(*cases, jobs=jobs)
    assert sorted(conversions(batch.journal)) == ["p0", "p1", "p2", "p3"]
    assert batch.contents() == before
    batch.run(*cases, behaviour={"p1": "refuse"}, settings="other", jobs=jobs)
    assert len(conversions(batch.journal)) == 8
    assert batch.contents() == before  # made anew, and the same to the byte, compressed files too


def test_a_run_without_the_dataset_leaves_it_and_the_next_with_it_brings_it_up_to_date(batch: Batch) -> None:
    case = batch.nifti("a")
    batch.run(case)
    before = batch.contents()
    batch.run(case, bids=False)
    assert batch.contents() == before
    batch.run(case, bids=False, settings="other", behaviour={"a": "refuse"})
    assert batch.contents() == before
    (report,) = batch.run(case, settings="other", behaviour={"a": "refuse"})
    assert report["outcome"] == "refused"
    assert [name for name in batch.files() if name.startswith("sub-")] == ["sub-a/sub-a_report.json"]


def test_a_batch_that_was_converted_without_a_dataset_gets_one(batch: Batch) -> None:
    case = batch.nifti("a")
    batch.run(case, bids=False)
    batch.run(case)
    assert conversions(batch.journal) == ["a", "a"]
    assert batch.table("participants.tsv")["sub-a"]["outcome"] == "predicted"


@pytest.mark.parametrize("lost", ["sub-a/sub-a_report.json", "increase24hUpper_T1w.json", "predicted24h_T1w.nii.gz"])
def test_a_case_of_which_a_file_was_removed_is_made_anew(batch: Batch, lost: str) -> None:
    case = batch.nifti("a")
    batch.run(case)
    before = batch.contents()
    (name,) = (name for name in before if name.endswith(lost))
    (batch.dataset / name).unlink()
    batch.run(case)
    assert batch.contents() == before


def test_what_a_killed_run_left_is_cleared_away_and_what_others_put_there_is_not(batch: Batch) -> None:
    case = batch.nifti("a")
    anat = batch.dataset / "sub-a/anat"
    batch.run(case)
    half = [anat / f"{dot}sub-a_space-baseline_desc-old_T1w.nii.gz" for dot in (".", "")]
    mine = [anat / "sub-a_desc-mine_mask.nii.gz", batch.dataset / "sub-a/notes.txt", batch.dataset / "LICENSE"]
    for path in (*half, *mine):
        path.write_text("x")
    batch.run(case, settings="other", behaviour={"a": "refuse"})
    assert [path.exists() for path in (*half, *mine)] == [False, False, True, True, True]


def test_a_case_that_a_killed_run_had_begun_is_listed_as_unfinished(batch: Batch) -> None:
    (batch.dataset / "sub-b/anat").mkdir(parents=True)
    (batch.dataset / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "csf24"}]}')
    batch.run(batch.nifti("a"))
    outcomes = {name: line["outcome"] for name, line in batch.table("participants.tsv").items()}
    assert outcomes == {"sub-a": "predicted", "sub-b": "unfinished"}


def test_a_further_table_adds_to_the_dataset_and_keeps_its_links(batch: Batch) -> None:
    batch.run(sessions_of_a_dataset(batch))
    batch.run(batch.nifti("c2", "more/sub-P2/anat"))
    assert batch.json("dataset_description.json")["DatasetLinks"] == {"source": "../../raw", "source2": "../../more"}
    assert list(batch.table("participants.tsv")) == ["sub-P1", "sub-P2"]
    assert batch.json("sub-P2/anat/sub-P2_space-baseline_desc-increase24h_T1w.json")["Sources"][0] == (
        "bids:source2:sub-P2/anat/b.nii.gz"
    )
    assert violations(batch.dataset) == []


def test_a_label_of_another_case_in_the_dataset_is_refused_before_anything_is_written(batch: Batch) -> None:
    batch.run(batch.nifti("p-1"))
    before = batch.contents()
    with pytest.raises(UsageError, match=r"p-1, p_1: would all be sub-p1"):
        batch.run(batch.nifti("p_1"))
    assert batch.contents() == before
    assert not (batch.out / "p_1").exists()


def test_a_folder_that_is_no_dataset_of_ours_is_not_touched(batch: Batch) -> None:
    batch.dataset.mkdir(parents=True)
    (batch.dataset / "dataset_description.json").write_text('{"Name": "mine", "GeneratedBy": [{"Name": "other"}]}')
    with pytest.raises(UsageError, match="is no dataset of csf24's"):
        batch.run(batch.nifti("a"))
    assert batch.files() == ["dataset_description.json"]


def test_a_report_in_the_dataset_that_cannot_be_read_is_named(batch: Batch) -> None:
    case = batch.nifti("a")
    batch.run(case)
    (batch.dataset / "sub-a/sub-a_report.json").write_text("{")
    with pytest.raises(UsageError, match=r"sub-a_report.json: not a readable report of csf24"):
        batch.run(case)


def test_two_slices_become_two_images_that_are_named_by_their_planes(batch: Batch) -> None:
    batch.run(batch.nifti("a"), converter=Slices)
    descs = [name.split("_desc-")[1] for name in batch.files() if name.endswith(".gz")]
    assert descs == [
        "increase24hAxial_T1w.nii.gz", "increase24hSagittal_T1w.nii.gz", "predicted24hAxial_T1w.nii.gz",
        "predicted24hSagittal_T1w.nii.gz",
    ]  # fmt: skip
    assert violations(batch.dataset) == []
