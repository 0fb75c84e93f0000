"""Rigid registration of the delayed to the baseline volume.

Mattes mutual information, coarse to fine, on smoothed copies of the upper head. Mutual information
because tracer changes what a tissue looks like between the two times; the upper head because jaw and
neck move on their own. Samples are seeded and sums run in a fixed order, so that the same input gives
the same transform, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from service.errors import InputRefused, Reason
from service.imaging.recipe_types import Registration
from service.imaging.resampling import resample, sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Volume

_HALF_AXES_MM = np.array([85.0, 105.0, 85.0])  # an ellipsoid around the brain with scalp, without jaw and neck
_LEVER_MM = 80.0  # one radian moves the brain's rim by this; balances rotations against translations
_VERTEX_AREA_MM2 = 1500.0  # smallest cross-section that counts as head, not as noise
_SEED = 2025
_BINS = 40

_NO_SIGNAL = Reason(code="REGISTRATION_FAILED", message="One of the two series shows nothing that could be aligned.")
_NO_OVERLAP = Reason(code="REGISTRATION_FAILED", message="The two series could not be brought to overlap.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """One resolution: voxel size, steps of the gradient descent and of the final polish (mm; 0 = none).

    Gradient descent comes close quickly, but its gradient is that of smoothed histograms and stops up to
    0.3 mm short; Powell's method on the measure itself ends in the same place (0.02 mm) from any start.
    """

    spacing_mm: float
    first_step: float
    last_step: float
    polish_step: float


_COARSE = _Level(spacing_mm=4.0, first_step=4.0, last_step=0.03, polish_step=0.0)
_FINE = _Level(spacing_mm=2.0, first_step=1.0, last_step=0.05, polish_step=0.2)
_SHARE_COARSE = 0.4  # of the voxels around the brain, drawn at random with a fixed seed
_SHARE_FINE = 0.08
_SHARE_CHECK = 0.04  # for the second start and the swapped registration: 0.05 mm is enough to judge by
_SECOND_START = RigidTransform.from_euler((6.0, -5.0, 5.0), (6.0, -6.0, 5.0))


def register(fixed: Volume, moving: Volume, *, centre: Float64 | None = None) -> Registration:
    """Align `moving` (delayed) to `fixed` (baseline).

    Parameters
    ----------
    centre
        Brain centre in `fixed`, LPS mm (`Anatomy.brain_centre`); estimated from the signal when None.

    Returns
    -------
    Registration
        ``transform`` maps fixed -> moving points. ``inverse_consistency_mm`` compares it with the fully
        refined swapped registration; ``two_start_mm`` with a second one, started 9 degrees and 10 mm off the
        coarse (4 mm) answer and refined in full.

    Raises
    ------
    InputRefused
        REGISTRATION_FAILED: a volume has no signal to align, or the two do not overlap.
    """
    fixed_levels, moving_levels = _pyramid(fixed), _pyramid(moving)
    fixed_centre = _signal_centre(fixed_levels[_COARSE]) if centre is None else np.asarray(centre, dtype=np.float64)
    start = _shift(_signal_centre(moving_levels[_COARSE]) - _signal_centre(fixed_levels[_COARSE]))

    def refine(begin: RigidTransform, share: float) -> tuple[RigidTransform, int]:
        return _optimise(
            fixed_levels[_FINE], moving_levels[_FINE], begin, centre=fixed_centre, level=_FINE, share=share
        )

    def locate(begin: RigidTransform) -> tuple[RigidTransform, int]:
        return _optimise(
            fixed_levels[_COARSE],
            moving_levels[_COARSE],
            begin,
            centre=fixed_centre,
            level=_COARSE,
            share=_SHARE_COARSE,
        )

    coarse, steps = locate(start)
    fine, fine_steps = refine(coarse, _SHARE_FINE)
    other, other_steps = locate(_around(coarse, fixed_centre, _SECOND_START))
    other, more_steps = refine(other, _SHARE_CHECK)
    moving_centre = fine.map(fixed_centre[None])[0]
    back, back_steps = _optimise(
        moving_levels[_FINE],
        fixed_levels[_FINE],
        coarse.inverse(),
        centre=moving_centre,
        level=_FINE,
        share=_SHARE_CHECK,
    )
    rim = _rim(fixed_centre)
    before, after = (similarity(fixed_levels[_FINE], moving_levels[_FINE], t, fixed_centre) for t in (start, fine))
    if before > after:  # a copy that was not moved: its own noise agrees nowhere as well as there
        fine, after = start, before
    return Registration(
        transform=fine,
        similarity_before=before,
        similarity_after=after,
        inverse_consistency_mm=_largest_gap(fine, back.inverse(), rim),
        two_start_mm=_largest_gap(fine, other, rim),
        iterations=steps + other_steps + more_steps + fine_steps + back_steps,
    )


def similarity(fixed: Volume, moving: Volume, transform: RigidTransform, centre: Float64) -> float:
    """Normalised mutual information (H(A)+H(B))/H(A,B) over the upper head, 1 (independent) .. 2 (identical).

    64 x 64 bins of linear-interpolated samples, one at random in every cube of 4 mm: on a lattice that falls
    onto the voxels of both, a transform that moves nothing would alone be spared the interpolation's blur.
    """
    points = _lattice(centre, 4.0)
    a, b = sample(fixed, points), sample(moving, transform.map(points))
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 1000:
        return 1.0
    joint, _, _ = np.histogram2d(_clip(a[both]), _clip(b[both]), bins=64)
    joint /= joint.sum()
    h_joint, h_a, h_b = (_entropy(p) for p in (joint, joint.sum(axis=1), joint.sum(axis=0)))
    return (h_a + h_b) / h_joint if h_joint > 0 else 1.0


def _optimise(
    fixed: Volume, moving: Volume, start: RigidTransform, *, centre: Float64, level: _Level, share: float
) -> tuple[RigidTransform, int]:
    fixed = _crop(fixed, centre, level.spacing_mm)
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(start.matrix[:3, :3].ravel().tolist(), 1e-5)
    transform.SetTranslation((start.map(centre[None])[0] - centre).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)  # sums in a fixed order
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=_BINS)
    method.SetMetricFixedMask(_ellipsoid(fixed.grid, centre))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(share, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerScales([_LEVER_MM**2] * 3 + [1.0] * 3)
    method.SetInitialTransform(transform, inPlace=True)
    images = _clipped(fixed), _clipped(moving)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level.first_step,
        minStep=level.last_step,
        numberOfIterations=100,
        relaxationFactor=0.75,
        gradientMagnitudeTolerance=1e-7,
    )
    try:
        method.Execute(*images)
    except RuntimeError as why:  # ITK: too few samples map into the moving image
        raise InputRefused(_NO_OVERLAP) from why
    steps = int(method.GetOptimizerIteration())
    if level.polish_step:
        method.SetOptimizerAsPowell(
            numberOfIterations=4,
            maximumLineIterations=12,
            stepLength=level.polish_step,
            stepTolerance=0.01,
            valueTolerance=1e-5,
        )
        method.Execute(*images)
        steps += int(method.GetOptimizerIteration())
    return RigidTransform.from_sitk(transform), steps


def _crop(volume: Volume, centre: Float64, spacing_mm: float) -> Volume:
    """The box around the ellipsoid of interest, so that no sample is drawn elsewhere."""
    ni, nj, nk = (int(n) for n in np.ceil(2 * _HALF_AXES_MM / spacing_mm) + 1)
    return resample(volume, Grid.axis_aligned((nk, nj, ni), spacing_mm, centre))


def _pyramid(volume: Volume) -> dict[_Level, Volume]:
    """The volume at both resolutions, smoothed, LPS-aligned."""
    fine = resample(volume, _covering(volume.grid, _FINE.spacing_mm), antialias=True)
    return {_FINE: fine, _COARSE: resample(fine, _covering(volume.grid, _COARSE.spacing_mm), antialias=True)}


def _clipped(volume: Volume) -> sitk.Image:
    # a few bright fat or vessel voxels would squeeze the brain into a handful of histogram bins
    return volume.with_array(_clip(volume.array)).to_sitk()


def _clip(values: Float32) -> Float32:
    positive = values[values > 0]
    if positive.size == 0:
        raise InputRefused(_NO_SIGNAL)
    return np.asarray(np.clip(values, 0, np.percentile(positive, 98)), dtype=np.float32)


def _ellipsoid(grid: Grid, centre: Float64) -> sitk.Image:
    nk, nj, ni = grid.shape
    x, y, z = (
        (grid.origin[a] + grid.spacing[a] * np.arange(n) - centre[a]) / _HALF_AXES_MM[a]
        for a, n in enumerate((ni, nj, nk))
    )
    inside = x[None, None] ** 2 + y[None, :, None] ** 2 + z[:, None, None] ** 2 <= 1
    return Volume(inside.astype(np.float32), grid).to_sitk() > 0.5


def _signal_centre(coarse: Volume) -> Float64:
    """A point near the brain centre: 75 mm below the vertex, in the middle of the upper head's signal."""
    values = coarse.array[coarse.array > 0]
    if values.size == 0:
        raise InputRefused(_NO_SIGNAL)
    foreground = coarse.array > 0.3 * np.percentile(values, 90)
    step = coarse.grid.spacing[0]
    slices = np.flatnonzero(foreground.sum(axis=(1, 2)) * step**2 > _VERTEX_AREA_MM2)
    if slices.size == 0:
        raise InputRefused(_NO_SIGNAL)
    top = int(slices[-1])
    upper = foreground[max(0, top - int(130 / step)) : top + 1]
    _, j, i = np.argwhere(upper).mean(axis=0)
    return np.asarray(coarse.grid.to_world(np.array([[i, j, top - 75.0 / step]]))[0])


def _covering(source: Grid, spacing_mm: float) -> Grid:
    nk, nj, ni = source.shape
    corners = np.array([[i, j, k] for i in (0, ni - 1) for j in (0, nj - 1) for k in (0, nk - 1)])
    world = source.to_world(corners)
    low, high = world.min(axis=0), world.max(axis=0)
    ni, nj, nk = (max(2, int(np.ceil(e / spacing_mm)) + 1) for e in high - low)
    return Grid.axis_aligned((nk, nj, ni), spacing_mm, (high + low) / 2)


def _lattice(centre: Float64, spacing: float) -> Float64:
    lines = [np.arange(-h, h + 1e-6, spacing) for h in _HALF_AXES_MM]
    x, y, z = np.meshgrid(*lines, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    points += np.random.default_rng(_SEED).uniform(-spacing / 2, spacing / 2, points.shape)
    return np.asarray(points[((points / _HALF_AXES_MM) ** 2).sum(axis=1) <= 1] + centre)


def _rim(centre: Float64) -> Float64:
    """27 points spanning the brain (+-60 mm) on which gaps between transforms are judged."""
    line = (-60.0, 0.0, 60.0)
    corners = np.array([[x, y, z] for x in line for y in line for z in line])
    return np.asarray(corners * np.array([1.0, 1.2, 0.9]) + centre)


def _largest_gap(a: RigidTransform, b: RigidTransform, points: Float64) -> float:
    return float(np.linalg.norm(a.map(points) - b.map(points), axis=1).max())


def _around(transform: RigidTransform, centre: Float64, change: RigidTransform) -> RigidTransform:
    """`transform` after `change`, whose rotation turns about `centre`."""
    return transform @ _shift(centre) @ change @ _shift(-centre)


def _shift(by: Float64) -> RigidTransform:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return RigidTransform(matrix)


def _entropy(p: Float64) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
