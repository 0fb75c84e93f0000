from __future__ import annotations

import gzip
import tracemalloc
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from service.batch.nifti import is_nifti, read_nifti, write_nifti
from service.batch.sources import FileSource
from service.errors import InputRefused
from service.imaging.volume import Grid, Volume
from tests.builders.dicom import ramp_volume

SHAPE = (5, 6, 7)
"""i, j, k."""
OBLIQUE = nibabel.eulerangles.euler2mat(0.2, -0.3, 0.4)
RAS = np.eye(3)
AXES = {
    "RAS": RAS,
    "LPS": np.diag([-1, -1, 1]),
    "LAS, left-handed": np.diag([-1, 1, 1]),
    "sagittal PIR": np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "coronal LSA, left-handed": np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]),
    "oblique": OBLIQUE,
    "oblique, left-handed": OBLIQUE @ np.diag([-1, 1, 1]),
}


def affine_of(axes: np.ndarray, spacing: tuple[float, float, float] = (0.9, 1.1, 1.3)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = (-30.0, 21.0, 5.5)
    return affine


def image(affine: np.ndarray | None = None, dtype: str = "<i2", shape: tuple[int, ...] = SHAPE) -> nibabel.Nifti1Image:
    values = np.random.default_rng(5).integers(0, 3000, shape)
    return nibabel.Nifti1Image(values.astype(dtype), affine_of(RAS) if affine is None else affine)


def saved(found: nibabel.Nifti1Image, folder: Path, name: str = "a.nii") -> FileSource:
    nibabel.save(found, folder / name)
    return FileSource(path=folder / name)


def refused(source: FileSource) -> str:
    with pytest.raises(InputRefused) as caught:
        read_nifti(source)
    (reason,) = caught.value.reasons
    assert reason.message.endswith("send a 3D T1 head as NIfTI-1, or the DICOM series.")
    return reason.code


def content(source: FileSource, raw: bytes) -> FileSource:
    source.path.write_bytes(raw)
    return source


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_every_voxel_lies_where_nibabel_and_itk_see_it(tmp_path: Path, axes: np.ndarray, name: str) -> None:
    written = image(affine_of(axes))
    written.set_qform(written.affine, code=1)
    source = saved(written, tmp_path, name)
    volume = read_nifti(source)

    for ijk in ((0, 0, 0), (4, 0, 6), (2, 5, 3)):
        i, j, k = ijk
        assert volume.array[k, j, i] == written.get_fdata()[ijk]
        ras = written.affine @ (*ijk, 1)
        np.testing.assert_allclose(volume.grid.to_world([ijk])[0], ras[:3] * (-1, -1, 1), atol=1e-4)
    by_itk = sitk.ReadImage(str(source.path), sitk.sitkFloat32)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(by_itk), volume.array)
    lps = by_itk.TransformContinuousIndexToPhysicalPoint((4.0, 1.0, 6.0))
    np.testing.assert_allclose(volume.grid.to_world([[4, 1, 6]])[0], lps, atol=1e-4)


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_what_is_written_lies_on_the_grid_that_was_read(tmp_path: Path, axes: np.ndarray) -> None:
    original = image(affine_of(axes))
    volume = read_nifti(saved(original, tmp_path))
    write_nifti(volume.with_array(volume.array + np.float32(0.25)), tmp_path / "out.nii.gz")
    made = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(made.affine, original.affine, atol=1e-5)
    np.testing.assert_allclose(made.get_qform(), original.affine, atol=1e-5)
    np.testing.assert_array_equal(made.get_fdata(), original.get_fdata() + 0.25)
    assert made.get_data_dtype() == np.float32
    by_itk = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    assert by_itk.GetSize() == SHAPE
    np.testing.assert_allclose(by_itk.TransformIndexToPhysicalPoint((4, 1, 6)), volume.grid.to_world([[4, 1, 6]])[0],
                               atol=1e-4)  # fmt: skip


def test_a_written_image_says_that_it_was_predicted_and_leaves_no_draft(tmp_path: Path) -> None:
    write_nifti(ramp_volume(), tmp_path / "predicted.nii.gz")
    header = nibabel.load(tmp_path / "predicted.nii.gz").header
    assert header["descrip"].item() == b"PREDICTED 24 h, not acquired (csf24)"
    assert header.get_xyzt_units()[0] == "mm"
    assert [path.name for path in tmp_path.iterdir()] == ["predicted.nii.gz"]


def test_stored_values_are_scaled_to_real_ones(tmp_path: Path) -> None:
    found = image()
    stored = found.get_fdata()
    found.header.set_slope_inter(0.5, -100)
    volume = read_nifti(saved_as_is(found, tmp_path))
    assert nibabel.load(tmp_path / "a.nii").dataobj.slope == 0.5
    np.testing.assert_allclose(volume.array.transpose(2, 1, 0), stored * 0.5 - 100)


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u2", "<i4", "<f4", "<f8"])
def test_every_kind_of_number_is_read(tmp_path: Path, dtype: str) -> None:
    values = np.arange(210).reshape(SHAPE).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    volume = read_nifti(saved(nibabel.Nifti1Image(values, affine_of(RAS), header), tmp_path))
    np.testing.assert_array_equal(volume.array.transpose(2, 1, 0), values)


def test_units_of_metres_become_millimetres(tmp_path: Path) -> None:
    affine = affine_of(RAS)
    affine[:3] /= 1000
    found = image(affine)
    found.header.set_xyzt_units("meter")
    volume = read_nifti(saved(found, tmp_path))
    np.testing.assert_allclose(volume.grid.spacing, (0.9, 1.1, 1.3), rtol=1e-5)


def test_a_fourth_axis_of_one_is_no_other_time(tmp_path: Path) -> None:
    assert read_nifti(saved(image(shape=(*SHAPE, 1)), tmp_path)).array.shape == SHAPE[::-1]


@pytest.mark.parametrize("shape", [(5, 6, 7, 2), (5, 6), (5, 6, 1, 7)])
def test_what_is_not_one_volume_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert refused(saved(image(shape=shape), tmp_path)) == "NOT_A_VOLUME"


def test_colours_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refused(saved(nibabel.Nifti1Image(colours, affine_of(RAS)), tmp_path)) == "NOT_A_VOLUME"
    with warnings.catch_warnings(action="error"):
        assert refused(saved(image(dtype="<c8"), tmp_path)) == "NOT_A_VOLUME"


def test_an_image_without_qform_and_sform_is_refused(tmp_path: Path) -> None:
    found = image()
    found.set_sform(None, code=0)
    found.set_qform(None, code=0)
    assert refused(saved(found, tmp_path)) == "MISSING_GEOMETRY"


def test_the_qform_counts_where_there_is_no_sform(tmp_path: Path) -> None:
    found = image()
    turned = affine_of(AXES["sagittal PIR"])
    found.set_sform(None, code=0)
    found.set_qform(turned, code=1)
    volume = read_nifti(saved(found, tmp_path))
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ volume.grid.affine, turned, atol=1e-5)


CONTRADICTIONS = {
    "mirrored": np.diag([-1.0, 1, 1, 1]),
    "turned": nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.5), (0, 0, 0)),
    "moved": nibabel.affines.from_matvec(np.eye(3), (0, 0, 1.5)),
    "mirrored about its own middle": nibabel.affines.from_matvec(np.diag([-1.0, 1, 1]), (-56.4, 0, 0)),
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_image_whose_qform_and_sform_contradict_each_other_is_refused(tmp_path: Path, change: np.ndarray) -> None:
    found = image()
    found.set_sform(affine_of(RAS), code=1)
    found.set_qform(change @ affine_of(RAS), code=1)
    source = saved(found, tmp_path)
    with pytest.raises(InputRefused) as caught:
        read_nifti(source)
    (reason,) = caught.value.reasons
    assert (reason.code, reason.limit) == ("GEOMETRY_CONTRADICTORY", "1 mm")
    assert ("one mirrored" in reason.message) == (np.linalg.det(change) < 0)


def test_a_quaternion_that_is_none_contradicts_the_sform(tmp_path: Path) -> None:
    found = image()
    found.set_sform(affine_of(RAS), code=1)
    found.set_qform(affine_of(RAS), code=1)
    found.header["quatern_b"] = 7.0
    assert refused(saved_as_is(found, tmp_path)) == "GEOMETRY_CONTRADICTORY"


def test_qform_and_sform_that_differ_by_rounding_are_taken(tmp_path: Path) -> None:
    found = image(affine_of(OBLIQUE))
    found.set_qform(affine_of(OBLIQUE), code=1)
    found.set_sform(np.round(affine_of(OBLIQUE), 4), code=1)
    assert read_nifti(saved(found, tmp_path)).array.shape == SHAPE[::-1]


def test_a_qform_that_is_not_set_contradicts_nothing(tmp_path: Path) -> None:
    found = image()
    found.set_sform(affine_of(RAS), code=1)
    found.set_qform(CONTRADICTIONS["mirrored"] @ affine_of(RAS), code=0)
    np.testing.assert_allclose(
        np.diag([-1, -1, 1, 1]) @ read_nifti(saved(found, tmp_path)).grid.affine, affine_of(RAS), atol=1e-5
    )


@pytest.mark.parametrize("fault", ["zero column", "not finite"])
def test_an_affine_that_is_none_is_refused(tmp_path: Path, fault: str) -> None:
    found = image()
    affine = affine_of(RAS)
    if fault == "zero column":
        affine[:3, 1] = 0
    else:
        affine[0, 3] = np.nan
    found.header.set_sform(affine, code=1)
    with warnings.catch_warnings(action="error"):
        assert refused(saved_as_is(found, tmp_path)) == "MISSING_GEOMETRY"


def saved_as_is(found: nibabel.Nifti1Image, folder: Path) -> FileSource:
    """With the header's own sform, which saving would replace."""
    header = found.header.copy()
    header.set_data_offset(352)
    raw = header.binaryblock + bytes(4) + found.get_fdata().astype("<i2").tobytes(order="F")
    return content(FileSource(path=folder / "a.nii"), raw)


def test_a_sheared_grid_is_refused(tmp_path: Path) -> None:
    affine = affine_of(RAS)
    affine[0, 2] = 0.1
    assert refused(saved(image(affine), tmp_path)) == "SHEARED_GRID"


def test_rounded_directions_are_made_exact_without_moving_the_head(tmp_path: Path) -> None:
    affine = affine_of(np.round(OBLIQUE, 4), (1.0, 1.0, 1.0))
    grid = read_nifti(saved(image(affine), tmp_path)).grid
    Volume(np.zeros(grid.shape, dtype=np.float32), grid).to_sitk()
    corner = [125, 125, 125]
    moved = grid.to_world([corner])[0] * (-1, -1, 1) - (affine @ (*corner, 1))[:3]
    assert np.linalg.norm(moved) < 0.1


@pytest.mark.parametrize("raw", [b"", b"no image", bytes(400), b"\x1f\x8b no gzip", b"\x1f\x8b\x08\x00" + bytes(30)])
def test_what_is_no_nifti_is_refused(tmp_path: Path, raw: bytes) -> None:
    assert refused(content(FileSource(path=tmp_path / "a.nii.gz"), raw)) == "FILE_UNREADABLE"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("keep", [100, 351, 380, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    source = saved(image(), tmp_path, name)
    raw = gzip.decompress(source.read()) if name.endswith("gz") else source.read()
    raw = raw[:keep]
    assert refused(content(source, gzip.compress(raw) if name.endswith("gz") else raw)) == "FILE_UNREADABLE"


def test_a_damaged_gzip_stream_is_refused(tmp_path: Path) -> None:
    source = saved(image(shape=(30, 30, 30)), tmp_path, "a.nii.gz")
    raw = bytearray(source.read())
    raw[len(raw) // 2 : len(raw) // 2 + 50] = bytes(50)
    assert refused(content(source, bytes(raw))) == "FILE_UNREADABLE"
    assert refused(content(source, bytes(raw[: len(raw) // 3]))) == "FILE_UNREADABLE"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(FileSource(path=tmp_path / "none.nii")) == "FILE_UNREADABLE"


def test_dimensions_that_no_head_has_are_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    found = image()
    found.header.set_data_shape((30000, 30000, 30000))
    raw = found.header.binaryblock + bytes(4)
    assert refused(content(FileSource(path=tmp_path / "a.nii"), raw)) == "MATRIX_TOO_LARGE"


def test_a_bomb_is_refused_without_being_inflated(tmp_path: Path) -> None:
    source = saved(image(), tmp_path)
    bomb = gzip.compress(source.read() + bytes(400_000_000), compresslevel=1)
    content(source, bomb)
    tracemalloc.start()
    try:
        assert refused(source) == "FILE_UNREADABLE"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(bomb) + 60_000_000


@pytest.mark.parametrize("description", ["PREDICTED 24 h, not acquired (csf24)", "PREDICTED increase, lower (csf24)"])
def test_what_we_predicted_is_never_predicted_from(tmp_path: Path, description: str) -> None:
    write_nifti(ramp_volume(), tmp_path / "a.nii.gz", description=description)
    with pytest.raises(InputRefused) as refused:
        read_nifti(FileSource(path=tmp_path / "a.nii.gz"))
    assert refused.value.reasons[0].code == "NOT_A_T1_HEAD_SERIES"


def test_a_nifti_file_is_known_by_its_name() -> None:
    assert all(is_nifti(Path(name)) for name in ("a.nii", "a.nii.gz", "b/A.NII.GZ"))
    assert not any(is_nifti(Path(name)) for name in ("a.dcm", "nii", "a.nii.zip", "folder"))


def test_a_grid_of_our_own_comes_back_the_same(tmp_path: Path) -> None:
    volume = ramp_volume("oblique")
    write_nifti(volume, tmp_path / "a.nii.gz", description="as if it were a scan")
    back = read_nifti(FileSource(path=tmp_path / "a.nii.gz"))
    assert isinstance(back.grid, Grid)
    assert back.grid.same_as(volume.grid)
    np.testing.assert_array_equal(back.array, volume.array)
