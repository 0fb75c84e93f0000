from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from service.dicom.same_image import same_image
from tests.builders.dicom import classic_series, enhanced_series, ramp_volume, to_bytes
from tests.builders.dicom_encoding import LOSSLESS, encode

VOLUME = ramp_volume("oblique", (4, 40, 36))
ORIGINAL = classic_series(VOLUME)[0]


def changed(change: Callable[[Dataset], object], original: Dataset = ORIGINAL) -> bytes:
    made = copy.deepcopy(original)
    change(made)
    return to_bytes(made)


def set_to(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset, keyword, value)


def alter_a_pixel(dataset: Dataset) -> None:
    values = np.frombuffer(dataset.PixelData, dtype="<u2").copy()
    values[7] += 1
    dataset.PixelData = values.tobytes()


def set_scale_slope(dataset: Dataset) -> None:
    dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 1.0)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("other", [pydicom.uid.JPEGLSLossless, pydicom.uid.ExplicitVRLittleEndian])
def test_lossless_copies_are_the_same_image(syntax: str, other: str) -> None:
    first, second = (to_bytes(encode([ORIGINAL], one)[0]) for one in (syntax, other))
    assert same_image(first, second)
    assert same_image(second, first)


def test_a_multiframe_object_in_another_encoding_is_the_same() -> None:
    first, second = (
        to_bytes(enhanced_series(VOLUME, transfer_syntax=syntax)[0])
        for syntax in (pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.RLELossless)
    )
    assert same_image(first, second)


@pytest.mark.parametrize(
    "change",
    [
        set_to("InstitutionName", "Elsewhere"),
        set_to("SoftwareVersions", "2"),
        set_to("WindowCenter", "40"),
        set_to("PatientName", f"{ORIGINAL.get('PatientName', '')}^^"),
        lambda dataset: dataset.private_block(0x0099, "SOMEBODY", create=True).add_new(1, "LO", "x"),
    ],
    ids=["institution", "software", "window", "empty name components", "private"],
)
def test_what_a_re_export_writes_into_the_header_makes_no_other_image(change: Callable[[Dataset], None]) -> None:
    assert same_image(to_bytes(ORIGINAL), changed(change))


@pytest.mark.parametrize(
    "change",
    [
        alter_a_pixel,
        set_to("PatientID", "P2"),
        set_to("PatientName", "Other^Name"),
        set_to("PatientBirthDate", "19000101"),
        set_to("PatientSex", "F"),
        set_to("AccessionNumber", "A17"),
        set_to("AcquisitionTime", "235959"),
        set_to("ImagePositionPatient", [1.0, 2.0, 3.0]),
        set_to("PixelSpacing", [0.7, 0.7]),
        set_to("FrameOfReferenceUID", "1.2.3"),
        set_to("SeriesInstanceUID", "1.2.3"),
        set_to("RescaleIntercept", "1"),
        set_to("ContrastBolusStartTime", "080000"),
        set_scale_slope,
    ],
    ids=[
        "pixel", "patient", "name", "birth", "sex", "accession number", "time", "position", "spacing", "frame",
        "series", "rescale", "injection", "scale slope",
    ],
)  # fmt: skip
def test_another_image_place_time_or_person_is_another_image(change: Callable[[Dataset], None]) -> None:
    assert not same_image(to_bytes(ORIGINAL), changed(change))


def test_a_place_that_moves_within_its_plane_is_another() -> None:
    """`InstanceHeader` knows the distance along the normal only."""
    row = np.array(ORIGINAL.ImageOrientationPatient[:3], dtype=float)
    moved = np.array(ORIGINAL.ImagePositionPatient, dtype=float) + 5 * row
    assert not same_image(to_bytes(ORIGINAL), changed(set_to("ImagePositionPatient", [f"{x:.6f}" for x in moved])))


@pytest.mark.parametrize("keep", [0, 200, -1, -40])
def test_a_file_that_is_damaged_is_like_no_other_not_even_itself(keep: int) -> None:
    whole = to_bytes(ORIGINAL)
    cut = whole[:keep]
    assert not same_image(whole, cut)
    assert not same_image(cut, cut)
