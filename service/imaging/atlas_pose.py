"""Where a head lies: registration of the coarse average head to a volume, from several starts.

Mutual information (Mattes et al. 2003, 10.1109/TMI.2003.809072), so that shading and contrast matter little. A rigid
search from seven turns at 8 mm, an affine one from the best three, and a last affine step at 4 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from service.imaging.head_atlas import ATLAS_SPACING_MM, HeadAtlas, head_atlas
from service.imaging.head_mask import covering_grid, dilate, largest_foreground
from service.imaging.resampling import resample, sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float64, Grid, Mask, Volume

_STARTS_DEG = ((0, 0, 0), (25, 0, 0), (-25, 0, 0), (0, 25, 0), (0, -25, 0), (0, 0, 25), (0, 0, -25))
_REFINED_STARTS = 3
_HEAD_SIGNAL = 0.3  # of the brain's: scalp, brain and muscle, not air and bone
_AROUND_BRAIN_MM = 10.0
_AROUND_MM = 12.0  # the atlas is compared with the head's surroundings as well, which hold it in its size
_UPPER_HEAD_MM = 150.0  # from the vertex down: what most fields of view hold
_BRIGHTEST_PERCENTILE = 99.0
_BINS = 32
_PLACES = 4  # of the affine, mm: a descent makes much of a difference in the twelfth, as header and memory may have
_SEED = 24  # ITK shakes the lattice of samples; by the clock, unless told
_LEVER_MM = 80.0  # a radian at the scalp, so that turns and shifts weigh alike
_STRETCH_LEVER_MM = 60.0
_RIGID_SCALES = [_LEVER_MM**2] * 3 + [1.0] * 3
_BRAIN_CENTRE: Float64 = np.array([0.0, 14.0, 8.0])  # of the atlas, about
_SIZES = (0.7, 1.35)  # times the atlas's; 92 real heads 0.82-1.15, drawn ones 0.73-1.05, collapsed fits 0.2-0.5


class NoPoseError(ValueError):
    """The volume holds nothing that an average head could be laid over; the message says what was missing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AtlasPose:
    """How atlas space lies in a volume.

    Attributes
    ----------
    upright
        Atlas points -> volume points, rigid: turns the head straight and keeps its size.
    matrix
        Atlas points -> volume points, affine (4x4): fits the head's size as well.
    likeness
        Correlation of the atlas with the signal it was laid over, brain and skull, at 4 mm, shading left out; -1 if
        hardly anything was covered.
    """

    upright: RigidTransform
    matrix: Float64
    likeness: float


def find_pose(volume: Volume) -> AtlasPose:
    """The pose of the head in `volume`, which may be turned up to 30 degrees about any axis.

    `volume` has been smoothed for a grid of 2 mm or coarser.

    Raises
    ------
    NoPoseError
        The volume is empty, or the atlas cannot be laid over what it holds.
    """
    return pose_over(volume, head_atlas())


def pose_over(volume: Volume, atlas: HeadAtlas) -> AtlasPose:
    """`find_pose` with another atlas."""
    moving, shift = _prepare(Volume(volume.array, Grid(volume.grid.shape, volume.grid.affine.round(_PLACES))), atlas)
    rough, fine = _Overlay.at(2, atlas, moving), _Overlay.at(1, atlas, moving)
    turned = sorted((rough.rigid(turn, shift) for turn in _STARTS_DEG), key=lambda answer: answer.cost)
    laid = [_Laid.of(answer, rough.affine(answer, 1.5, 0.1), atlas, moving) for answer in turned[:_REFINED_STARTS]]
    best = max(laid, key=lambda one: one.likeness)
    if not best.likeness > -1:
        raise NoPoseError("an average head cannot be laid over what the volume shows")
    last = best
    if best.sized is not None:
        last = _Laid.of(best.rigid, fine.affine(best.sized, 1.0, 0.05), atlas, moving)
    best = max(best, last, key=lambda one: one.likeness)
    return AtlasPose(
        upright=RigidTransform(fine.turn_on(best.rigid).matrix), matrix=best.matrix, likeness=best.likeness
    )


def _prepare(volume: Volume, atlas: HeadAtlas) -> tuple[Volume, Float64]:
    """`volume` at 4 mm as a share of its bright end, and the shift that lays upper head over upper head."""
    coarse = resample(volume, covering_grid(volume.grid, ATLAS_SPACING_MM))
    if np.count_nonzero(coarse.array > 0) < 1000:
        raise NoPoseError("the image is empty")
    seen = largest_foreground(coarse.array)
    if not seen.any():
        raise NoPoseError("no foreground")
    brightest = float(np.percentile(coarse.array[seen], _BRIGHTEST_PERCENTILE))
    shown = coarse.with_array(np.clip(coarse.array / np.float32(brightest), 0, 1))
    return shown, _upper_centre(coarse, seen) - _upper_centre(atlas.head, atlas.head.array > _HEAD_SIGNAL)


def _upper_centre(volume: Volume, seen: Mask) -> Float64:
    points = volume.grid.to_world(np.argwhere(seen)[:, ::-1])
    return np.asarray(points[points[:, 2] > np.percentile(points[:, 2], 99.8) - _UPPER_HEAD_MM].mean(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answer:
    cost: float
    transform: sitk.Euler3DTransform | sitk.AffineTransform

    @property
    def matrix(self) -> Float64:
        corners = [self.transform.TransformPoint(p) for p in ((0.0, 0, 0), (1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))]
        matrix = np.eye(4)
        matrix[:3, :3] = (np.array(corners[1:]) - corners[0]).T
        matrix[:3, 3] = corners[0]
        return matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Laid:
    """A rigid answer, the affine one found from it unless that is no head's size, and what the better one looks like.

    Mutual information alone is fooled by an atlas that shrinks into the brain or stretches beyond the head.
    """

    rigid: _Answer
    sized: _Answer | None
    likeness: float

    @staticmethod
    def of(rigid: _Answer, affine: _Answer, atlas: HeadAtlas, moving: Volume) -> _Laid:
        sizes = np.linalg.svd(affine.matrix[:3, :3], compute_uv=False)
        sized = affine if _SIZES[0] <= sizes.min() and sizes.max() <= _SIZES[1] else None
        return _Laid(
            rigid=rigid, sized=sized, likeness=_likeness(atlas, moving, sized.matrix if sized else rigid.matrix)
        )

    @property
    def matrix(self) -> Float64:
        return self.sized.matrix if self.sized else self.rigid.matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Overlay:
    """Atlas (fixed, with the region that counts) and head (moving) at one resolution."""

    fixed: sitk.Image
    region: sitk.Image
    moving: sitk.Image
    share: float  # of the voxels that are compared

    @staticmethod
    def at(stride: int, atlas: HeadAtlas, moving: Volume) -> _Overlay:
        blur = 2.0 * stride
        fixed = sitk.SmoothingRecursiveGaussian(atlas.head.with_array(np.maximum(atlas.head.array, 0)).to_sitk(), blur)
        fixed = sitk.Shrink(fixed, [stride] * 3)
        region = dilate(atlas.head.array > _HEAD_SIGNAL, _AROUND_MM, atlas.head.grid) & (atlas.head.array >= 0)
        placed = atlas.head.grid.lay_out(sitk.GetImageFromArray(region.astype(np.uint8)))
        return _Overlay(
            fixed=fixed,
            region=sitk.Resample(placed, fixed, sitk.Transform(), sitk.sitkNearestNeighbor),
            moving=sitk.SmoothingRecursiveGaussian(moving.to_sitk(), blur),
            share=1.0 if stride > 1 else 0.5,
        )

    def rigid(self, turn_deg: tuple[float, float, float], shift_mm: Float64) -> _Answer:
        transform = sitk.Euler3DTransform()
        transform.SetCenter(_BRAIN_CENTRE.tolist())
        transform.SetRotation(*(float(a) for a in np.deg2rad(turn_deg)))
        transform.SetTranslation(shift_mm.tolist())
        return self._descend(transform, 8.0, 0.3, _RIGID_SCALES)

    def turn_on(self, start: _Answer) -> _Answer:
        return self._descend(sitk.Euler3DTransform(start.transform), 1.0, 0.05, _RIGID_SCALES)

    def affine(self, start: _Answer, step_mm: float, last_step_mm: float) -> _Answer:
        transform = sitk.AffineTransform(3)
        transform.SetCenter(start.transform.GetCenter())
        transform.SetMatrix(start.transform.GetMatrix())
        transform.SetTranslation(start.transform.GetTranslation())
        return self._descend(transform, step_mm, last_step_mm, [_STRETCH_LEVER_MM**2] * 9 + [1.0] * 3)

    def _descend(
        self,
        transform: sitk.Euler3DTransform | sitk.AffineTransform,
        step_mm: float,
        last_step_mm: float,
        scales: list[float],
    ) -> _Answer:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricFixedMask(self.region)
        if self.share < 1:
            method.SetMetricSamplingStrategy(method.REGULAR)
            method.SetMetricSamplingPercentage(self.share, _SEED)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(step_mm, last_step_mm, 80, relaxationFactor=0.6)
        method.SetOptimizerScales(scales)
        method.SetNumberOfThreads(1)
        method.SetNumberOfWorkUnits(1)  # sums in a fixed order: the same answer every time
        method.SetInitialTransform(transform, True)
        try:
            method.Execute(self.fixed, self.moving)
        except RuntimeError:  # ITK's word for "hardly any sample falls into the moving image"
            return _Answer(cost=float("inf"), transform=transform)
        return _Answer(cost=method.GetMetricValue(), transform=transform)


def _likeness(atlas: HeadAtlas, moving: Volume, matrix: Float64) -> float:
    """Correlation over brain and skull, freed of all that a quadratic shading explains."""
    around = dilate(atlas.brain.array > 0.5, _AROUND_BRAIN_MM, atlas.brain.grid) & (atlas.head.array >= 0)
    points = atlas.head.grid.to_world(np.argwhere(around)[:, ::-1])
    seen = sample(moving, points @ matrix[:3, :3].T + matrix[:3, 3])
    inside = np.isfinite(seen)
    if inside.sum() < 1000:
        return -1.0
    x, y, z = (points[inside] - _BRAIN_CENTRE).T / _LEVER_MM
    shading = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], axis=1)
    both = np.stack([atlas.head.array[around][inside], seen[inside]], axis=1).astype(np.float64)
    rest = both - shading @ np.linalg.lstsq(shading, both, rcond=None)[0]
    spread = rest.std(axis=0)
    return float((rest[:, 0] * rest[:, 1]).mean() / spread.prod()) if spread.min() > 0 else -1.0
