"""The predicted increase as a Parametric Map: float values in units of orbital fat signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, ParametricMapStorage

from service.dicom import coding
from service.dicom.derived_common import (
    LIMITS_OF_USE,
    Derivation,
    derivation_text,
    identify,
    instances_of,
    predicted_header,
    references_by_study,
    replaced,
    series_description,
    set_lossy_compression,
    source_image_item,
    study_items,
)
from service.dicom.identity import MANUFACTURER, software_versions
from service.dicom.inherited import TYPE_2_OF_STUDY, decimal, put
from service.dicom.predicted_planes import PredictedPlane, frame_of_reference, predicted_planes
from service.imaging.volume import Float32

ROLE = "parametric-map"
CONTENT_LABEL = "PREDICTED_24H"

_WINDOW_TOP = 0.8  # fat units; CSF with about 0.35 mmol/L of gadobutrol


def parametric_maps(case: Derivation) -> tuple[Dataset, ...]:
    """Parametric Map Storage (PS3.3 A.75): one map, or one per plane of a slice-pair model.

    Stored values are increase / ``fat_baseline``, float32. Float pixels have no room for a banner: description,
    content label and Synthetic Data say what the map is.
    """
    planes = list(predicted_planes(case))
    if len(case.restored.predicted) == 1:
        grid = case.baseline.volume.grid
        planes.sort(key=lambda plane: float(grid.to_index(plane.position[None])[0, 2]))
        return (_map(case, planes, case.restored.increase[0].array, number=1),)
    return tuple(
        _map(case, [plane], volume.array, number=plane.instance_number)
        for plane, volume in zip(planes, case.restored.increase, strict=True)
    )


def _map(case: Derivation, planes: Sequence[PredictedPlane], increase: Float32, *, number: int) -> Dataset:
    """`planes` and the ``(k, rows, columns)`` of `increase` are in the order of k."""
    values = np.ascontiguousarray(increase / np.float32(case.fat_baseline), dtype=np.float32)
    uid = case.uid(ROLE, str(number))
    made: Dataset = hd.pm.ParametricMap(
        source_images=[_stand_in(case, planes[0])],
        pixel_array=values,
        series_instance_uid=case.uid(ROLE),
        series_number=1,
        sop_instance_uid=uid,
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=tuple(software_versions(case.facts)),
        device_serial_number=MANUFACTURER,
        contains_recognizable_visual_features=True,
        real_world_value_mappings=[_mapping(values)],
        voi_lut_transformations=[
            hd.VOILUTTransformation(
                window_center=_WINDOW_TOP / 2, window_width=_WINDOW_TOP, voi_lut_function="LINEAR_EXACT"
            )
        ],
        content_label=CONTENT_LABEL,
        content_description="PREDICTED signal increase at 24 h, not acquired",
        pixel_measures=_pixel_measures(planes[0]),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", planes[0].orientation),
        plane_positions=[hd.PlanePositionSequence("PATIENT", [float(v) for v in p.position]) for p in planes],
    )
    _own_header(made, case)
    identify(made, ParametricMapStorage, uid, number)
    _name_sources(made, case, planes)
    _settle_dimension_uid(made, case.uid(ROLE, str(number), "dimensions"))
    return made


def _stand_in(case: Derivation, plane: PredictedPlane) -> Dataset:
    """What highdicom reads of a source image; patient attributes stay empty, because it would log malformed ones."""
    item = Dataset()
    item.SOPClassUID = MRImageStorage
    item.SOPInstanceUID = plane.sources[0].sop_instance_uid
    item.StudyInstanceUID = case.baseline.summary.header.study_instance_uid
    item.SeriesInstanceUID = case.baseline.summary.series_instance_uid
    item.Modality = "MR"
    item.Rows, item.Columns = plane.values.shape
    item.FrameOfReferenceUID = frame_of_reference(case)
    item.PixelSpacing = [decimal(v) for v in plane.pixel_spacing]
    item.SliceThickness = decimal(plane.thickness_mm)
    item.SpacingBetweenSlices = decimal(round(plane.spacing_mm, 4))
    item.ImageOrientationPatient = [decimal(v) for v in plane.orientation]
    item.ImagePositionPatient = [decimal(v) for v in plane.position]
    for keyword in TYPE_2_OF_STUDY:
        setattr(item, keyword, "")
    return item


def _mapping(values: Float32) -> hd.pm.RealWorldValueMapping:
    return hd.pm.RealWorldValueMapping(
        lut_label="INCREASE_PER_FAT",
        lut_explanation="PREDICTED signal increase at 24 h / orbital fat signal",
        unit=coding.NO_UNITS,
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=coding.PREDICTED_INCREASE,
    )


def _pixel_measures(plane: PredictedPlane) -> hd.PixelMeasuresSequence:
    return hd.PixelMeasuresSequence(
        pixel_spacing=plane.pixel_spacing,
        slice_thickness=plane.thickness_mm,
        spacing_between_slices=round(plane.spacing_mm, 4),
    )


def _own_header(made: Dataset, case: Derivation) -> None:
    """Ours over highdicom's: its dates are the clock's, and so would be the bytes of a retry."""
    header = predicted_header(case, ROLE, series_description("24 h increase", case.facts))
    made.update(header)
    made.SyntheticData = "YES"
    shown = f"PREDICTED signal increase at 24 h over orbital fat signal, NOT ACQUIRED.{replaced(case.facts)}"
    made.ImageComments = f"{shown} {LIMITS_OF_USE}"
    put(made, "DerivationDescription", derivation_text(case))
    set_lossy_compression(made, case.sources)


def _name_sources(made: Dataset, case: Derivation, planes: Sequence[PredictedPlane]) -> None:
    """Per-frame sources with their frame numbers, and all instances of both series at the top level."""
    codes = [coding.PREDICTION, coding.SPATIAL_RESAMPLING, coding.PIXEL_DIVISION]
    for frame in made.PerFrameFunctionalGroupsSequence:
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        plane = planes[int(np.argmin([np.linalg.norm(p.position - position) for p in planes]))]
        item = Dataset()
        item.DerivationCodeSequence = [coding.code_item(code) for code in codes]
        item.SourceImageSequence = [source_image_item(s, same_grid=plane.same_grid) for s in plane.sources]
        frame.DerivationImageSequence = [item]
    made.SourceImageSequence = [
        source_image_item(replace(plane, frame_number=None), same_grid=series is case.baseline and planes[0].same_grid)
        for series in case.sources
        for plane in instances_of(series)
    ]
    studies = references_by_study(case.sources, within="ReferencedInstanceSequence")
    made.ReferencedSeriesSequence = studies.pop(str(made.StudyInstanceUID))
    if studies:
        made.StudiesContainingOtherReferencedInstancesSequence = study_items(studies)


def _settle_dimension_uid(made: Dataset, uid: str) -> None:
    """Replace the Dimension Organization UID (0020,9164), which highdicom draws at random."""
    made.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for item in made.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid
