"""Simulated patients survive their files; the demo's patient is marked, compressed and complete."""

import csv
import io
import zipfile
from dataclasses import replace
from importlib import resources

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless
from typer.testing import CliRunner

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.simulated import three_visits
from training import cli
from training.simulate.deliver import write_dicom, write_nifti
from training.simulate.files import split_cohort, write_roster
from training.simulate.ground_truth import move
from training.simulate.patient import load_patient, save_patient
from training.simulate.tissues import Tissue

PROTOCOL = {"flip_deg": 8.0, "repetition_time_ms": 5.1, "echo_time_ms": 2.3}


@pytest.fixture(scope="module")
def patient(head):
    grid = Grid((6, 8, 10), np.array([[0, 0, 2.0, -5], [1.5, 0, 0, 3], [0, -1.5, 0, 9], [0, 0, 0, 1]], float))
    rng = np.random.default_rng(0)
    volumes = [Volume(np.rint(rng.uniform(0, 900, grid.shape)).astype(np.float32), grid) for _ in range(3)]
    return three_visits(
        tuple(volumes),
        RigidTransform.from_euler((1, 2, 3), (4, 5, 6)),
        RigidTransform.identity(),
        head.anatomy,
        name="patient-007",
        truth={"seed": 1, "index": 7, "protocol": PROTOCOL},
    )


def test_a_patient_is_read_back(patient, tmp_path):
    again = load_patient(save_patient(patient, tmp_path))
    assert list(again.visits) == ["baseline", "1-2h", "24h"]
    for window, visit in patient.visits.items():
        assert np.array_equal(again.visits[window].volume.array, visit.volume.array)
        assert np.allclose(again.visits[window].from_baseline.matrix, visit.from_baseline.matrix)
        assert again.visits[window].hours == visit.hours
    assert np.array_equal(again.anatomy.lateral_ventricles, patient.anatomy.lateral_ventricles)
    assert np.allclose(again.anatomy.left_orbit.fat_points, patient.anatomy.left_orbit.fat_points)
    assert again.truth == patient.truth


def test_dicom_slices_hold_the_volume_and_its_place(patient, tmp_path):
    files = write_dicom(patient, tmp_path)
    assert len(files) == 18
    slices = [pydicom.dcmread(f) for f in sorted((tmp_path / "delayed").glob("*.dcm"))]
    assert all(d.file_meta.TransferSyntaxUID == JPEGLSLossless for d in slices)
    assert np.array_equal(np.stack([d.pixel_array for d in slices]), patient.visits["1-2h"].volume.array)
    for k, d in enumerate(slices):
        assert np.allclose(np.array(d.ImagePositionPatient, float), patient.baseline.grid.to_world([[0, 0, k]])[0])
    assert np.allclose(np.array(slices[0].ImageOrientationPatient, float), [0, 1, 0, 0, 0, -1])
    assert len({d.SOPInstanceUID for d in slices}) == len({d.InstanceNumber for d in slices}) == 6
    assert slices[0].ContrastBolusStartTime == "091000" and slices[0].AcquisitionTime == "104000"


def test_the_same_patient_gives_the_same_uids_and_visits_differ(patient, tmp_path):
    first, second = (write_dicom(patient, tmp_path / f) for f in "ab")
    assert [pydicom.dcmread(f).SOPInstanceUID for f in first] == [pydicom.dcmread(f).SOPInstanceUID for f in second]
    series = {pydicom.dcmread(f).SeriesInstanceUID for f in first}
    assert len(series) == 3


def test_nifti_is_in_its_own_convention(patient, tmp_path):
    image = nibabel.load(write_nifti(patient, tmp_path)[0])
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), patient.baseline.array)
    corner = patient.baseline.grid.to_world([[0, 0, 0]])[0]
    assert np.allclose(image.affine[:3, 3], corner * [-1, -1, 1])


def test_split_is_by_patient_stable_and_complete():
    parts = split_cohort(40, seed=24)
    assert parts == split_cohort(40, seed=24)
    names = [name for part in parts.values() for name in part]
    assert len(names) == len(set(names)) == 40
    assert {part: len(members) for part, members in parts.items()} == {"test": 9, "val": 6, "train": 25}


def test_the_paper_s_136_patients_are_split_as_the_paper_s():
    parts = split_cohort(136, seed=24)
    assert len(parts["test"]) == 31 and len(parts["train"]) + len(parts["val"]) == 105


def test_the_roster_names_diagnosis_and_grade_as_synthetic(patient, tmp_path):
    truth = {**patient.truth, "diagnosis": "iNPH (synthetic)", "grade": "3", "reflux_index": 0.5}
    save_patient(replace(patient, name="patient-000", truth=truth), tmp_path)
    path = write_roster(tmp_path, {"train": ["patient-000"]})
    (row,) = csv.DictReader(path.open(encoding="utf-8", newline=""))
    assert (row["split"], row["simulated"], row["grade"]) == ("train", "yes", "3")
    assert "synthetic" in row["diagnosis"] and row["hours 24h"] == "24.00"


def test_anatomy_follows_the_pose(head):
    pose = RigidTransform.from_euler((3, -4, 5), (6, -7, 8), head.grid.centre)
    grid = Grid.axis_aligned((80, 80, 66), 3.0, pose.inverse().map(head.grid.centre[None])[0])
    moved = move(head.anatomy, pose, grid, head.labels, head.grid)
    assert np.allclose(pose.map(moved.left_orbit.fat_points), head.anatomy.left_orbit.fat_points)
    points = grid.to_world(np.argwhere(moved.lateral_ventricles)[:, ::-1])
    i, j, k = np.rint(head.grid.to_index(pose.map(points))).astype(int).T
    assert (head.labels[k, j, i] == Tissue.LATERAL_VENTRICLE).all()


def test_the_demo_patient_is_small_marked_and_a_pair():
    archive = resources.files("service") / "demo_patient" / "simulated-patient.zip"
    blob = archive.read_bytes()
    assert len(blob) < 8_000_000
    with zipfile.ZipFile(io.BytesIO(blob)) as stored:
        folders = {name.split("/")[0] for name in stored.namelist()}
        first = pydicom.dcmread(io.BytesIO(stored.read(sorted(stored.namelist())[0])))
        last = pydicom.dcmread(io.BytesIO(stored.read(sorted(stored.namelist())[-1])))
    assert folders == {"baseline", "delayed"}
    for d in (first, last):
        assert str(d.PatientName).startswith("SIMULATED")
        assert "SIMULATED" in d.SeriesDescription and "SIMULATED" in d.ImageComments
        assert d.get("SyntheticData", "NO") != "YES"  # it would be refused as derived
    assert first.PatientID == last.PatientID
    assert "ContrastBolusStartTime" not in first and last.ContrastBolusStartTime < last.AcquisitionTime


def test_without_torch_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    said = capsys.readouterr().out
    assert "torch" in said and "csf24[cpu,training]" in said and len(said.strip().splitlines()) == 1


def test_help_lists_the_commands():
    said = CliRunner().invoke(cli.app, ["--help"]).output
    for command in ("simulate", "prepare", "fit", "evaluate", "export", "figures", "reader-study"):
        assert command in said
