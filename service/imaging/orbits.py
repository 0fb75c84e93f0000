"""Globes and intraconal fat: dark spheres with bright fat behind them, found as a left/right pair.

They are looked for where the atlas has them. The pair is what makes it robust: sinuses, ears and vessels give dark
balls too, but not two of them 50-80 mm apart, mirrored in the mid-sagittal plane, each backed by fat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.imaging.head_mask import HeadMasks, components, erode, offsets_from
from service.imaging.recipe_types import Orbit, Plane
from service.imaging.resampling import resample, sample
from service.imaging.volume import Float32, Float64, Grid, Mask, Volume

_GLOBE_RADIUS_MM = 12.0  # adults 11-13
_SEPARATION_MM = (48.0, 82.0)  # between globe centres; adults 55-72
_OFF_PLACE_MM = (18.0, 22.0, 32.0)  # how far a globe may lie from the atlas's: aside, forwards, up
_MISMATCH_MM = 12.0  # of the mirrored partner, in height and depth
_APEX_CONVERGENCE_DEG = 20.0  # the orbit's axis runs medially by this much
_CONE_MM = (14.0, 34.0)  # behind the globe's centre: sclera .. apex, where nerve and muscles fill the cone
_CONE_RADIUS_MM = (12.0, 5.0)
_CANDIDATES = 25
_DARKER_THAN = 0.75  # x brain: mean of a globe with its lens
_BRIGHTER_THAN = 0.06  # x brain: vitreous 0.10-0.26 in real heads, air and what a defacing tool leaves 0.00-0.07
_PLACE_SPREAD_MM = 12.0  # of globes around the atlas's; 7 mm in real heads
_ASTRAY_WEIGHT = 0.15  # per spread, squared: a sinus 35 mm below the eye loses what a globe's fat gains
_LEAST_PAIR_SCORE = 1.2  # two real heads 2.3 and 2.5, drawn ones 3.2, without a face 0.5
_PITCHES_DEG = (-20.0, 0.0, 20.0)  # of the orbit's axis against the AC-PC plane; the cap tolerates +-20 around each
_MARGIN_MM = 30.0  # around the places where a globe may be: its fat lies within


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _HeadAxes:
    """Orthonormal head directions, LPS: left and, within the mid-sagittal plane, back and up."""

    left: Float64
    back: Float64
    up: Float64


def find_orbits(
    baseline: Volume, masks: HeadMasks, sagittal: Plane, expected: tuple[Float64, Float64]
) -> tuple[Orbit | None, Orbit | None]:
    """(left, right) orbit of the patient; None where there is no globe, or no bright fat behind it.

    Parameters
    ----------
    baseline
        The head, upright.
    expected
        LPS mm: where the atlas has the (left, right) globe centre.
    """
    axes = _axes(sagittal)
    pair = _globe_pair(masks, sagittal, axes, expected)
    if pair is None:
        return None, None
    globes = [_refine(baseline, masks.brain_signal, globe, axes) for globe in pair]
    pitch = _orbit_pitch(masks.image, globes, sagittal, axes)
    orbits: list[Orbit | None] = []
    for globe in globes:
        fat = _intraconal_fat(baseline, masks.brain_signal, globe, _apex_direction(globe, sagittal, axes, pitch))
        orbits.append(Orbit(globe_centre=globe, fat_points=fat) if len(fat) else None)
    return orbits[0], orbits[1]


def _axes(sagittal: Plane) -> _HeadAxes:
    left = sagittal.normal
    back = np.array([0.0, 1.0, 0.0]) - left * left[1]
    back /= np.linalg.norm(back)
    return _HeadAxes(left=left, back=back, up=np.cross(left, back))


def _globe_pair(
    masks: HeadMasks, sagittal: Plane, axes: _HeadAxes, expected: tuple[Float64, Float64]
) -> tuple[Float64, Float64] | None:
    """Centres (left, right) of the best mirrored pair, to 2 mm, over the pitches a head may have."""
    face, allowed, astray = _face(masks, expected)
    penalty = _globe_likeness(face, allowed) + astray
    best, best_score = None, _LEAST_PAIR_SCORE
    for pitch in _PITCHES_DEG:
        points, scores = _globe_candidates(face, axes, penalty, pitch)
        local = np.stack([(points - sagittal.origin) @ a for a in (axes.left, axes.back, axes.up)], axis=1)
        for a in np.flatnonzero(local[:, 0] > 0):
            for b in np.flatnonzero(local[:, 0] < 0):
                apart = local[a, 0] - local[b, 0]
                uneven = np.abs(np.array([local[a, 0] + local[b, 0], *(local[a, 1:] - local[b, 1:])]))
                if not _SEPARATION_MM[0] <= apart <= _SEPARATION_MM[1] or uneven.max() > _MISMATCH_MM:
                    continue
                score = min(scores[a], scores[b]) * 2 + scores[a] + scores[b] - 0.02 * float(uneven.sum())
                if score > best_score:
                    best, best_score = (points[a], points[b]), score
    return best


def _face(masks: HeadMasks, expected: tuple[Float64, Float64]) -> tuple[Volume, Mask, Float32]:
    """The part of the head around the expected globes, where in it a globe may lie, and how far off its place."""
    image, grid = masks.image, masks.image.grid
    places, reach = np.stack(expected), np.array(_OFF_PLACE_MM)
    corners = [places.min(axis=0) - reach - _MARGIN_MM, places.max(axis=0) + reach + _MARGIN_MM]
    size = np.array(grid.shape[::-1])
    low, high = np.clip(np.rint(grid.to_index(corners)).astype(int), 0, size)
    low = np.minimum(low, size - 1)
    high = np.maximum(high, low + 1)
    part = image.part(low, high)
    outside_brain = (masks.head & ~masks.brain)[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    near = np.zeros_like(outside_brain)
    astray = np.full(outside_brain.shape, np.inf)
    for place in expected:
        offsets = offsets_from(place, part.grid)
        dx, dy, dz = (np.abs(d) <= r for d, r in zip(offsets, reach, strict=True))
        near |= dx & dy & dz
        distance = sum(d**2 for d in offsets) / _PLACE_SPREAD_MM**2
        astray = np.minimum(astray, _ASTRAY_WEIGHT * distance)
    return part, outside_brain & near, astray.astype(np.float32)


def _globe_likeness(face: Volume, allowed: Mask) -> Float32:
    """Penalty for signal and unevenness in a 9 mm ball around every voxel; infinite where no globe can be."""
    clipped = np.clip(face.array, 0, 2.5)
    core = _ball(9.0, face.grid.spacing[0])
    inside = _correlate(clipped, core, face.grid.spacing[0])
    rough = np.sqrt(np.maximum(_correlate(clipped**2, core, face.grid.spacing[0]) - inside**2, 0))
    penalty = 1.5 * inside + rough
    penalty[(inside > _DARKER_THAN) | (inside < _BRIGHTER_THAN) | ~allowed] = np.inf
    return np.asarray(penalty, dtype=np.float32)


def _globe_candidates(face: Volume, axes: _HeadAxes, penalty: Float32, pitch_deg: float) -> tuple[Float64, Float64]:
    """Local maxima of (fat behind - penalty): points ``(N, 3)`` LPS mm and scores."""
    grid = face.grid
    pitch = np.deg2rad(pitch_deg)
    offsets = _ball(22.0, grid.spacing[0])
    radius = np.linalg.norm(offsets, axis=1)
    behind = offsets @ (np.cos(pitch) * axes.back + np.sin(pitch) * axes.up) / np.maximum(radius, 1e-9)
    cap = offsets[(radius > 13) & (behind > 0.55)]
    score = _correlate(np.clip(face.array, 0, 2.0), cap, grid.spacing[0]) - penalty
    picked, values = [], []
    for _ in range(_CANDIDATES):
        k, j, i = np.unravel_index(int(np.argmax(score)), score.shape)
        if not score[k, j, i] > 0:
            break
        picked.append((i, j, k))
        values.append(score[k, j, i])
        n = 3
        score[max(0, k - n) : k + n + 1, max(0, j - n) : j + n + 1, max(0, i - n) : i + n + 1] = -np.inf
    return grid.to_world(np.array(picked, dtype=np.float64).reshape(-1, 3)), np.array(values, dtype=np.float64)


def _ball(radius_mm: float, spacing: float) -> Float64:
    n = int(np.ceil(radius_mm / spacing))
    line = np.arange(-n, n + 1) * spacing
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    offsets = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    return np.asarray(offsets[np.linalg.norm(offsets, axis=1) <= radius_mm])


def _correlate(array: Float32, offsets_mm: Float64, spacing: float) -> Float32:
    """Mean of `array` over `offsets_mm` (LPS) around every voxel, wrapping at the edges."""
    kernel = np.zeros(array.shape, dtype=np.float32)
    steps = np.rint(offsets_mm / spacing).astype(int)
    kernel[steps[:, 2], steps[:, 1], steps[:, 0]] = 1.0 / len(steps)
    spectrum = np.fft.rfftn(array) * np.conj(np.fft.rfftn(kernel))
    return np.asarray(np.fft.irfftn(spectrum, s=array.shape, axes=(0, 1, 2)), dtype=np.float32)


def _refine(baseline: Volume, brain_signal: float, globe: Float64, axes: _HeadAxes) -> Float64:
    """The globe's centre to about 0.5 mm: the darkest, most even ball nearby."""
    grid = Grid.axis_aligned((57, 57, 57), 1.0, globe)
    patch = resample(baseline, grid, antialias=True).array / np.float32(brain_signal)
    offsets = _ball(17.0, 1.0)
    radius = np.linalg.norm(offsets, axis=1)
    # the eyelid and air in front say nothing about where the sphere is
    usable = offsets @ axes.back > -4
    clipped = np.clip(patch, 0, 1.2)
    inside = _correlate(clipped, offsets[(radius <= _GLOBE_RADIUS_MM - 1.5)], 1.0)
    around = _correlate(clipped, offsets[(radius > _GLOBE_RADIUS_MM + 0.5) & (radius <= 16) & usable], 1.0)
    score = (around - inside)[20:37, 20:37, 20:37]
    k, j, i = np.unravel_index(int(np.argmax(score)), score.shape)
    return np.asarray(grid.to_world(np.array([[i + 20, j + 20, k + 20]]))[0])


def _apex_direction(globe: Float64, sagittal: Plane, axes: _HeadAxes, pitch_deg: float) -> Float64:
    """Unit vector from the globe to the orbital apex."""
    side = np.sign(float((globe - sagittal.origin) @ axes.left))
    medial, pitch = np.deg2rad([_APEX_CONVERGENCE_DEG, pitch_deg])
    back = np.cos(pitch) * axes.back + np.sin(pitch) * axes.up
    return np.asarray(np.cos(medial) * back - side * np.sin(medial) * axes.left)


def _orbit_pitch(image: Volume, globes: list[Float64], sagittal: Plane, axes: _HeadAxes) -> float:
    """Tilt of the orbital axes against `axes.back` that puts most fat into both cones."""
    tilts = np.arange(-40.0, 41.0, 5.0)
    brightness = []
    for tilt in tilts:
        cones = [
            np.clip(
                sample(image, _cone(g, _apex_direction(g, sagittal, axes, float(tilt)), 2.0)[0], outside=0.0), 0, 2.5
            )
            for g in globes
        ]
        brightness.append(min(float(c.mean()) for c in cones))
    weights = np.maximum(np.array(brightness) - 0.9 * max(brightness), 0)
    return float(weights @ tilts / weights.sum()) if weights.sum() > 0 else 0.0


def _cone(globe: Float64, axis: Float64, spacing: float) -> tuple[Float64, Grid]:
    """Points (LPS) of the muscle cone behind a globe, and the LPS-aligned lattice they lie on."""
    middle = globe + axis * (sum(_CONE_MM) / 2)
    n = int(44 / spacing) | 1
    grid = Grid.axis_aligned((n, n, n), spacing, middle)
    k, j, i = np.unravel_index(np.arange(n**3), (n, n, n))
    points = grid.to_world(np.stack([i, j, k], axis=1))
    return points[_in_cone(points - globe, axis)], grid


def _in_cone(relative: Float64, axis: Float64) -> Mask:
    along = relative @ axis
    aside = np.linalg.norm(relative - along[:, None] * axis, axis=1)
    near, far = _CONE_MM
    limit = np.interp(along, _CONE_MM, _CONE_RADIUS_MM)
    outside_globe = np.linalg.norm(relative, axis=1) > _GLOBE_RADIUS_MM + 1.5
    return np.asarray((along > 2.0) & (along <= far) & (aside <= limit) & outside_globe & (near > 0))


def _intraconal_fat(baseline: Volume, brain_signal: float, globe: Float64, axis: Float64) -> Float64:
    """``(N, 3)`` LPS mm on a 1 mm lattice: the bright mode inside the cone, freed of its borders."""
    points, grid = _cone(globe, axis, 1.0)
    patch = resample(baseline, grid, antialias=True).array / np.float32(brain_signal)
    cone = np.zeros(grid.shape, dtype=bool)
    i, j, k = np.rint(grid.to_index(points)).astype(int).T
    cone[k, j, i] = True
    bright = float(np.percentile(patch[cone], 85))
    if bright < 1.15:  # as dark as brain: no fat here (defaced, suppressed), whatever the shape says
        return np.zeros((0, 3))
    fat = cone & (patch > 0.78 * bright) & (patch < 1.35 * bright)
    fat = erode(fat, 0.6, grid)
    labels, n = components(fat)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    keep = np.isin(labels, [label for label in range(1, n + 1) if sizes[label] >= 30])
    return grid.to_world(np.argwhere(keep)[:, ::-1])
