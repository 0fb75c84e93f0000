"""One head pair in every encoding that scanners and archives use: the same voxels, the same model input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from service.cases import CaseOutcome
from service.conversion import Conversion
from service.dicom.banner import banner
from service.dicom.facts import OutputSelection
from service.dicom.policy import PairingPolicy
from service.dicom.read_back import verify_objects
from service.imaging.head_mask import dilate
from service.imaging.recipe import prepare
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from service.received_pair import ReceivedPair, receive_pair
from tests.builders.aligned import aligned_pair
from tests.builders.conversions import (
    RecordingPredictor,
    anatomy_at,
    convert_datasets,
    pair_of,
    read_with_itk,
    shipped_model,
)
from tests.builders.dicom import ORIENTATIONS, classic_series, enhanced_series, legacy_converted_series, shuffled
from tests.builders.dicom_encoding import LOSSLESS
from tests.builders.heads import Head, head_volume
from tests.builders.patients import BASELINE_AT, DELAYED_AT, INJECTED_AT, MOVED, head_after, head_before
from tests.builders.reformat import ASKEW, backwards, stored_as

Build = Callable[..., list[Dataset]]
KINDS: dict[str, Build] = {
    "classic": classic_series,
    "enhanced": enhanced_series,
    "legacy converted": legacy_converted_series,
}
VENDORS: dict[str, dict[str, object]] = {
    "Siemens": {"manufacturer": "SIEMENS", "BitsStored": 12, "HighBit": 11},
    "Siemens with rescale": {"manufacturer": "SIEMENS", "rescale": (0.5, -64.0)},
    "GE": {"manufacturer": "GE MEDICAL SYSTEMS", "PixelRepresentation": 1, "PixelPaddingValue": -32768},
    "Philips": {"manufacturer": "Philips", "rescale": (2.36166056166056, 0.0), "philips_scale_slope": 2.0},
}
OTHER_PHILIPS = {"manufacturer": "Philips", "rescale": (0.811721611721612, 0.0), "philips_scale_slope": 4.0}
"""The scanner fills its 12 bits anew for every series."""
ORDERS = ("as scanned", "reversed", "shuffled", "against the normal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a series is stored."""

    kind: str = "classic"
    syntax: str = uid.ExplicitVRLittleEndian
    orientation: str = "axial"
    order: str = "as scanned"
    vendor: str = "Siemens"

    def __str__(self) -> str:
        return ", ".join((self.kind, uid.UID(self.syntax).name, self.orientation, self.order, self.vendor))


def encodings() -> list[Encoding]:
    """Every kind in every syntax, from every vendor, and in every orientation; the rest rotates."""
    orientations, vendors = list(ORIENTATIONS), list(VENDORS)
    return [
        encoding
        for m, kind in enumerate(KINDS)
        for encoding in (
            *(
                Encoding(
                    kind=kind,
                    syntax=syntax,
                    orientation=orientations[(n + m) % 4],
                    order=ORDERS[(n + 2 * m + 1) % 4],
                    vendor=vendors[(n + 3 * m) % 4],
                )
                for n, syntax in enumerate(LOSSLESS)
            ),
            *(
                Encoding(kind=kind, orientation=orientations[(n + shift) % 4], order=ORDERS[(m + n) % 4], vendor=vendor)
                for shift in (m, m + 2)
                for n, vendor in enumerate(vendors)
            ),
        )
    ]


# --- the pair, coarse, so that many encodings can be read; the two series of it differ in matrix and spacing


@cache
def coarse_before() -> Volume:
    volume = head_volume(Head(noise=0.02, seed=1), Grid.axis_aligned((40, 38, 34), 6.0, (0.0, 0.0, -20.0)))
    return volume.with_array(volume.array.round())


@cache
def coarse_after() -> Volume:
    head = Head(noise=0.02, seed=2, tracer={"basal": 0.2}, gain=1500.0)
    volume = head_volume(head, Grid.axis_aligned((44, 42, 36), 5.5, (1.0, 2.0, -19.0)), MOVED)
    return volume.with_array(volume.array.round())


def encoded(
    volume: Volume, encoding: Encoding, *, series: int, acquired_at: datetime, injected_at: datetime | None
) -> list[Dataset]:
    vendor = VENDORS[encoding.vendor]
    if encoding.vendor == "Philips" and series == 2:
        vendor = OTHER_PHILIPS
    stored = stored_as(volume, encoding.orientation)
    if encoding.order == "against the normal":
        stored = backwards(stored)
    options: dict[str, object] = {
        "series": series,
        "acquired_at": acquired_at,
        "injected_at": injected_at,
        "transfer_syntax": encoding.syntax,
        **vendor,
    }
    n = stored.grid.shape[0]
    if encoding.kind == "enhanced" and encoding.order in ("reversed", "shuffled"):
        options["frame_order"] = (
            range(n)[::-1] if encoding.order == "reversed" else np.random.default_rng(3).permutation(n).tolist()
        )
        options["parts"] = 2
    datasets = KINDS[encoding.kind](stored, **options)
    if encoding.order == "shuffled":
        return shuffled(datasets, seed=5)
    return datasets[::-1] if encoding.order == "reversed" else datasets


def coarse_pair(encoding: Encoding) -> tuple[list[Dataset], list[Dataset]]:
    return (
        encoded(coarse_before(), encoding, series=1, acquired_at=BASELINE_AT, injected_at=None),
        encoded(coarse_after(), encoding, series=2, acquired_at=DELAYED_AT, injected_at=INJECTED_AT),
    )


def received(encoding: Encoding) -> ReceivedPair:
    return receive_pair(pair_of(*coarse_pair(encoding)), PairingPolicy())


@cache
def plain(orientation: str) -> ReceivedPair:
    return received(Encoding(orientation=orientation))


def model_input(pair: ReceivedPair) -> np.ndarray:
    """With a head's place given, since nothing can be found in voxels of 6 mm."""
    assert pair.volumes is not None
    anatomy = anatomy_at(pair.volumes.baseline.grid.centre)
    series = aligned_pair(pair.volumes.baseline, pair.volumes.delayed, MOVED, fats=(1000.0, 1500.0))
    return prepare(series, anatomy=anatomy, recipe=shipped_model().manifest.recipe).tensor


def test_the_plain_pair_is_what_was_drawn_wherever_its_slices_lie() -> None:
    for orientation in ORIENTATIONS:
        volumes = plain(orientation).volumes
        assert volumes is not None
        for read, drawn in ((volumes.baseline, coarse_before()), (volumes.delayed, coarse_after())):
            expected = stored_as(drawn, orientation)
            assert read.grid.same_as(expected.grid, 1e-4)
            np.testing.assert_array_equal(read.array, expected.array)
            if orientation != "oblique":  # the very same voxels, only in another order
                np.testing.assert_array_equal(resample(read, drawn.grid).array, drawn.array)


@pytest.mark.parametrize("encoding", encodings(), ids=str)
def test_an_encoding_changes_neither_voxels_nor_grid_nor_what_the_headers_say(encoding: Encoding) -> None:
    expected, found = plain(encoding.orientation), received(encoding)
    for one, other in zip(expected.sources, found.sources, strict=True):
        np.testing.assert_array_equal(other.volume.array, one.volume.array)
        assert other.volume.grid.affine.tobytes() == one.volume.grid.affine.tobytes()
        assert other.volume.frame_of_reference_uid == one.volume.frame_of_reference_uid
    assert found.hours_after_injection == expected.hours_after_injection == 1.5
    assert [reason.code for reason in found.rejections] == [reason.code for reason in expected.rejections]
    assert [summary.acquired_at for summary in found.summaries] == [BASELINE_AT, DELAYED_AT]


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(kind="enhanced", syntax=uid.JPEGLSLossless, orientation="sagittal", order="shuffled"),
        Encoding(kind="legacy converted", syntax=uid.RLELossless, orientation="oblique", vendor="Philips"),
        Encoding(syntax=uid.ImplicitVRLittleEndian, orientation="coronal", order="against the normal", vendor="GE"),
    ],
    ids=str,
)
def test_equal_voxels_are_an_equal_model_input_to_the_last_bit(encoding: Encoding) -> None:
    tensor = model_input(received(encoding))
    assert tensor.tobytes() == model_input(plain(encoding.orientation)).tobytes()
    assert 0.3 < tensor.std() / tensor.mean() < 3  # and it shows a head


# --- whole conversions: the head at 1.5 mm

UNCHANGED_OUTSIDE = {50: 1e-4, 99: 0.01, 100: 0.1}
"""Percentiles of the change outside the head, in fat units: air does not enhance, but a network is not exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A conversion, what it was made of, and what the model was given."""

    conversion: Conversion
    pair: ReceivedPair
    tensor: np.ndarray

    @property
    def baseline(self) -> Volume:
        return self.pair.sources[0].volume

    @property
    def increase(self) -> Volume:
        """In fat units."""
        course = self.conversion.course
        assert course is not None and course.restored is not None and course.fat_baseline is not None
        (increase,) = course.restored.increase
        return increase.with_array(increase.array / np.float32(course.fat_baseline.median))

    @property
    def predicted(self) -> Volume:
        """In fat units."""
        course = self.conversion.course
        assert course is not None and course.restored is not None and course.fat_baseline is not None
        (predicted,) = course.restored.predicted
        return predicted.with_array(predicted.array / np.float32(course.fat_baseline.median))


def converted(baseline: list[Dataset], delayed: list[Dataset], outputs: OutputSelection | None = None) -> Converted:
    recorder = RecordingPredictor()
    conversion = convert_datasets(baseline, delayed, recorder, outputs=outputs)
    assert conversion.outcome is CaseOutcome.PREDICTED, conversion.reasons
    (tensor,) = recorder.tensors
    return Converted(
        conversion=conversion, pair=receive_pair(pair_of(baseline, delayed), PairingPolicy()), tensor=tensor
    )


@cache
def plainly_converted() -> Converted:
    """Classic MR, explicit VR, sagittal."""
    return converted(*fine_pair(Encoding(orientation="sagittal")))


def fine_pair(encoding: Encoding) -> tuple[list[Dataset], list[Dataset]]:
    return (
        encoded(head_before(), encoding, series=1, acquired_at=BASELINE_AT, injected_at=None),
        encoded(head_after(), encoding, series=2, acquired_at=DELAYED_AT, injected_at=INJECTED_AT),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(kind="enhanced", syntax=uid.JPEGLSLossless, orientation="sagittal", order="shuffled"),
        Encoding(kind="legacy converted", orientation="sagittal", vendor="Philips"),  # slopes differ between the series
    ],
    ids=str,
)
def test_a_pair_of_multi_frame_objects_is_predicted_as_the_plain_one_is(encoding: Encoding, tmp_path: Path) -> None:
    expected, found = plainly_converted(), converted(*fine_pair(encoding))
    assert found.tensor.tobytes() == expected.tensor.tobytes()
    np.testing.assert_array_equal(found.predicted.array, expected.predicted.array)
    check_objects(found, tmp_path)


@pytest.mark.slow
def test_an_oblique_pair_of_unequal_matrix_is_predicted_alike(tmp_path: Path) -> None:
    """The same two heads, sampled askew and at other voxel sizes: nothing but interpolation may differ."""
    before = sampled_askew(Head(noise=0.02, seed=1), (150, 160, 144), (1.4, 1.4, 1.6))
    late = Head(noise=0.02, seed=2, tracer={"basal": 0.2}, gain=1500.0, bias=0.05)
    after = sampled_askew(late, (140, 144, 128), (1.6, 1.6, 1.7), MOVED)
    outputs = OutputSelection(mr_image=True, parametric_map=True, structured_report="basic-text")
    found = converted(
        classic_series(before, acquired_at=BASELINE_AT, transfer_syntax=uid.JPEG2000Lossless),
        classic_series(after, series=2, acquired_at=DELAYED_AT, injected_at=INJECTED_AT),
        outputs,
    )
    expected = plainly_converted()
    course = found.conversion.course
    assert course is not None and course.anatomy is not None
    brain, grid = course.anatomy.brain, course.anatomy.grid
    one, other = (resample(made.increase, grid, antialias=True).array[brain] for made in (expected, found))
    gap = np.abs(one - other)
    assert np.median(gap) < 0.01  # fat units; the tracer's rise goes to 0.25
    assert np.percentile(gap, 95) < 0.05
    assert np.corrcoef(one, other)[0, 1] > 0.95
    one, other = (resample(made.predicted, grid, antialias=True).array[brain] for made in (expected, found))
    assert np.median(np.abs(one - other)) < 0.015  # the noise of either series at 2 mm
    check_objects(found, tmp_path)


def sampled_askew(
    head: Head, shape: tuple[int, int, int], spacing: tuple[float, float, float], pose: RigidTransform | None = None
) -> Volume:
    grid = Grid.axis_aligned(shape, 1.0, (0.0, 0.0, 0.0))
    affine = ASKEW.matrix @ grid.affine
    affine[:3, :3] = affine[:3, :3] * spacing
    middle = np.array(shape[::-1]) / 2 - 0.5
    affine[:3, 3] = np.array([0.0, 0.0, -20.0]) - affine[:3, :3] @ middle
    volume = head_volume(head, Grid(shape, affine), pose)
    return volume.with_array(volume.array.round())


def slices_as_in(grid: Grid, volume: Volume) -> Volume:
    """The same voxels in the same places, slices counted from the end that `grid` counts from.

    GDCM does not sort secondary captures by place, so ITK may start at the other end; nothing moves by that.
    """
    if float(volume.grid.directions[:, 2] @ grid.directions[:, 2]) > 0:
        return volume
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_world([[0, 0, volume.grid.shape[0] - 1]])[0]
    affine[:3, 2] *= -1
    return Volume(volume.array[::-1], Grid(volume.grid.shape, affine))


def check_objects(found: Converted, folder: Path) -> None:
    """As pydicom and ITK read them: in place, the prediction below the banner, nothing new outside the head."""
    course, baseline = found.conversion.course, found.pair.sources[0]
    assert course is not None and course.restored is not None
    contents = [file.content for file in found.conversion.files]
    verify_objects(contents, baseline, course.restored)
    for number, content in enumerate(contents):
        (folder / f"{number:04d}.dcm").write_bytes(content)
    series: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted(folder.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if dataset.SOPClassUID in (uid.SecondaryCaptureImageStorage, uid.MRImageStorage):
            series.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    assert series
    for series_uid, images in series.items():
        assert len(images) == found.baseline.grid.shape[0]
        read = slices_as_in(found.baseline.grid, read_with_itk(folder, series_uid))
        assert read.grid.same_as(found.baseline.grid, 1e-2)
        height = banner(*read.array.shape[1:], simulated_training=True).shape[0]
        truth = course.restored.predicted[0].array
        step = float(images[0].get("RescaleSlope", 1))
        assert np.abs(read.array - truth)[:, height:].max() <= step / 2 + 1e-3
        assert (np.abs(read.array - truth)[:, :height] > step).mean() > 0.5
        change = (read.array - found.baseline.array)[:, height:] / course.fat_baseline.median
        outside = outside_the_head(found)[:, height:]
        assert outside.mean() > 0.3
        for share, most in UNCHANGED_OUTSIDE.items():
            assert np.percentile(np.abs(change[outside]), share) <= most


def outside_the_head(found: Converted) -> np.ndarray:
    """Further than 6 mm from the head's smoothed outline, as the quality check counts it."""
    course = found.conversion.course
    assert course is not None and course.anatomy is not None
    anatomy = course.anatomy
    around = dilate(anatomy.head, 6.0, anatomy.grid).astype(np.float32)
    return resample(Volume(around, anatomy.grid), found.baseline.grid).array < 0.01
