"""Rigid registration of the delayed to the baseline volume.

Captured at 8 mm from several starts (`rigid_capture`), refined at 4, 2 and 1 mm by robust Gauss-Newton
(`rigid_refinement`) on samples drawn where the baseline's signal changes. Tracer, gain and shading are part of
the signal model or outliers to it (`signal_model`); the samples leave out jaw and neck, which move on their own.
Samples are seeded and sums run in a fixed order, so that the same input gives the same transform, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import InputRefused, Reason
from service.imaging.recipe_types import Registration
from service.imaging.rigid import RigidTransform
from service.imaging.rigid_capture import (
    COARSE_SIGMA_MM,
    COARSE_SPACING_MM,
    FEW_STARTS,
    MANY_STARTS,
    capture,
    lattice,
    mutual_information,
    upper_head_centre,
)
from service.imaging.rigid_refinement import Effort, NoOverlapError, refine
from service.imaging.signal_model import NoSignalError, Stiffness
from service.imaging.smoothed_copy import SmoothedCopy, crop, shrink, smooth
from service.imaging.volume import Float64, Volume

_NO_SIGNAL = Reason(
    code="REGISTRATION_FAILED",
    message="One of the two series shows nothing that could be aligned: it is empty, of one value, or shows no head. "
    "Look at both, and send the original 3D T1 series.",
)
_NO_OVERLAP = Reason(
    code="REGISTRATION_FAILED",
    message="The two series could not be brought to overlap: one of them shows too little of the head, or something "
    "else. Look at both, and send two 3D T1 series of the whole head.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """One resolution: voxel size (or the volume's own, if coarser), total blur, and how it is aligned.

    Little blur: what tracer lights up spreads into the brain beside it, and pulls.
    """

    spacing_mm: float
    sigma_mm: float
    effort: Effort


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    """About how many samples, and which: the checks see others than the answer that they check."""

    number: int
    seed: int


_STIFFNESS = Stiffness(classes=32, field_order=2, cutoff=3.5)
_MIDDLE = _Level(
    spacing_mm=4.0,
    sigma_mm=3.0,
    effort=Effort(most_steps=15, last_step_mm=0.1, stiffness=_STIFFNESS),
)
_FINE = _Level(
    spacing_mm=2.0,
    sigma_mm=1.5,
    effort=Effort(most_steps=25, last_step_mm=0.01, stiffness=_STIFFNESS),
)
_FINEST = _Level(
    spacing_mm=1.0,
    sigma_mm=1.2,
    effort=Effort(most_steps=15, last_step_mm=0.003, stiffness=_STIFFNESS),
)
_MIDDLE_LATTICE_MM, _FINE_LATTICE_MM = 5.0, 3.2  # one place in every cube may become a sample; at 1 mm as at 2 mm
_MAIN, _CHECK = _Draw(number=15_000, seed=1), _Draw(number=8_000, seed=2)
_STEEP_PERCENTILE = 85.0  # steeper edges are not drawn more often: fat and skin are not all there is
_BLUR_PER_VOXEL = 0.75  # thick slices: both copies as blurred as the thicker one has to be
_SECOND_START = RigidTransform.from_euler((6.0, -5.0, 5.0), (6.0, -6.0, 5.0))
_CAPTURES_AGREE_MM = 12.0  # coarse answers are good to 5 mm each
_MARGIN_MM = 10.0  # around the samples at 1 mm: the blur's reach and the last step's


def register(fixed: Volume, moving: Volume, *, centre: Float64 | None = None) -> Registration:
    """Align `moving` (delayed) to `fixed` (baseline).

    Parameters
    ----------
    centre
        Brain centre in `fixed`, LPS mm (`Anatomy.brain_centre`); estimated from the signal when None.

    Returns
    -------
    Registration
        ``transform`` maps fixed -> moving points. ``inverse_consistency_mm`` compares it with the swapped
        registration, captured and refined on its own; ``two_start_mm`` with a second one, started 9 degrees and
        10 mm off the first and refined on other samples. Both stop at 2 mm. Where the captures of the two
        directions disagree, both are repeated from many starts; if they still do, the second start is the other
        direction's capture, so that ``two_start_mm`` tells.

    Raises
    ------
    InputRefused
        REGISTRATION_FAILED: a volume has no signal to align, or the two do not overlap.
    """
    try:
        return _register(fixed, moving, centre)
    except NoSignalError as why:
        raise InputRefused(_NO_SIGNAL) from why
    except NoOverlapError as why:
        raise InputRefused(_NO_OVERLAP) from why


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scan:
    """One volume at the resolutions that the search goes through; `near` is sharp, at about 1 mm."""

    near: Volume
    fine: SmoothedCopy
    middle: SmoothedCopy
    coarse: SmoothedCopy


def _register(fixed: Volume, moving: Volume, centre: Float64 | None) -> Registration:
    blur = _BLUR_PER_VOXEL * max(*fixed.grid.spacing, *moving.grid.spacing)
    first, second = _scan(fixed, blur), _scan(moving, blur)
    first_middle, second_middle = upper_head_centre(first.middle), upper_head_centre(second.middle)
    middle = first_middle if centre is None else np.asarray(centre, dtype=np.float64)
    begin = _shift(second_middle - first_middle)

    forward, backward, rival, steps = _capture(first, second, begin, middle)
    found, descent, points = _descend(first, second, forward, middle, _MAIN)
    found, finish = _finish(first, second, found, points, middle=middle, blur=blur)
    again = _around(found, middle, _SECOND_START) if rival is None else rival
    other, other_descent, _ = _descend(first, second, again, middle, _CHECK)
    there = found.map(middle[None])[0]
    back, back_descent, _ = _descend(second, first, backward, there, _CHECK)

    before, after = _similarities(first.fine, second.fine, (begin, found), middle)
    if before > after:  # a copy that was not moved: its own noise agrees nowhere as well as there
        found, after = begin, before
    rim = _rim(middle)
    return Registration(
        transform=found,
        similarity_before=before,
        similarity_after=after,
        inverse_consistency_mm=_largest_gap(found, back.inverse(), rim),
        two_start_mm=_largest_gap(found, other, rim),
        iterations=steps + descent + finish + other_descent + back_descent,
    )


def _scan(volume: Volume, blur: float) -> _Scan:
    near = shrink(volume, _FINEST.spacing_mm)
    copies, source, already = [], near, 0.0
    for spacing, sigma in (
        (_FINE.spacing_mm, _FINE.sigma_mm),
        (_MIDDLE.spacing_mm, _MIDDLE.sigma_mm),
        (COARSE_SPACING_MM, COARSE_SIGMA_MM),
    ):
        wanted = max(sigma, blur)
        copies.append(smooth(shrink(source, spacing), wanted, already_mm=already))
        source, already = copies[-1].volume, wanted
    if not np.isfinite(source.array).all():  # one undefined voxel has spread as far as here
        raise NoSignalError
    return _Scan(near=near, fine=copies[0], middle=copies[1], coarse=copies[2])


def _capture(
    fixed: _Scan, moving: _Scan, begin: RigidTransform, middle: Float64
) -> tuple[RigidTransform, RigidTransform, RigidTransform | None, int]:
    """(forward, backward, a rival to forward where the two stay at odds, steps)."""
    a, b = fixed.coarse, moving.coarse
    moving_middle, rim = begin.map(middle[None])[0], _rim(middle)
    steps = 0
    for starts in (FEW_STARTS, MANY_STARTS):
        forward, forward_steps = capture(a, b, begin, starts, centre=middle)
        backward, backward_steps = capture(b, a, begin.inverse(), starts, centre=moving_middle)
        steps += forward_steps + backward_steps
        if _largest_gap(forward, backward.inverse(), rim) <= _CAPTURES_AGREE_MM:
            return forward, backward, None, steps
    rival = backward.inverse()
    agree, rival_agrees = _similarities(a, b, (forward, rival), middle)
    if rival_agrees > agree:
        forward, rival = rival, forward
    return forward, backward, rival, steps


def _similarities(
    fixed: SmoothedCopy, moving: SmoothedCopy, transforms: Sequence[RigidTransform], centre: Float64
) -> list[float]:
    """Of each: normalised mutual information over the upper head, 1 (independent) .. 2 (identical); 64 x 64 bins."""
    points = lattice(centre, 4.0)
    return [mutual_information(fixed, moving, t, points, bins=64, smallest_overlap=0.05) for t in transforms]


def _descend(
    fixed: _Scan, moving: _Scan, start: RigidTransform, middle: Float64, draw: _Draw
) -> tuple[RigidTransform, int, Float64]:
    """From a capture to the answer at 2 mm, the steps taken, and the samples that it rests on."""
    transform, steps = start, 0
    for a, b, level, lattice_mm in (
        (fixed.middle, moving.middle, _MIDDLE, _MIDDLE_LATTICE_MM),
        (fixed.fine, moving.fine, _FINE, _FINE_LATTICE_MM),
    ):
        points = _edges(a, middle, lattice_mm, draw)
        end = refine(a, b, transform, points, centre=middle, effort=level.effort)
        transform, steps = end.transform, steps + end.steps
    return transform, steps, points


def _finish(
    fixed: _Scan, moving: _Scan, start: RigidTransform, points: Float64, *, middle: Float64, blur: float
) -> tuple[RigidTransform, int]:
    """The last steps at 1 mm on the same samples, and the part of both volumes that they need."""
    sigma = max(_FINEST.sigma_mm, blur)
    a, b = (
        smooth(crop(scan.near, where, _MARGIN_MM), sigma)
        for scan, where in ((fixed, points), (moving, start.map(points)))
    )
    end = refine(a, b, start, points, centre=middle, effort=_FINEST.effort)
    return end.transform, end.steps


def _edges(copy: SmoothedCopy, middle: Float64, lattice_mm: float, draw: _Draw) -> Float64:
    """Points of the upper head, drawn in proportion to the slope of the signal there."""
    points = lattice(middle, lattice_mm, draw.seed)
    readings = copy.read(points)
    steepness = np.linalg.norm(readings.slopes, axis=1) * readings.inside
    if not steepness.any():
        raise NoSignalError
    likely = np.minimum(steepness, np.percentile(steepness[readings.inside], _STEEP_PERCENTILE))
    drawn = np.random.default_rng(draw.seed).random(len(points)) < likely * (draw.number / likely.sum())
    return np.asarray(points[drawn])


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
