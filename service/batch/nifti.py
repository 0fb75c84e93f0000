"""NIfTI at the rim: RAS+ ``[i, j, k]`` files to LPS ``[k, j, i]`` volumes and back."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from service.batch.sources import FileSource
from service.errors import InputRefused, Reason
from service.imaging.volume import Float32, Grid, Volume

SUFFIXES = (".nii", ".nii.gz")
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHEAR = 1e-3  # cosine; header affines are float32
_MOST_VOXELS = 2.7e8
_DESCRIPTION = b"PREDICTED 24 h, not acquired (csf24)"  # the header field holds 79 bytes


def is_nifti(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(SUFFIXES)


def read_nifti(source: FileSource) -> Volume:
    """The image as real values (``scl_slope``, ``scl_inter`` applied), in the file's own voxel order.

    Raises
    ------
    InputRefused
        FILE_UNREADABLE, NOT_A_VOLUME (not 3D), MISSING_GEOMETRY (neither qform nor sform is set),
        SHEARED_GRID, MATRIX_TOO_LARGE.
    """
    try:
        content = source.read()
        if content[:2] == b"\x1f\x8b":
            content = _inflate(content)
        image = nibabel.Nifti1Image.from_bytes(content)
        shape = tuple(n for n in image.shape if n != 1) if len(image.shape) > 3 else image.shape
    except (OSError, EOFError, ValueError, ImageFileError) as fault:
        raise _refusal("FILE_UNREADABLE", f"not a readable NIfTI-1 file ({type(fault).__name__})") from fault
    if len(shape) != 3:
        raise _refusal("NOT_A_VOLUME", "the image is not one 3D volume", measured=str(image.shape), limit="3 axes")
    if np.prod(shape, dtype=np.float64) > _MOST_VOXELS:
        raise _refusal("MATRIX_TOO_LARGE", "the image has more voxels than any head", measured=str(shape))
    if not (int(image.header["qform_code"]) or int(image.header["sform_code"])):
        raise _refusal("MISSING_GEOMETRY", "neither qform nor sform is set, so its orientation is unknown")
    try:
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    except (OSError, ValueError, EOFError) as fault:
        raise _refusal("FILE_UNREADABLE", "the image is shorter than its header says") from fault
    return Volume(values.transpose(2, 1, 0), _grid(_TO_LPS @ image.affine, shape))


def write_nifti(volume: Volume, path: Path) -> None:
    """``.nii.gz`` float32, marked as predicted in its description."""
    image = nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), _TO_LPS @ volume.grid.affine)
    image.header["descrip"] = _DESCRIPTION
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _grid(affine: Float32, shape: tuple[int, ...]) -> Grid:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(directions).all():
        raise _refusal("MISSING_GEOMETRY", "the affine is singular or not finite")
    if np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR:
        raise _refusal("SHEARED_GRID", "the voxel axes are not at right angles; resample the image first")
    # Exactly orthonormal, as ITK wants it; the change is below the header's own precision.
    u, _, vt = np.linalg.svd(directions)
    exact = np.array(affine, dtype=np.float64)
    exact[:3, :3] = (u @ vt) * np.linalg.norm(affine[:3, :3], axis=0)
    return Grid((int(shape[2]), int(shape[1]), int(shape[0])), exact)


def _inflate(content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=BytesIO(content)) as file:
        most = int(_MOST_VOXELS * 8)
        inflated = file.read(most + 1)
    if len(inflated) > most:
        raise _refusal("MATRIX_TOO_LARGE", "the file inflates to more than any head has")
    return inflated


def _refusal(code: str, found: str, *, measured: str | None = None, limit: str | None = None) -> InputRefused:
    message = f"{found[0].upper()}{found[1:]}; send a 3D T1 head as NIfTI-1, or the DICOM series."
    return InputRefused(Reason(code=code, message=message, measured=measured, limit=limit))
