"""NIfTI at the rim: RAS+ ``[i, j, k]`` files to LPS ``[k, j, i]`` volumes and back."""

from __future__ import annotations

import gzip
import re
import zlib
from io import BytesIO
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from service.batch.sources import FileSource
from service.errors import InputRefused, Reason
from service.imaging.quality_limits import LIMITS
from service.imaging.volume import Float64, Grid, Volume

SUFFIXES = (".nii", ".nii.gz")
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHEAR = 1e-3  # cosine; header affines are float32, and often written with four decimals
_APART_MM = 1.0  # at any corner: quaternions of float32 move it by micrometres, four decimals by a tenth of that
_MOST_VOXELS = LIMITS["MATRIX_TOO_LARGE"].highest
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}  # unknown is taken as mm, as every program does
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)
_TRAILING_BYTES = 2**24
_DESCRIPTION = "PREDICTED 24 h, not acquired (csf24)"
_OURS = re.compile(rb"PREDICTED .*\(csf24\)")

NiftiSpace = Literal["scanner", "aligned"]
"""What qform and sform say that their coordinates are: the scanner's, or those of another image."""


def is_nifti(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(SUFFIXES)


def read_nifti(source: FileSource) -> Volume:
    """The image as real values (``scl_slope``, ``scl_inter`` applied), in the file's own voxel order.

    Raises
    ------
    InputRefused
        FILE_UNREADABLE, NOT_A_T1_HEAD_SERIES (csf24 wrote it), NOT_A_VOLUME (not 3D, or not of real numbers),
        MISSING_GEOMETRY (neither qform nor sform is set), GEOMETRY_CONTRADICTORY (both are, and differ), SHEARED_GRID,
        MATRIX_TOO_LARGE.
    """
    try:
        content = source.read()
        packed = content[:2] == b"\x1f\x8b"
        # Through a stream, only as much is inflated as the header asks for; a few kilobytes may hold terabytes.
        stream = gzip.GzipFile(fileobj=BytesIO(content)) if packed else BytesIO(content)
        image = nibabel.Nifti1Image.from_stream(stream)
        _check_acquired(image)
        shape = _shape_of(image)
        affine = _affine_of(image)
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        if packed and len(stream.read(_TRAILING_BYTES + 1)) > _TRAILING_BYTES:  # to the end, where the checksum is
            raise ValueError("far more than the header says")
    except _DAMAGE as fault:
        raise _refusal("FILE_UNREADABLE", f"not a readable, whole NIfTI-1 file ({type(fault).__name__})") from fault
    return Volume(values.transpose(2, 1, 0), _grid(_TO_LPS @ affine, shape))


def write_nifti(volume: Volume, path: Path, *, description: str = _DESCRIPTION, space: NiftiSpace = "aligned") -> None:
    """``.nii.gz`` float32; the same volume gives the same bytes; appears whole or not at all.

    Parameters
    ----------
    description
        ``PREDICTED ..., not acquired (csf24)`` in at most 79 bytes, as the header's field ``descrip`` holds;
        `read_nifti` refuses what says so.
    space
        ``aligned`` for the grid of a NIfTI file, which may be in any space.
    """
    affine = _TO_LPS @ volume.grid.affine
    image = nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), affine)
    image.set_sform(affine, code=space)  # both, since programs differ in which one they believe
    image.set_qform(affine, code=space)
    image.header["descrip"] = description.encode()
    image.header.set_xyzt_units("mm")
    draft = path.with_name(f".{path.name}")
    nibabel.save(image, draft)
    draft.replace(path)


def _check_acquired(image: nibabel.Nifti1Image) -> None:
    """A prediction among the sources, as a table may name by mistake, is never predicted from."""
    if _OURS.match(image.header["descrip"].item()):
        raise _refusal("NOT_A_T1_HEAD_SERIES", "the header says that csf24 predicted the image; it is no scan")


def _shape_of(image: nibabel.Nifti1Image) -> tuple[int, ...]:
    """Of its one 3D volume; a fourth axis of length 1 is no other time."""
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise _refusal("NOT_A_VOLUME", "the image is not one 3D volume", measured=str(image.shape), limit="3 axes")
    if image.get_data_dtype().kind not in "iuf":
        found = str(image.get_data_dtype())
        raise _refusal("NOT_A_VOLUME", "the image is not made of real numbers", measured=found, limit="one grey value")
    if np.prod(shape, dtype=np.float64) > _MOST_VOXELS:
        raise _refusal("MATRIX_TOO_LARGE", "the image has more voxels than any head", measured=str(shape))
    return shape


def _affine_of(image: nibabel.Nifti1Image) -> Float64:
    if not (int(image.header["qform_code"]) or int(image.header["sform_code"])):
        raise _refusal("MISSING_GEOMETRY", "neither qform nor sform is set, so its orientation is unknown")
    to_mm = np.diag([*[_MM.get(image.header.get_xyzt_units()[0], 1.0)] * 3, 1.0])
    _check_agreement(image, to_mm)
    return np.asarray(to_mm @ image.affine)


def _check_agreement(image: nibabel.Nifti1Image, to_mm: Float64) -> None:
    """Hold qform against sform where both are set: programs differ in which one they believe.

    A tool that flips or turns one of them and leaves the other exchanges left and right for half of all readers. That
    an sform may mean another space than the qform on purpose (an atlas) does not help: nothing tells the two apart.
    """
    if not (int(image.header["qform_code"]) and int(image.header["sform_code"])):
        return
    sform, qform = np.asarray(image.header.get_sform()), _qform(image)
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * (*(n - 1 for n in image.shape[:3]), 1)
    apart = np.linalg.norm((corners @ (to_mm @ (qform - sform)).T)[:, :3], axis=1).max()
    if not apart <= _APART_MM:  # nor if it is no number
        mirrored = np.isfinite(apart) and np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0
        raise _refusal(
            "GEOMETRY_CONTRADICTORY",
            f"qform and sform place the image differently{', one mirrored' if mirrored else ''}; "
            "find out which is right and set both to it",
            measured=f"{apart:.1f} mm apart",
            limit=f"{_APART_MM:g} mm",
        )


def _qform(image: nibabel.Nifti1Image) -> Float64:
    """Not a number where the quaternion or the voxel sizes are none."""
    try:
        return np.asarray(image.header.get_qform())
    except (ValueError, HeaderDataError):
        return np.full((4, 4), np.nan)


def _grid(affine: Float64, shape: tuple[int, ...]) -> Grid:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0:
        raise _refusal("MISSING_GEOMETRY", "the affine is singular or not finite")
    directions = affine[:3, :3] / lengths
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR:
        raise _refusal("SHEARED_GRID", "the voxel axes are not at right angles; resample the image first")
    # Exactly orthonormal, as ITK wants it; moves the edge of a head by less than 0.1 mm.
    u, _, vt = np.linalg.svd(directions)
    exact = np.array(affine, dtype=np.float64)
    exact[:3, :3] = (u @ vt) * lengths
    return Grid((int(shape[2]), int(shape[1]), int(shape[0])), exact)


def _refusal(code: str, found: str, *, measured: str | None = None, limit: str | None = None) -> InputRefused:
    message = f"{found[0].upper()}{found[1:]}; send a 3D T1 head as NIfTI-1, or the DICOM series."
    return InputRefused(Reason(code=code, message=message, measured=measured, limit=limit))
