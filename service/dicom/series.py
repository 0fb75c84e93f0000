"""A series as the pipeline works with it: its volume, and which instance and frame every plane came from."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from service.dicom.records import SeriesSummary
from service.imaging.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlane:
    """Where one plane of a volume came from.

    Attributes
    ----------
    frame_number
        1-based frame of a multi-frame instance; None for a single-frame one.
    position
        Image Position (Patient) (0020,0032), LPS mm: centre of the first pixel.
    instance_number
        Of the instance; None when absent.
    """

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    position: tuple[float, float, float]
    instance_number: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceSeries:
    """One received series, decoded.

    Attributes
    ----------
    volume
        Real values (after the modality's rescale); ``array[k]`` is the image of ``planes[k]``, rows and
        columns as in DICOM; k ascends along the slice normal (row direction x column direction).
    planes
        One per plane of the volume.
    template
        The first plane's data set without pixel data and without per-frame sequences; patient, study,
        series and equipment attributes of derived objects are copied from it.
    window
        Window centre and width in real values, when the source states one.
    summary
        What selection and pairing saw.
    """

    volume: Volume
    planes: tuple[SourcePlane, ...]
    template: Dataset
    window: tuple[float, float] | None
    summary: SeriesSummary
