from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset

from service.dicom.headers import read_header
from service.dicom.records import SeriesSummary
from service.dicom.series import SourceSeries
from service.dicom.volumes import read_series, read_series_from_bytes
from service.errors import InputRefused
from service.imaging.volume import Grid, Volume
from tests.builders.dicom import (
    ORIENTATIONS,
    classic_series,
    enhanced_series,
    legacy_converted_series,
    make_uid,
    ramp_volume,
    shuffled,
    to_bytes,
)
from tests.builders.dicom_encoding import LOSSLESS
from tests.builders.real_head import FOLDER, load_real_head, needs_head
from tests.builders.received import summarise

BUILDS: list[Callable[..., list[Dataset]]] = [classic_series, enhanced_series, legacy_converted_series]


def summary_of(datasets: list[Dataset]) -> SeriesSummary:
    return summarise([read_header(dataset) for dataset in datasets])


def read_all(datasets: list[Dataset]) -> SourceSeries:
    return read_series(datasets, summary_of(datasets))


def refusal(datasets: list[Dataset]) -> tuple[str, InputRefused]:
    with pytest.raises(InputRefused) as refused:
        read_all(datasets)
    return refused.value.reasons[0].code, refused.value


def read_by_simpleitk(datasets: list[Dataset], folder: Path) -> Volume:
    """ITK's series reader with GDCM: sorts, orients and rescales on its own."""
    for number, dataset in enumerate(datasets):
        (folder / f"{number:03d}.dcm").write_bytes(to_bytes(dataset))
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return Volume.from_sitk(reader.Execute())


# --- agreement with readers that are not ours


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_classic_series_agree_with_simpleitk_in_every_orientation(orientation, tmp_path):
    datasets = shuffled(classic_series(ramp_volume(orientation), rescale=(0.5, 0.0)))
    ours, theirs = read_all(datasets).volume, read_by_simpleitk(datasets, tmp_path)
    assert ours.grid.same_as(theirs.grid, 1e-4)
    np.testing.assert_allclose(ours.array, theirs.array, rtol=1e-6)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s.is_encapsulated], ids=lambda s: s.name)
def test_compressed_series_agree_with_simpleitk(syntax, tmp_path):
    datasets = shuffled(classic_series(ramp_volume("sagittal"), transfer_syntax=syntax))
    ours, theirs = read_all(datasets).volume, read_by_simpleitk(datasets, tmp_path)
    assert ours.grid.same_as(theirs.grid, 1e-4)
    np.testing.assert_array_equal(ours.array, theirs.array)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_kind_of_object_gives_back_the_volume(build, orientation):
    volume = ramp_volume(orientation)
    series = read_all(shuffled(build(volume)))
    assert series.volume.grid.same_as(volume.grid, 1e-4)
    np.testing.assert_array_equal(series.volume.array, volume.array)
    assert series.volume.frame_of_reference_uid == make_uid("P1", 1, "frame of reference")


class TestTheRealHead:
    pytestmark = needs_head

    def test_it_agrees_with_simpleitk_but_for_philips_scale(self, tmp_path):
        paths = sorted(FOLDER.glob("1301_*.dcm"))
        datasets = shuffled([pydicom.dcmread(path) for path in paths])
        ours, theirs = read_all(datasets).volume, read_by_simpleitk(datasets, tmp_path)
        assert ours.grid.same_as(theirs.grid, 1e-3)
        slope, scale_slope = float(datasets[0].RescaleSlope), float(datasets[0][0x2005, 0x100E].value)
        np.testing.assert_allclose(ours.array, theirs.array / (slope * scale_slope), rtol=1e-5)

    def test_recompressed_it_reads_the_same(self):
        head = load_real_head()
        part = Volume(np.rint(head.array[80:90]), Grid((10, *head.array.shape[1:]), head.grid.affine))
        packed = classic_series(part, transfer_syntax=uid.JPEG2000Lossless)
        np.testing.assert_array_equal(read_all(packed).volume.array, part.array)


# --- order and geometry


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    angles = [draw(st.floats(-180, 180)) for _ in range(3)]
    rotation = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        turn, (a, b) = np.eye(3), [n for n in range(3) if n != axis]
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        rotation = rotation @ turn
    spacing = [draw(st.floats(0.4, 3.0)) for _ in range(3)]
    shape = (draw(st.integers(2, 9)), draw(st.integers(3, 12)), draw(st.integers(3, 12)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    array = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 4096, shape)
    return Volume(array.astype(np.float32), Grid(shape, affine))


@given(volumes(), st.sampled_from([classic_series, enhanced_series]), st.integers(0, 1000), st.randoms())
@settings(max_examples=60, deadline=None)
def test_any_orientation_and_order_gives_back_world_coordinates_and_values(volume, build, seed, random):
    options: dict[str, object] = {}
    if build is enhanced_series:
        options = {"frame_order": random.sample(range(len(volume.array)), len(volume.array)), "parts": 1 + seed % 2}
    series = read_all(shuffled(build(volume, **options), seed))
    assert series.volume.grid.same_as(volume.grid, 0.01)
    np.testing.assert_array_equal(series.volume.array, volume.array)
    index = np.array([[0, 0, k] for k in range(len(volume.array))])
    np.testing.assert_allclose([p.position for p in series.planes], volume.grid.to_world(index), atol=1e-4)


def test_slices_stored_against_the_normal_are_turned_round():
    volume = ramp_volume("coronal")
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (len(volume.array) - 1)
    affine[:3, 2] *= -1
    backwards = Volume(volume.array[::-1], Grid(volume.array.shape, affine))
    series = read_all(classic_series(backwards))
    assert series.volume.grid.same_as(volume.grid, 1e-4)
    np.testing.assert_array_equal(series.volume.array, volume.array)
    assert [plane.instance_number for plane in series.planes] == [6, 5, 4, 3, 2, 1]


def test_instance_number_slice_thickness_and_stated_spacing_do_not_matter():
    volume = ramp_volume()
    datasets = classic_series(
        volume, InstanceNumber=lambda k: (k * 5) % 6 + 1, SliceThickness="5", SpacingBetweenSlices="7"
    )
    series = read_all(datasets)
    assert series.volume.grid.spacing == pytest.approx((0.9, 1.1, 1.3))
    np.testing.assert_array_equal(series.volume.array, volume.array)


def test_planes_name_their_instances_and_frames():
    classic = read_all(shuffled(classic_series(ramp_volume())))
    assert [p.sop_instance_uid for p in classic.planes] == [d.SOPInstanceUID for d in classic_series(ramp_volume())]
    assert {p.frame_number for p in classic.planes} == {None}
    made = enhanced_series(ramp_volume(), frame_order=[5, 3, 1, 0, 2, 4], parts=2)
    enhanced = read_all(shuffled(made))
    assert [(p.sop_instance_uid, p.frame_number) for p in enhanced.planes] == [
        (made[1].SOPInstanceUID, 1),
        (made[0].SOPInstanceUID, 3),
        (made[1].SOPInstanceUID, 2),
        (made[0].SOPInstanceUID, 2),
        (made[1].SOPInstanceUID, 3),
        (made[0].SOPInstanceUID, 1),
    ]
    assert {p.sop_class_uid for p in enhanced.planes} == {uid.EnhancedMRImageStorage}


def test_positions_rounded_by_an_export_are_accepted():
    volume = ramp_volume("oblique", shape=(40, 36, 40), spacing_ijk=(1.0, 1.0, 0.9))
    datasets = classic_series(
        volume,
        ImagePositionPatient=lambda k: [f"{v:.2f}" for v in volume.grid.to_world([[0, 0, k]])[0]],
        ImageOrientationPatient=[f"{v:.4f}" for v in volume.grid.directions[:, :2].T.ravel()],
    )
    assert read_all(datasets).volume.grid.same_as(volume.grid, 0.05)


def test_the_volume_of_slightly_skewed_directions_can_go_to_simpleitk():
    datasets = classic_series(ramp_volume(), ImageOrientationPatient=["1", "0.0004", "0", "0.0003", "1", "0"])
    assert read_all(datasets).volume.to_sitk().GetSize() == (40, 36, 6)


def test_the_order_of_arrival_does_not_change_a_digit():
    volume = ramp_volume("oblique")
    wobble = [0, 1e-5, -2e-5, 3e-5, 0, -1e-5]
    directions = volume.grid.directions[:, :2].T.ravel()
    datasets = classic_series(volume, ImageOrientationPatient=lambda k: [f"{v + wobble[k]:.9f}" for v in directions])
    grids = [read_all(shuffled(datasets, seed)).volume.grid for seed in range(5)]
    assert len({grid.affine.tobytes() for grid in grids}) == 1


# --- what goes along


def test_the_template_has_the_headers_without_pixels_and_per_frame_parts():
    for build in BUILDS:
        datasets = build(ramp_volume(), PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192")
        series = read_series_from_bytes([to_bytes(d) for d in datasets], summary_of(datasets))
        assert "PixelData" not in series.template
        assert "PerFrameFunctionalGroupsSequence" not in series.template
        assert series.template.PatientName == "Müller^Jörg"
        assert series.template.StudyInstanceUID == make_uid("P1", 1)


def test_the_template_is_a_copy_and_leaves_out_what_cannot_be_read():
    datasets = classic_series(ramp_volume())
    datasets[0][0x00180081] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00180081), "DS", 4, b"3,70", 0, False, True, True
    )
    series = read_all(datasets)
    assert "EchoTime" not in series.template
    series.template.PatientID = "SOMEBODY ELSE"
    series.template.file_meta = None
    assert datasets[0].PatientID == "P1"
    assert "PixelData" in datasets[0]


def test_the_window_is_in_real_values():
    assert read_all(classic_series(ramp_volume())).window == (500, 1000)
    assert read_all(classic_series(ramp_volume(), WindowCenter=None)).window is None
    assert read_all(classic_series(ramp_volume(), WindowWidth="0")).window is None
    philips = {"rescale": (2.0, 0.0), "philips_scale_slope": 0.25}
    for build in BUILDS:
        assert read_all(build(ramp_volume(), **philips)).window == (1000, 2000)
    several = classic_series(ramp_volume(), WindowCenter=["100", "5"], WindowWidth=["200", "9"])
    assert read_all(several).window == (100, 200)


def test_the_summary_is_passed_on():
    datasets = classic_series(ramp_volume())
    summary = summary_of(datasets)
    assert read_series(datasets, summary).summary is summary


# --- refusals


def test_a_missing_slice_is_a_gap_and_the_message_says_where():
    datasets = classic_series(ramp_volume())
    del datasets[2]
    code, refused = refusal(shuffled(datasets))
    assert code == "SLICE_GAP"
    assert "between planes 2 and 3 of 5" in refused.reasons[0].message
    assert (refused.reasons[0].measured, refused.reasons[0].limit) == ("2.600 mm", "1.300 mm")


def test_spacing_that_creeps_is_a_gap():
    volume = ramp_volume(shape=(60, 36, 40), spacing_ijk=(1.0, 1.0, 1.0))
    datasets = classic_series(volume, ImagePositionPatient=lambda k: ["0", "0", f"{k * (1 + 0.0005 * k):.6f}"])
    assert refusal(datasets)[0] == "SLICE_GAP"


@pytest.mark.parametrize("build", [classic_series, enhanced_series])
def test_one_plane_is_too_few(build):
    volume = ramp_volume()
    assert refusal(build(Volume(volume.array[:1], Grid((1, 36, 40), volume.grid.affine))))[0] == "TOO_FEW_SLICES"


def test_no_images_are_too_few():
    with pytest.raises(InputRefused, match="TOO_FEW_SLICES"):
        read_series([], summary_of(classic_series(ramp_volume())))


def test_gantry_tilt_is_sheared():
    datasets = classic_series(ramp_volume(), ImagePositionPatient=lambda k: ["0", f"{0.2 * k:.1f}", f"{1.3 * k:.1f}"])
    assert refusal(datasets)[0] == "SHEARED_GRID"


def test_one_turned_plane_is_a_mixed_orientation():
    datasets = classic_series(ramp_volume())
    datasets[3].ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    assert refusal(datasets)[0] == "MIXED_ORIENTATION"


def test_planes_of_different_size_or_spacing_are_mixed():
    larger = classic_series(ramp_volume(shape=(6, 40, 40)))
    assert refusal(classic_series(ramp_volume())[:5] + larger[5:])[0] == "MIXED_MATRIX"
    datasets = classic_series(ramp_volume(), PixelSpacing=lambda k: ["1", "1"] if k == 4 else ["1.1", "0.9"])
    assert refusal(datasets)[0] == "MIXED_MATRIX"


def test_planes_of_different_frames_of_reference_are_refused():
    datasets = classic_series(ramp_volume(), FrameOfReferenceUID=lambda k: make_uid("frame", k == 3))
    assert refusal(datasets)[0] == "MIXED_FRAME_OF_REFERENCE"


@pytest.mark.parametrize(
    "tags",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"PixelSpacing": None},
        {"PixelSpacing": ["0", "1"]},
        {"PixelSpacing": ["-1", "1"]},
        {"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]},
        {"ImageOrientationPatient": ["2", "0", "0", "0", "2", "0"]},
        {"ImagePositionPatient": ["0", "0"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("build", [classic_series, enhanced_series])
def test_planes_without_sound_geometry_are_refused(build, tags):
    keyword, value = next(iter(tags.items()))
    datasets = build(ramp_volume())
    for dataset in datasets:
        holder = dataset
        if build is enhanced_series:
            shared, own = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence[1]
            holder = {
                "ImagePositionPatient": lambda own=own: own.PlanePositionSequence[0],
                "ImageOrientationPatient": lambda shared=shared: shared.PlaneOrientationSequence[0],
                "PixelSpacing": lambda shared=shared: shared.PixelMeasuresSequence[0],
            }[keyword]()
        if value is None:
            delattr(holder, keyword)
        else:
            setattr(holder, keyword, value)
    assert refusal(datasets)[0] == "MISSING_GEOMETRY"


def test_geometry_that_is_not_finite_is_refused():
    for value in (b"nan\\1", b"inf\\1", b"1,0\\1 "):
        datasets = classic_series(ramp_volume())
        datasets[0][0x00280030] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(0x00280030), "DS", len(value), value, 0, False, True, True
        )
        assert refusal(datasets)[0] == "MISSING_GEOMETRY"


def test_frames_that_are_not_described_are_refused():
    plain = classic_series(ramp_volume())[0]
    plain.NumberOfFrames = 2
    plain.PixelData = bytes(plain.PixelData) * 2
    assert refusal([plain])[0] == "MISSING_GEOMETRY"


def test_instances_without_pixels_are_counted():
    code, refused = refusal(classic_series(ramp_volume(), PixelData=lambda k: None if k < 2 else b"\0" * 2880))
    assert code == "MISSING_PIXEL_DATA"
    assert "2 of 6 instances" in refused.reasons[0].message


def test_undecodable_pixels_are_refused():
    datasets = classic_series(ramp_volume(), transfer_syntax=uid.JPEGLSLossless)
    datasets[4].PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + b"\x17" * 100])
    assert refusal(datasets)[0] == "PIXELS_UNREADABLE"


def test_a_series_of_too_many_voxels_is_refused_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr("service.dicom.volumes.real_planes", lambda dataset: pytest.fail("a plane was decoded"))
    datasets = classic_series(ramp_volume(), transfer_syntax=uid.RLELossless)
    for dataset in datasets:
        dataset.Rows, dataset.Columns = 8192, 8192
    code, refused = refusal(datasets)
    assert code == "MATRIX_TOO_LARGE"
    assert refused.reasons[0].measured == 6 * 8192**2


def test_a_rescale_on_some_planes_only_is_refused():
    datasets = classic_series(ramp_volume(), RescaleSlope=lambda k: "2" if k else None)
    assert refusal(datasets)[0] == "RESCALE_UNUSABLE"


def test_philips_slopes_that_differ_between_planes_give_one_scale():
    volume = ramp_volume()
    volume = volume.with_array(volume.array * 8)
    fine = classic_series(volume, rescale=(2.0, 0.0), philips_scale_slope=0.125)
    coarse = classic_series(volume, rescale=(0.5, 0.0), philips_scale_slope=0.5)
    series = read_all([pair[k % 2] for k, pair in enumerate(zip(fine, coarse, strict=True))])
    np.testing.assert_array_equal(series.volume.array, volume.array)


# --- several images at one place


def copies_of(datasets: list[Dataset], **changes: object) -> list[Dataset]:
    """The same images again as other instances."""
    copied = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(to_bytes(d))) for d in datasets]
    for number, dataset in enumerate(copied):
        dataset.SOPInstanceUID = make_uid("copy", number, *changes)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
    return copied


def test_identical_copies_are_taken_once_whatever_their_order():
    volume = ramp_volume()
    datasets = classic_series(volume)
    both = datasets + copies_of(datasets[1:3])
    once, again = read_all(both), read_all(shuffled(both))
    np.testing.assert_array_equal(once.volume.array, volume.array)
    assert once.planes == again.planes


def test_another_image_at_the_same_place_is_a_duplicate_position():
    datasets = classic_series(ramp_volume())
    other = copies_of(datasets[2:3])
    other[0].PixelData = bytes(len(other[0].PixelData))
    code, refused = refusal(datasets + other)
    assert code == "DUPLICATE_POSITION"
    assert "plane 3 of 6" in refused.reasons[0].message


@pytest.mark.parametrize(
    "changes",
    [
        {"EchoTime": "7.4"},
        {"TemporalPositionIdentifier": 2},
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "NORM"]},
        {"AcquisitionNumber": 2},
    ],
    ids=str,
)
def test_echoes_time_points_and_phase_images_are_several_volumes(changes):
    datasets = classic_series(ramp_volume())
    second = copies_of(datasets, **changes)
    for dataset in second:
        dataset.PixelData = bytes(dataset.PixelData)[::-1]
    code, refused = refusal(shuffled(datasets + second))
    assert code == "MULTIPLE_VOLUMES"
    assert "2 volumes" in refused.reasons[0].message


def test_an_incomplete_second_echo_is_still_named_as_such():
    datasets = classic_series(ramp_volume())
    second = copies_of(datasets[:4], EchoTime="7.4")
    for dataset in second:
        dataset.PixelData = bytes(dataset.PixelData)[::-1]
    assert refusal(datasets + second)[0] == "MULTIPLE_VOLUMES"


def test_two_volumes_in_one_enhanced_instance_are_refused():
    first, second = ramp_volume(), ramp_volume()
    second = second.with_array(second.array[:, ::-1])
    datasets = enhanced_series(first) + enhanced_series(second)
    datasets[1].SOPInstanceUID = make_uid("second")
    assert refusal(datasets)[0] == "MULTIPLE_VOLUMES"
