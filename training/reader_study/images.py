"""The pictures of a study: the real 24 h scan and every model's prediction, cut and scaled by one and the same hand.

Whatever the two kinds could be told apart by, other than what they show of the brain, is taken away from both:
the same planes and matrix, one interpolation each, the same unit (median orbital fat), the same region. Only the
surroundings of brain and fluid are kept, and of them what every one of the three scans covers: noise in air, the
edge of a scan that was turned, and the face are gone from both. What remains visible is what a model does to the
picture itself, such as less noise; no packing can hide that, which is why the form asks for a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.dicom.series import SourceSeries
from service.errors import InputRefused, Reason
from service.imaging.examination import Examination, examine, examine_later
from service.imaging.head_mask import dilate
from service.imaging.recipe import model_grids
from service.imaging.recipe_types import AlignedScan, Anatomy, PreprocessingRecipe
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Mask, Volume
from service.inference.answering import predict
from service.inference.predictor import Predictor

PLANES = ("sagittal", "axial")
_SHOWN_AROUND_MM = 9.0  # of brain and fluid: the whole subarachnoid space, not the face
_VIEW = PreprocessingRecipe(  # the founding paper's pictures
    kind="slice_pair",
    mode="fat_global",
    time_points=("baseline",),
    shape=(256, 256),
    spacing_mm=1.0,
    window=(0.0, 2.0),
    predicts="image",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatientPictures:
    """All versions of one patient.

    Attributes
    ----------
    grids
        Of the sagittal and the axial picture, in a frame of the head itself: L, P, S from the mid-sagittal
        plane, its origin on it. Scanner coordinates would tie a picture to its source.
    versions
        Version -> sagittal, axial ``(256, 256)``, units of orbital fat, 0 outside the region shown.
    warnings
        Codes of checks that failed without refusing.
    """

    grids: tuple[Grid, ...]
    versions: Mapping[str, tuple[Float32, ...]]
    warnings: tuple[str, ...]


def pictures(visits: Mapping[str, SourceSeries], predictors: Mapping[str, Predictor], real: str) -> PatientPictures:
    """Register, check and predict as the service does, and cut the two planes.

    Parameters
    ----------
    visits
        ``baseline``, ``delayed``, ``late``.
    real
        Name of the version that is the real 24 h scan.

    Raises
    ------
    InputRefused
        A check failed that makes the service refuse too, on the pair or on the 24 h scan.
    """
    volumes = {name: series.volume for name, series in visits.items()}
    baseline = volumes["baseline"]
    course = Examination(clock=lambda: 0.0)
    found = examine(baseline, volumes["delayed"], course)
    anatomy, fat = found.anatomy, found.baseline.fat
    late = examine_later(found.baseline, volumes["late"], anatomy, course)
    grids = model_grids(anatomy, _VIEW)
    shown = [_shown(grid, anatomy, baseline, (found.delayed, late)) for grid in grids]
    versions = {real: [_cut(late.volume, grid, late.transform, late.fat) for grid in grids]}
    for name, predictor in predictors.items():
        versions[name] = _predicted(predict(found, predictor, course).predicted, grids, fat, name)
    return PatientPictures(
        grids=tuple(grid.moved(head_frame(anatomy)) for grid in grids),
        versions={
            name: tuple(np.where(mask, plane, np.float32(0)) for plane, mask in zip(planes, shown, strict=True))
            for name, planes in versions.items()
        },
        warnings=tuple(dict.fromkeys(reason.code for reason in course.checks.warnings)),
    )


def _predicted(volumes: tuple[Volume, ...], grids: tuple[Grid, ...], fat: float, name: str) -> list[Float32]:
    if len(volumes) == 1:
        return [_cut(volumes[0], grid, RigidTransform.identity(), fat) for grid in grids]
    if any(not volume.grid.same_as(grid) for volume, grid in zip(volumes, grids, strict=True)):
        raise InputRefused(
            Reason(
                code="PLANES_DIFFER",
                message=f"Model {name} predicts other planes than the study shows; use one of 256 x 256 at 1 mm.",
            )
        )
    return [np.asarray(volume.array[0] / np.float32(fat)) for volume in volumes]


def _cut(volume: Volume, grid: Grid, transform: RigidTransform, fat: float) -> Float32:
    return np.asarray(resample(volume, grid, transform, antialias=True).array[0] / np.float32(fat))


def _shown(grid: Grid, anatomy: Anatomy, baseline: Volume, others: tuple[AlignedScan, ...]) -> Mask:
    region = dilate(anatomy.brain | anatomy.csf, _SHOWN_AROUND_MM, anatomy.grid)
    shown: Mask = resample(Volume(region.astype(np.float32), anatomy.grid), grid).array[0] > 0.5
    nj, ni = grid.shape[1:]
    points = grid.to_world(np.stack(np.meshgrid(np.arange(ni), np.arange(nj), [0]), axis=-1).reshape(-1, 3))
    for scan, where in ((baseline, points), *((v.volume, v.transform.map(points)) for v in others)):
        ijk = scan.grid.to_index(where)
        inside = ((ijk >= 0) & (ijk <= np.array(scan.grid.shape[::-1]) - 1)).all(axis=1)
        shown = shown & inside.reshape(nj, ni)
    return shown


def head_frame(anatomy: Anatomy) -> Float64:
    """4 x 4: baseline frame -> head frame, LPS mm both."""
    left = anatomy.midsagittal.normal / np.linalg.norm(anatomy.midsagittal.normal)
    up = anatomy.axial.normal - left * float(anatomy.axial.normal @ left)
    up /= np.linalg.norm(up)
    axes = np.stack([left, np.cross(up, left), up])
    frame = np.eye(4)
    frame[:3, :3] = axes
    frame[:3, 3] = -axes @ anatomy.midsagittal.origin
    return frame
