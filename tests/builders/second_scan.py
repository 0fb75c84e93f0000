"""A second scan of any head: moved, with tracer, another gain, shading, noise, a bent neck, part of it not covered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from service.imaging.atlas_pose import find_pose
from service.imaging.head_atlas import MNI_TO_ATLAS
from service.imaging.head_mask import dilate
from service.imaging.resampling import antialiased, resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float64, Grid, Mask, Volume
from tests.builders.heads import Head, default_grid, head_volume
from tests.builders.outlined import outlined

_FIELD_SPACING_MM = 8.0
_EARLY_MNI_LPS = ((0.0, 58.0, -52.0), (0.0, 10.0, -40.0), (0.0, 22.0, -56.0))
_EARLY_RADII_MM = (14.0, 11.0, 11.0)
_NECK_FROM_MM, _NECK_TO_MM = -50.0, -90.0  # below the brain's centre: still, and fully turned


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A head at rest: its scan, where fluid could take up tracer, and points all over its brain.

    `early`, `basal` and `everywhere` hold the share of fluid in each voxel of `scan`, 0..1: in front of the brain stem
    and in the cisterna magna, below the brain's centre, and in all of it. `brain` is ``(N, 3)`` LPS mm.
    """

    scan: Volume
    early: Volume
    basal: Volume
    everywhere: Volume
    brain: Float64
    brain_signal: float

    @property
    def centre(self) -> Float64:
        return self.brain.mean(axis=0)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How the second scan differs. Tracer and noise in units of the median brain signal.

    Attributes
    ----------
    bias
        Largest deviation of a random smooth (cubic) shading from 1.
    neck_deg
        Nodding of all that lies under the skull base, about its joint; the head stays where `pose` puts it.
    missing_mm, missing_side
        How much of the head the field of view cuts off, and at which side: ``-x`` (right), ``+z`` (vertex), ...
    """

    pose: RigidTransform
    early: float = 0.0
    basal: float = 0.0
    everywhere: float = 0.0
    gain: float = 1.0
    bias: float = 0.0
    noise: float = 0.03
    neck_deg: float = 0.0
    missing_mm: float = 0.0
    missing_side: str = "+z"
    seed: int = 0


def real_subject(scan: Volume) -> Subject:
    """From a real unenhanced head; fluid is what is dark within 3 mm of the brain."""
    masks = outlined(scan)
    grid = masks.image.grid
    brain = grid.to_world(np.argwhere(masks.brain)[::20, ::-1])
    dark = np.clip((0.62 - masks.image.array) / 0.25, 0, 1) * dilate(masks.brain, 3.0, grid)
    height = grid.to_world(np.argwhere(np.ones(grid.shape, dtype=bool))[:, ::-1]) - brain.mean(axis=0)
    low = ((height[:, 2] < -8) & (np.abs(height[:, 0]) < 45)).reshape(grid.shape)
    shares = [resample(Volume(s.astype(np.float32), grid), scan.grid) for s in (dark * low, dark)]
    signal = float(masks.brain_signal)
    early = np.clip((0.62 - scan.array / signal) / 0.25, 0, 1) * early_reach(scan)
    return Subject(
        scan=scan,
        early=scan.with_array(early.astype(np.float32)),
        basal=shares[0],
        everywhere=shares[1],
        brain=brain,
        brain_signal=signal,
    )


def early_reach(scan: Volume) -> Mask:
    """Around the cisterns in front of and behind the lower brain stem, by the atlas: where tracer is at first."""
    matrix = find_pose(antialiased(scan.along_patient_axes(), 2.0)).matrix
    places = np.array(_EARLY_MNI_LPS) * MNI_TO_ATLAS @ matrix[:3, :3].T + matrix[:3, 3]
    points = scan.grid.to_world(np.argwhere(np.ones(scan.grid.shape, dtype=bool))[:, ::-1])
    inside = np.zeros(len(points), dtype=bool)
    for place, radius in zip(places, _EARLY_RADII_MM, strict=True):
        inside |= ((points - place) ** 2).sum(axis=1) < radius**2
    return inside.reshape(scan.grid.shape)


def drawn_subject(spacing: float = 1.0, seed: int = 1) -> Subject:
    """The procedural head, whose fluid is known."""
    grid = default_grid(spacing)
    plain = head_volume(Head(gain=1000.0, seed=seed), grid)
    basal, sas, inner = (
        plain.with_array((head_volume(Head(gain=1000.0, tracer={name: 1.0}), grid).array - plain.array) / 1000.0)
        for name in ("basal", "sas", "ventricles")
    )
    k, j, i = np.nonzero((plain.array > 380) & (plain.array < 560))
    points = grid.to_world(np.stack([i, j, k], axis=1))
    brain = points[(points / [66.0, 88.0, 80.0]) @ [0, 0, 1] > -0.7]
    brain = brain[(((brain - [0, 0, 2]) / [66.0, 88.0, 78.0]) ** 2).sum(axis=1) < 1][::200]
    everywhere = plain.with_array(np.clip(basal.array + sas.array + 0.7 * inner.array, 0, 1))
    early = basal.with_array(basal.array * (grid_heights(plain) < brain[:, 2].mean() - 25))
    return Subject(scan=plain, early=early, basal=basal, everywhere=everywhere, brain=brain, brain_signal=530.0)


def grid_heights(volume: Volume) -> Float64:
    """Height of each slice of an axis-aligned volume, LPS mm, ``(slices, 1, 1)``."""
    grid = volume.grid
    return np.asarray(grid.origin[2] + grid.spacing[2] * np.arange(grid.shape[0]))[:, None, None]


def first_scan(subject: Subject, *, noise: float = 0.03, seed: int = 900) -> Volume:
    """The subject as scanned before: noise of its own, so that both scans share no grain."""
    return subject.scan.with_array(_noisy(subject.scan.array, noise * subject.brain_signal, seed))


def second_scan(subject: Subject, conditions: Conditions, grid: Grid | None = None) -> Volume:
    """The subject under `conditions`, on `grid` (default: 256 mm cubed at 1 mm around the first scan's middle)."""
    grid = grid or Grid.axis_aligned((256, 256, 256), 1.0, subject.scan.grid.centre)
    added = (
        conditions.early * subject.early.array
        + conditions.basal * subject.basal.array
        + conditions.everywhere * subject.everywhere.array
    )
    enhanced = subject.scan.with_array(subject.scan.array + np.float32(subject.brain_signal) * added)
    moved = _moved(enhanced, subject, conditions, grid)
    rng = np.random.default_rng(conditions.seed)
    shaded = moved * (1 + conditions.bias * _smooth_field(grid.shape, rng)).astype(np.float32)
    scan = Volume(_noisy(shaded, conditions.noise * subject.brain_signal, conditions.seed) * conditions.gain, grid)
    return _cut(scan, moved > 0.25 * subject.brain_signal, conditions)


def drawn_conditions(centre: Float64, trial: int, *, turn_deg: float = 20.0, shift_mm: float = 30.0) -> Conditions:
    """Everything at once, from the seed `trial`: the harshest of what registration has to bear."""
    rng = np.random.default_rng([2026, trial])
    pose = RigidTransform.from_euler(
        rng.uniform(-turn_deg, turn_deg, 3).tolist(), rng.uniform(-shift_mm, shift_mm, 3).tolist(), centre
    )
    everywhere = float(rng.choice([0.0, 0.3, 1.0]))
    cut = bool(rng.random() < 0.5)
    return Conditions(
        pose=pose,
        basal=float(rng.uniform(0.2, 1.2)),
        everywhere=everywhere,
        gain=float(rng.uniform(0.6, 1.6)),
        bias=float(rng.uniform(0.0, 0.3)),
        noise=float(rng.uniform(0.02, 0.06)),
        neck_deg=float(rng.uniform(-12, 12)),
        missing_mm=float(rng.uniform(10, 20)) if cut else 0.0,
        missing_side=str(rng.choice(["-x", "+x", "-y", "+y", "-z", "+z"])),
        seed=1000 + trial,
    )


def _moved(scan: Volume, subject: Subject, conditions: Conditions, grid: Grid) -> np.ndarray:
    to_head = sitk.CompositeTransform(3)
    to_head.AddTransform(_neck(subject, conditions.neck_deg))  # the last one added is applied first
    to_head.AddTransform(conditions.pose.inverse().to_sitk())
    reference = grid.lay_out(sitk.Image([int(n) for n in reversed(grid.shape)], sitk.sitkUInt8))
    moved = sitk.Resample(scan.to_sitk(), reference, to_head, sitk.sitkBSpline, 0.0, sitk.sitkFloat32)
    return np.clip(sitk.GetArrayFromImage(moved), 0, None)


def _neck(subject: Subject, degrees: float) -> sitk.Transform:
    """Displacements that are zero in the upper head and turn the neck below the skull base."""
    centre = subject.centre
    n = int(400 / _FIELD_SPACING_MM)
    grid = Grid.axis_aligned((n, n, n), _FIELD_SPACING_MM, centre)
    points = grid.to_world(np.argwhere(np.ones(grid.shape, dtype=bool))[:, ::-1])
    share = np.clip((points[:, 2] - centre[2] - _NECK_FROM_MM) / (_NECK_TO_MM - _NECK_FROM_MM), 0, 1)
    share = share * share * (3 - 2 * share)
    joint = centre + np.array([0, 15, _NECK_FROM_MM])
    turned = RigidTransform.from_euler((degrees, 0.4 * degrees, 0), (0, 0, 0), joint)
    field = ((turned.map(points) - points) * share[:, None]).reshape(*grid.shape, 3)
    return sitk.DisplacementFieldTransform(grid.lay_out(sitk.GetImageFromArray(field, isVector=True)))


def _smooth_field(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A random cubic polynomial, -1..1."""
    k, j, i = (np.linspace(-1, 1, n)[s] for n, s in zip(shape, np.ix_(*map(np.arange, shape)), strict=True))
    field = sum(
        rng.normal() * k**a * j**b * i**c for a in range(4) for b in range(4 - a) for c in range(4 - a - b) if a + b + c
    )
    return np.asarray(field / np.abs(field).max())


def _noisy(signal: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    real, imaginary = (rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(sigma) for _ in range(2))
    return np.hypot(signal + real, imaginary)


def _cut(scan: Volume, head: np.ndarray, conditions: Conditions) -> Volume:
    if conditions.missing_mm <= 0:
        return scan
    index_axis = "xyz".index(conditions.missing_side[1])  # of an LPS-aligned grid
    array_axis = 2 - index_axis
    profile = np.flatnonzero(head.sum(axis=tuple(a for a in range(3) if a != array_axis)) > 50)
    steps = round(conditions.missing_mm / scan.grid.spacing[index_axis])
    first, last = int(profile[0]), int(profile[-1]) + 1
    low, high = [0, 0, 0], list(reversed(scan.grid.shape))
    if conditions.missing_side[0] == "-":
        low[index_axis] = first + steps
    else:
        high[index_axis] = last - steps
    return scan.part(low, high)
