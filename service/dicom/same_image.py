"""Whether two files of one SOP Instance UID hold the same image, however each was compressed or exported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from service.dicom import header_values as read
from service.dicom.headers import parse_header
from service.dicom.part10 import read_dataset
from service.dicom.pixels import real_planes
from service.dicom.planes import planes_of
from service.dicom.records import InstanceHeader
from service.dicom.rescale import rescale_of
from service.errors import InputRefused


def same_image(first: bytes, second: bytes) -> bool:
    """Compare two whole Part 10 files by what csf24 makes of them.

    Alike are all facts of the `InstanceHeader` (identity, times, sequence; of the name not the empty components at its
    end), the accession number, the place of every plane, the kind of rescale, and every pixel in real values. May
    differ: the transfer syntax, and everything else in the header, which a re-export adds to or leaves out. A file that
    cannot be read or decoded is like no other.
    """
    try:
        if _header(first) != _header(second):
            return False
        one, other = read_dataset(first), read_dataset(second)
        return _facts(one) == _facts(other) and _same_pixels(one, other)
    except InputRefused:
        return False


def _header(content: bytes) -> InstanceHeader:
    header = parse_header(content)
    return replace(header, patient_name=header.patient_name.rstrip("^ "))


def _facts(dataset: Dataset) -> tuple[object, ...]:
    """Besides the `InstanceHeader`; the accession number is what results take over."""
    planes = tuple((p.position, p.orientation, p.spacing, p.matrix) for p in planes_of([dataset]))
    kinds = tuple(rescale_of(p.frame).kind for p in planes_of([dataset]))
    return read.text(dataset, "AccessionNumber"), planes, kinds


def _same_pixels(one: Dataset, other: Dataset) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(real_planes(one), real_planes(other), strict=True))
