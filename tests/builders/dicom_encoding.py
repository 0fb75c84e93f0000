"""Rewrites datasets in another transfer syntax, with encoders that the service does not use where there are any."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from tests.builders.programs import absent

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
LOSSLESS = (*NATIVE, uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000)

_DCMCJPEG = {  # JPEG Lossless needs predictor 1 for SV1; predictor 4 makes process 14 distinguishable from it
    uid.JPEGLossless: ("+el", "+sv", "4"),
    uid.JPEGLosslessSV1: ("+e1",),
    uid.JPEGBaseline8Bit: ("+eb",),
    uid.JPEGExtended12Bit: ("+ee", "+bt"),
}
_OPTIONS = {uid.JPEGLSNearLossless: {"jls_error": 2}, uid.JPEG2000: {"j2k_psnr": [60]}}


def encode(datasets: Sequence[Dataset], transfer_syntax: str) -> list[Dataset]:
    """Copies in `transfer_syntax`, SOP Instance UIDs kept; the originals must be uncompressed little endian."""
    target = uid.UID(transfer_syntax)
    if target == uid.ExplicitVRLittleEndian:
        return [_as_read(dataset) for dataset in datasets]
    if target in NATIVE:
        return [_native(dataset, target) for dataset in datasets]
    if target in _DCMCJPEG:
        return [_with_dcmtk(dataset, target) for dataset in datasets]
    return [_with_pydicom(dataset, target) for dataset in datasets]


def _as_read(dataset: Dataset) -> Dataset:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)


def _native(dataset: Dataset, target: uid.UID) -> Dataset:
    made = Dataset()
    made.update(_as_read(dataset))  # without the memory of having been read, which forbids another byte order
    if not target.is_little_endian and made.BitsAllocated == 16:
        made.PixelData = np.frombuffer(made.PixelData, dtype="<u2").astype(">u2").tobytes()
    made.file_meta = copy.deepcopy(dataset.file_meta)
    made.file_meta.TransferSyntaxUID = target
    return _as_read(made)


def _with_pydicom(dataset: Dataset, target: uid.UID) -> Dataset:
    made = _as_read(dataset)
    made.compress(target, generate_instance_uid=False, **_OPTIONS.get(target, {}))
    return _as_read(made)


def _with_dcmtk(dataset: Dataset, target: uid.UID) -> Dataset:
    with TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        dataset.save_as(plain, enforce_file_format=True)
        command = ["dcmcjpeg", "+un", *_DCMCJPEG[target], str(plain), str(packed)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            absent("DCMTK's dcmcjpeg is not installed")
        return _as_read(pydicom.dcmread(packed))
