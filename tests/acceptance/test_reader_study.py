"""The README's commands, from patients in folders to the figures of a study; and what a pack gives away of them."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from service.dicom.headers import parse_header
from service.imaging.anatomy import find_anatomy
from service.imaging.recipe import model_grids
from tests.builders.dicom import classic_series
from tests.builders.heads import Head, head_volume
from tests.builders.patients import DELAYED_AT, head_before, write
from tests.builders.programs import needs, required
from tests.builders.reader_study import LATE_TRACER, head_late, write_patient
from training import cli
from training.reader_study.dicom_files import STORED_PER_FAT_UNIT
from training.settings import load_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("reader study")]

README = Path(__file__).parents[2] / "README.md"
GRADES = {"patient-a": 3, "patient-b": 4}


def command(name: str) -> list[str]:
    """The arguments of a command of the README."""
    [line] = re.findall(rf"^csf24-training (reader-study {name} .*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(line, comments=True)


def run(arguments: list[str]) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, arguments)
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done.output


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder after `make`, and what the command said."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cohort = Path("cohorts/study")
        for name in GRADES:
            write_patient(cohort / name, patient=f"SECRET-{name}")
        shutil.copytree(cohort / "patient-a", cohort / "patient-c")
        shutil.rmtree(cohort / "patient-c" / "late")
        shutil.copytree(cohort / "patient-b" / "late", cohort / "patient-c" / "late")
        yield folder, run(command("make"))


@pytest.fixture(scope="module")
def key(study):
    return json.loads((study[0] / "key.json").read_text())


@pytest.fixture(scope="module")
def images(study):
    """Item -> sagittal, axial data set."""
    found = {}
    for path in sorted((study[0] / "packs").rglob("*_sagittal.dcm")):
        axial = path.with_name(path.name.replace("sagittal", "axial"))
        found[path.name[:5]] = (pydicom.dcmread(path), pydicom.dcmread(axial))
    return found


def test_patients_are_packed_and_one_of_two_identities_is_left_out(study, key):
    said = study[1]
    assert "patient-c: left out: PATIENT_MISMATCH" in said
    assert "2 patients, 1 left out, 3 readers, 2 installments" in said
    assert list(key["left_out"]) == ["patient-c"]
    assert not key["simulated"]  # these headers do not say so
    assert key["models"]["volume3d-0.1.0"]["simulated_training"]


def test_no_file_of_the_packs_holds_anything_of_the_source(study):
    folder = study[0]
    sources = list((folder / "cohorts" / "study").rglob("0000.dcm"))
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sources]
    words = {b"SECRET", b"patient-", b"volume3d", b"19500101", b"202405", b"SIEMENS", b"T1 3D"}
    words |= {str(h[k].value).encode() for h in headers for k in ("StudyInstanceUID", "SOPInstanceUID")}
    words |= {str(h.FrameOfReferenceUID).encode() for h in headers}
    for path in (folder / "packs").rglob("*"):
        assert not any(word in str(path.relative_to(folder)).encode() for word in words)
        content = path.read_bytes() if path.is_file() else b""
        assert [word for word in words if word in content] == []


def test_real_and_predicted_pictures_show_the_same_region_and_no_face(key, images):
    by_patient = defaultdict(dict)
    for item in key["items"]:
        if item["reader"] == 1:
            by_patient[item["patient"]][item["version"]] = [d.pixel_array[20:] for d in images[item["item"]]]
    for versions in by_patient.values():
        real, predicted = versions["real"], versions["volume3d-0.1.0"]
        for a, b in zip(real, predicted, strict=True):
            assert ((a > 0) == (b > 0)).mean() > 0.995  # single dark pixels within the head apart
            assert 0.15 < (a > 0).mean() < 0.6
        sagittal = real[0] > 0
        assert not sagittal[150:, :70].any()  # the face, in front and below


def test_the_real_picture_is_the_24_h_scan_in_the_baseline_s_place_and_units_of_fat(key, images):
    """Against the head drawn without noise on the same planes: pose, gain and shading of the scan are undone."""
    grids = model_grids(find_anatomy(head_before()), load_recipe("paper2d-small").preprocessing)
    [item] = [i for i in key["items"] if (i["reader"], i["patient"], i["version"]) == (1, "patient-a", "real")]
    for dataset, grid in zip(images[item["item"]], grids, strict=True):
        picture = dataset.pixel_array / STORED_PER_FAT_UNIT
        shown = picture > 0
        shown[:20] = False
        truth, before = (head_volume(Head(gain=1.0, tracer=t), grid).array[0] for t in (LATE_TRACER, {}))
        bright = truth - before > 0.1
        assert np.median(np.abs(picture - truth)[shown]) < 0.04
        assert np.median((picture - before)[shown & bright]) == pytest.approx(
            np.median((truth - before)[shown & bright]), rel=0.25
        )


def test_readers_answers_become_figures_by_the_readme_s_command(study, key, monkeypatch):
    folder = study[0]
    monkeypatch.chdir(folder)
    items = {item["item"]: item for item in key["items"]}
    forms = Path("forms")
    forms.mkdir()
    for number, form in enumerate(sorted(Path("packs").rglob("ratings.csv"))):
        with form.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["grade"] = GRADES[items[row["item"]]["patient"]]
        with (forms / f"ratings-{number}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    run(command("score"))
    document = json.loads(Path("results/agreement.json").read_text())
    assert [r["transitions"]["counts"][1][1] for r in document["readings"]] == [1, 1, 1]
    assert [r["transitions"]["counts"][2][2] for r in document["readings"]] == [1, 1, 1]
    assert all(entry["kappa_fleiss"]["value"] == pytest.approx(1) for entry in document["agreement"])


@pytest.mark.needs_dicom3tools
@needs("dciodvfy")
def test_dciodvfy_finds_no_error_in_a_pack(study):
    for path in (study[0] / "packs" / "reader-1").rglob("*.dcm"):
        ran = subprocess.run([required("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
        lines = (ran.stdout + ran.stderr).splitlines()
        assert "MRImage" in lines
        assert [line for line in lines if line.startswith("Error")] == []


def test_csf24_itself_would_never_take_a_pack_for_a_scan(images):
    """A picture that strays into routing is no input."""
    assert all(
        d.ImageType[0] == "DERIVED" and "T1" not in d.SeriesDescription for pair in images.values() for d in pair
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--key", "packs2/key.json"], "within the packs"),
        (["--key", "key.json"], "another study"),
        (["--out", "cohorts"], "not an empty folder"),
        (["--model", "nosuch"], "no model 'nosuch'; give the folder of one, or one of paper2d, volume3d"),
        (["--model", "paper2d", "--model", "paper2d"], "given twice"),
        (["--cohort", "packs"], "has no patient"),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_work(changes, words, study, monkeypatch):
    monkeypatch.chdir(study[0])
    places = {"--cohort": "cohorts/study", "--out": "packs2", "--key": "key2.json"}
    arguments = [word for option, value in places.items() if option not in changes for word in (option, value)]
    done = CliRunner().invoke(cli.app, ["reader-study", "make", *arguments, *changes])
    assert done.exit_code != 0
    assert words in str(done.exception)
    assert not Path("packs2").exists()


def test_a_late_scan_of_another_day_is_left_out(tmp_path):
    """Both patients: then nothing is left to make packs from."""
    for name in "ab":
        folder = write_patient(tmp_path / "cohort" / name)
        shutil.rmtree(folder / "late")
        write(classic_series(head_late(), series=3, acquired_at=DELAYED_AT), folder / "late")
    assert parse_header((folder / "late" / "0000.dcm").read_bytes()).acquired_at == DELAYED_AT
    places = ["--cohort", str(tmp_path / "cohort"), "--out", str(tmp_path / "p"), "--key", str(tmp_path / "k.json")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["reader-study", "make", *places])
    assert "VISITS_OUT_OF_ORDER" in done.output
    assert "0 of 2 patients can be shown" in str(done.exception)
    assert not (tmp_path / "p").exists() and not (tmp_path / "k.json").exists()
