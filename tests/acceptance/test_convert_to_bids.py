"""`csf24 convert --bids` as a research group uses it: DICOM and a BIDS dataset in, one derivatives dataset out."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from tests.builders.batch import small_delayed
from tests.builders.bids import violations
from tests.builders.patients import SHIPPED, head_after, head_before, write
from tests.builders.service_process import csf24

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("convert"), pytest.mark.timeout(900)]

ANAT = "anat/{stem}_space-baseline_desc-{desc}_T1w"


@dataclass(frozen=True)
class Dataset:
    root: Path
    statuses: tuple[int, ...]

    @property
    def bids(self) -> Path:
        return self.root / "results/bids"

    def image(self, stem: str, desc: str) -> Path:
        return self.bids.joinpath(*stem.split("_")) / (ANAT.format(stem=stem, desc=desc) + ".nii.gz")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """DICOM first, one of the patients without a baseline; then a table of a BIDS dataset, two cases at a time."""
    root = tmp_path_factory.mktemp("bids")
    shutil.unpack_archive(SHIPPED, root / "dicom/sub-D1/ses-0", "zip")
    write(small_delayed("Alone"), root / "dicom/alone")
    rows = ["baseline,delayed,case,hours_after_injection"]
    for subject, after in (("P1", head_after()), ("P2", head_before())):
        files = [f"raw/sub-{subject}/ses-{n}/anat/sub-{subject}_ses-{n}_T1w.nii.gz" for n in ("pre", "1h")]
        for volume, name in zip((head_before(), after), files, strict=True):
            (root / name).parent.mkdir(parents=True)
            sitk.WriteImage(sitk.Cast(volume.to_sitk(), sitk.sitkInt16), str(root / name))
        rows.append(f"{files[0]},{files[1]},,1.5")
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    statuses = [
        csf24("convert", *what, "--out", "results", "--bids", cwd=root).returncode
        for what in (("dicom",), ("--manifest", "pairs.csv", "--jobs", "2"))
    ]
    return Dataset(root, tuple(statuses))


def test_the_official_validator_finds_nothing(dataset: Dataset) -> None:
    assert dataset.statuses == (3, 3)
    assert violations(dataset.bids) == []


def test_every_case_is_listed_and_only_predicted_ones_have_images(dataset: Dataset) -> None:
    lines = [line.split("\t") for line in (dataset.bids / "participants.tsv").read_text().splitlines()[1:]]
    outcomes = {line[0]: (line[2], line[3]) for line in lines}
    alone = next(name for name in outcomes if name.startswith("sub-c"))
    assert outcomes == {
        "sub-D1": ("predicted", "n/a"),
        "sub-P1": ("predicted", "n/a"),
        "sub-P2": ("refused", "SAME_PIXELS"),
        alone: ("refused", "BASELINE_MISSING"),
    }
    pictured = {path.relative_to(dataset.bids).parts[0] for path in dataset.bids.rglob("*.nii.gz")}
    assert pictured == {"sub-D1", "sub-P1"}


def test_a_prediction_from_dicom_lies_where_itk_sees_its_baseline(dataset: Dataset) -> None:
    reports = [json.loads(path.read_text()) for path in (dataset.root / "results").glob("*/report.json")]
    (uid,) = (
        found["baseline"]["series_instance_uid"]
        for found in reports
        if found["outcome"] == "predicted" and found["baseline"]["series_instance_uid"]
    )
    folders = sorted({path.parent for path in (dataset.root / "dicom/sub-D1").rglob("*.dcm")})
    files = [name for folder in folders for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)]
    baseline = sitk.ReadImage(files, sitk.sitkFloat32)
    predicted, increase = (
        sitk.Resample(sitk.ReadImage(str(dataset.image("sub-D1_ses-0", desc))), baseline, sitk.Transform(),
                      sitk.sitkNearestNeighbor, -1.0)
        for desc in ("predicted24h", "increase24h")
    )  # fmt: skip
    sidecar = json.loads(dataset.image("sub-D1_ses-0", "predicted24h").with_suffix("").with_suffix(".json").read_text())
    before, after, more = (sitk.GetArrayFromImage(image) for image in (baseline, predicted, increase))
    assert after.min() >= 0  # none outside of the baseline's grid
    fat = sidecar["SignalReference"]["baseline"]
    inside = before + fat * more > 0  # below, the prediction is cut off
    np.testing.assert_allclose(after[inside], (before + fat * more)[inside], atol=0.02)


def test_a_prediction_from_nifti_has_the_affine_of_its_baseline(dataset: Dataset) -> None:
    given = nibabel.load(dataset.root / "raw/sub-P1/ses-pre/anat/sub-P1_ses-pre_T1w.nii.gz")
    for desc in ("predicted24h", "increase24h", "increase24hLower", "increase24hUpper"):
        made = nibabel.load(dataset.image("sub-P1_ses-pre", desc))
        assert made.shape == given.shape
        np.testing.assert_allclose(made.affine, given.affine, atol=1e-4)
    lower, middle, upper = (
        nibabel.load(dataset.image("sub-P1_ses-pre", f"increase24h{end}")).get_fdata() for end in ("Lower", "", "Upper")
    )
    assert (lower <= middle + 1e-4).all() and (middle <= upper + 1e-4).all()
    assert 0.1 < middle.max() < 1.5  # tracer, in multiples of fat
