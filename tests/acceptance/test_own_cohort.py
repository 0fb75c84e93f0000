"""A group's own patients: a table of DICOM folders, archives, NIfTI files and BIDS sessions becomes a model."""

import csv
import json
import zipfile

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from service.errors import UsageError
from service.inference.manifest import load_manifest
from tests.builders.patients import INJECTED_AT, baseline_series, head_after, head_before, write
from tests.builders.reader_study import head_late, write_patient
from tests.builders.recipe_text import recipe_text
from training import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("own cohort")]
COLUMNS = ("patient", "path", "simulated", "visit", "hours", "injection_time", "split", "age")


def nifti(volume, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.grid.affine
    image = nibabel.Nifti1Image(volume.array.transpose(2, 1, 0).astype(np.int16), affine)
    image.set_sform(affine, code="scanner")
    nibabel.save(image, path)


def run(*words):
    return CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, [str(word) for word in words])


def table(folder, rows, simulated="no"):
    path = folder / "cohort.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({"simulated": simulated, **row})
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Five patients: DICOM by the clock, NIfTI by hours, BIDS by visit, one with its baseline twice, one half there."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.toml").write_text(recipe_text(), encoding="utf-8")
    write_patient(folder / "P1")
    with zipfile.ZipFile(folder / "P1" / "late.zip", "w") as archive:
        for file in sorted((folder / "P1" / "late").glob("*.dcm")):
            archive.write(file, f"DICOM/{file.name}")
            file.unlink()
    at = INJECTED_AT.isoformat()
    rows = [
        {"patient": "P1", "path": f"P1/{name}", "injection_time": at, "split": "train", "age": 71}
        for name in ("baseline", "delayed", "late.zip")
    ]
    for hours, volume in ((-1.0, head_before()), (1.5, head_after()), (24.0, head_late()), (69.8, head_late())):
        nifti(volume, folder / "P2" / f"{hours}.nii.gz")
        rows.append({"patient": "P2", "path": f"P2/{hours}.nii.gz", "hours": hours, "split": "val"})
    for visit, volume in (("baseline", head_before()), ("1-2h", head_after()), ("24h", head_late())):
        nifti(volume, folder / "bids" / "sub-P3" / f"ses-{visit}" / "anat" / f"sub-P3_ses-{visit}_T1w.nii.gz")
        nifti(volume, folder / "bids" / "sub-P3" / f"ses-{visit}" / "anat" / f"sub-P3_ses-{visit}_T2w.nii.gz")
        rows.append({"patient": "P3", "path": f"bids/sub-P3/ses-{visit}", "visit": visit, "split": "test"})
        twice = "baseline" if visit == "1-2h" else visit
        rows.append({"patient": "P4", "path": f"bids/sub-P3/ses-{twice}", "visit": visit, "split": "train"})
    rows.append({"patient": "P5", "path": "P1/baseline", "visit": "baseline", "split": "train"})
    table(folder, rows)
    return folder


@pytest.fixture(scope="module")
def prepared(cohort):
    done = run("prepare", cohort / "mine.toml", "--manifest", cohort / "cohort.csv", "--out", cohort / "tensors")
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.mark.slow
def test_what_the_service_would_refuse_is_left_out_and_reported(cohort, prepared):
    rows = list(csv.DictReader((cohort / "tensors" / "report.csv").open(encoding="utf-8", newline="")))
    assert {r["patient"]: r["examples"] for r in rows} == {"P1": "2", "P2": "1", "P3": "1", "P4": "0", "P5": "0"}
    codes = {r["patient"]: r["code"] for r in rows}
    assert codes["P5"] == "VISIT_MISSING" and codes["P4"] == "SAME_PIXELS"
    assert "refused for SAME_PIXELS: 1" in prepared.output and "SIMULATED" not in prepared.output
    facts = json.loads((cohort / "tensors" / "prepared.json").read_text())
    assert facts["simulated"] is False and facts["facts"]["covariates"]["P1"]["age"] == "71"


@pytest.mark.slow
def test_dicom_and_nifti_of_one_head_give_one_tensor(cohort, prepared):
    """The same images by three routes: folders and archive, files, BIDS."""
    tensors = [np.load(cohort / "tensors" / f"{name}-0.npz") for name in ("P1", "P2", "P3")]
    for other in tensors[1:]:
        for key in ("tensor", "late"):
            assert np.abs(tensors[0][key].astype(float) - other[key]).mean() < 0.004


@pytest.mark.slow
def test_a_model_of_one_s_own_patients_is_fitted_judged_and_not_called_simulated(cohort, prepared):
    given = (cohort / "mine.toml", "--prepared", cohort / "tensors", "--run", cohort / "run")
    assert run("fit", *given).exit_code == 0
    shown = run("evaluate", *given)
    assert shown.exit_code == 0 and "SIMULATED" not in shown.output, shown.exception
    done = run("export", *given, "--out", cohort / "models", "--version", "1.0.0")
    assert done.exit_code == 0, (done.output, done.exception)
    manifest = load_manifest(cohort / "models" / "mine-1.0.0")
    assert manifest.simulated_training is False
    card = (cohort / "models" / "mine-1.0.0" / "MODEL_CARD.md").read_text()
    assert "SIMULATED" not in card and "simulat" not in card and "--manifest" in card


@pytest.mark.slow
def test_a_run_on_simulated_patients_cannot_lose_that(cohort, prepared, tmp_path):
    """Neither by an export that names real tensors, nor by a facts file without the word."""
    given = (cohort / "mine.toml", "--prepared", cohort / "tensors", "--run", cohort / "run")
    assert run("fit", *given).exit_code == 0 and run("evaluate", *given).exit_code == 0
    facts = json.loads((cohort / "run" / "facts.json").read_text())
    for changed in ({**facts, "simulated": True}, {k: v for k, v in facts.items() if k != "simulated"}):
        (cohort / "run" / "facts.json").write_text(json.dumps(changed))
        assert run("export", *given, "--out", tmp_path, "--version", "1.0.1").exit_code == 0
        assert load_manifest(tmp_path / "mine-1.0.1").simulated_training is True
    (cohort / "run" / "facts.json").write_text(json.dumps(facts))


@pytest.mark.slow
def test_another_recipe_s_tensors_are_not_taken(cohort, prepared, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(recipe_text(spacing_mm=5.0), encoding="utf-8")
    done = run("fit", other, "--prepared", cohort / "tensors", "--run", tmp_path / "run")
    assert isinstance(done.exception, UsageError) and "prepared by recipe mine" in str(done.exception)


def test_simulated_images_in_a_table_that_denies_it_stop_the_command(tmp_path):
    (tmp_path / "mine.toml").write_text(recipe_text(), encoding="utf-8")
    write(baseline_series("P1", manufacturer="csf24 simulator"), tmp_path / "a")
    path = table(tmp_path, [{"patient": "P1", "path": "a", "visit": "baseline"}])
    done = run("prepare", tmp_path / "mine.toml", "--manifest", path, "--out", tmp_path / "t")
    assert isinstance(done.exception, UsageError) and "says that it is simulated" in str(done.exception)
    assert not (tmp_path / "t" / "prepared.json").exists()


def test_every_fault_of_a_table_is_named_at_once(tmp_path):
    (tmp_path / "mine.toml").write_text(recipe_text(), encoding="utf-8")
    (tmp_path / "a").mkdir()
    path = table(
        tmp_path,
        [
            {"patient": "P1", "path": "absent", "visit": "baseline"},
            {"patient": "P1", "path": "a", "visit": "noon"},
            {"patient": "P2", "path": "a", "hours": "4.3", "visit": "24h"},
            {"patient": "../P3", "path": "a", "simulated": "maybe"},
            {"patient": "P4", "path": "a", "injection_time": "yesterday"},
        ],
    )
    done = run("prepare", tmp_path / "mine.toml", "--manifest", path, "--out", tmp_path / "t")
    said = str(done.exception)
    for words in ("absent: not there", "visit is 'noon'", "4.3 h is not in the window 24h", "simulated is 'maybe'",
                  "would not make a file name", "nothing says when", "injection_time is 'yesterday'"):  # fmt: skip
        assert words in said
