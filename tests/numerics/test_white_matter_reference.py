"""Heads whose orbital fat cannot be used: refused, unless the site lets white matter stand in, which is marked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from service.cases import CaseOutcome
from service.conversion import Conversion, Converter
from service.dicom.facts import OutputSelection
from service.dicom.policy import PairingPolicy
from service.imaging.examination import Fallback
from tests.builders.conversions import pair_of, shipped_model
from tests.builders.patients import unpack_shipped

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("white matter")]
INJECTED_AT = datetime(2024, 5, 14, 9, 10)  # of the shipped patient
CODE = "REFERENCE_IS_WHITE_MATTER"
OUTPUTS = OutputSelection(structured_report="basic-text")


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Dataset], list[Dataset]]:
    """The shipped pair, decoded."""
    series = unpack_shipped(tmp_path_factory.mktemp("patient"))
    return tuple([_decoded(path) for path in paths] for paths in series)  # type: ignore[return-value]


def _decoded(path: Path) -> Dataset:
    dataset = pydicom.dcmread(path)
    dataset.decompress()
    return dataset


def without_fat(datasets: list[Dataset]) -> list[Dataset]:
    """What is nearly as bright as fat is as dark as muscle: a fat-suppressed scan."""
    planes = [d.pixel_array for d in datasets]
    fat = np.percentile(np.stack(planes), 99)
    made = []
    for dataset, plane in zip(datasets, planes, strict=True):
        copy = pydicom.dcmread(_as_file(dataset))
        copy.PixelData = np.where(plane > 0.72 * fat, 0.4 * fat, plane).astype(plane.dtype).tobytes()
        made.append(copy)
    return made


def _as_file(dataset: Dataset) -> BytesIO:
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    content.seek(0)
    return content


@pytest.fixture(scope="module")
def convert(patient) -> Callable[..., Conversion]:
    def run(baseline: list[Dataset], delayed: list[Dataset], fallback: Fallback) -> Conversion:
        converter = Converter(
            shipped_model(),
            policy=PairingPolicy(),
            outputs=OUTPUTS,
            software_version="test",
            clock=time.perf_counter,
            fallback=fallback,
        )
        return converter.convert_dicom(pair_of(baseline, delayed, injected_at=INJECTED_AT))

    return run


@pytest.fixture(scope="module")
def suppressed(patient) -> tuple[list[Dataset], list[Dataset]]:
    return tuple(without_fat(series) for series in patient)  # type: ignore[return-value]


def test_without_leave_a_fat_suppressed_pair_is_refused(convert, suppressed):
    conversion = convert(*suppressed, "none")
    assert conversion.outcome is CaseOutcome.REFUSED
    assert {reason.code for reason in conversion.reasons} & {"FAT_NOT_FOUND", "FAT_NOT_BRIGHT", "FAT_SMALL"}
    assert conversion.report["normalisation"]["reference"] is None


def test_with_leave_it_is_predicted_by_white_matter_and_says_so_everywhere(convert, suppressed):
    conversion = convert(*suppressed, "white_matter")
    assert conversion.outcome is CaseOutcome.PREDICTED, conversion.reasons
    (warning,) = [w for w in conversion.report["warnings"] if w["code"] == CODE]
    assert "FAT_" in warning["message"]
    assert conversion.report["normalisation"]["reference"] == "white_matter"
    assert conversion.report["normalisation"]["orbital_fat"] is None
    objects = [pydicom.dcmread(BytesIO(file.content)) for file in conversion.files]
    images = [made for made in objects if "PixelData" in made]
    assert all(CODE in made.ImageComments for made in images)
    assert all("white matter in place of fat" in made.DerivationDescription for made in images)
    (structured,) = [made for made in objects if made.Modality == "SR"]
    assert CODE in structured.to_json() and "white matter in place of fat" in structured.to_json()
    json.dumps(conversion.report)


def test_a_pair_with_good_fat_is_not_touched_by_the_leave(convert, patient):
    plain, allowed = (convert(*patient, fallback) for fallback in ("none", "white_matter"))
    assert allowed.report["normalisation"] == plain.report["normalisation"]
    assert allowed.report["normalisation"]["reference"] == "orbital_fat"
    assert CODE not in [w["code"] for w in allowed.report["warnings"]]
    assert allowed.course is not None and plain.course is not None
    assert np.array_equal(allowed.course.restored.predicted[0].array, plain.course.restored.predicted[0].array)


def test_the_two_references_agree_to_what_the_warning_says(convert, patient, suppressed):
    by_fat, by_white = convert(*patient, "none"), convert(*suppressed, "white_matter")
    assert by_fat.course is not None and by_white.course is not None
    assert by_white.course.reference.baseline == pytest.approx(by_fat.course.reference.baseline, rel=0.25)
    ratios = [course.reference.delayed / course.reference.baseline for course in (by_fat.course, by_white.course)]
    assert ratios[1] == pytest.approx(ratios[0], rel=0.05)  # the two scans against each other are not affected
