"""Rigid registration beside a plain SimpleITK set-up: error over the brain, and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import SimpleITK as sitk

from service.imaging.registration import register
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float64, Volume
from tests.builders.heads import Head, default_grid, head_volume
from tests.builders.real_head import FOLDER, delayed_from, load_real_head

TRIALS = 3
LARGEST_TURN_DEG, LARGEST_SHIFT_MM = 15.0, 20.0


def plain_simpleitk(fixed: Volume, moving: Volume) -> RigidTransform:
    """Mattes mutual information, 4-2-1 pyramid, regular step gradient descent: SimpleITK's own example settings."""
    images = fixed.to_sitk(), moving.to_sitk()
    start = sitk.CenteredTransformInitializer(
        *images, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.01, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    return RigidTransform.from_sitk(method.Execute(*images))


def ours(fixed: Volume, moving: Volume) -> RigidTransform:
    return register(fixed, moving).transform


def main() -> None:
    methods: dict[str, Callable[[Volume, Volume], RigidTransform]] = {"csf24": ours, "SimpleITK plain": plain_simpleitk}
    print(
        f"Registration, {TRIALS} trials a head, up to {LARGEST_TURN_DEG:g} degrees and {LARGEST_SHIFT_MM:g} mm a axis,"
    )
    print(
        "delayed with tracer in the basal fluid, other gain, shading and noise. csf24's time includes its second start"
    )
    print("and the swapped registration that the checks need.\n")
    print(f"{'head':12} {'method':16} {'mean mm':>8} {'max mm':>8} {'median s':>9}")
    for head, (fixed, pairs) in _heads().items():
        found: dict[str, float] = {}
        for name, method in methods.items():
            errors, seconds = [], []
            for truth, moving in pairs:
                begin = time.perf_counter()
                transform = method(fixed, moving)
                seconds.append(time.perf_counter() - begin)
                points = _brain_points(fixed)
                errors.append(np.linalg.norm(transform.map(points) - truth.map(points), axis=1))
            found[name] = median(seconds)
            all_errors = np.concatenate(errors)
            print(
                f"{head:12} {name:16} {all_errors.mean():8.3f} {all_errors.max():8.3f} {found[name]:9.1f}", flush=True
            )
        print(f"{head:12} time ratio csf24 / SimpleITK plain: {found['csf24'] / found['SimpleITK plain']:.2f}")


def _heads() -> dict[str, tuple[Volume, list[tuple[RigidTransform, Volume]]]]:
    grid = default_grid(1.0)
    drawn = head_volume(Head(noise=0.02, seed=1), grid)
    tracer = {"basal": 0.2}
    heads = {
        "procedural": (
            drawn,
            [
                (pose, head_volume(Head(noise=0.02, seed=n, tracer=tracer, gain=1500.0, bias=0.05), grid, pose))
                for n, pose in enumerate(_poses(np.zeros(3)), start=2)
            ],
        )
    }
    if FOLDER.is_dir():
        real = load_real_head()
        heads["real"] = (
            real,
            [(pose, delayed_from(real, pose, seed=n)) for n, pose in enumerate(_poses(real.grid.centre))],
        )
    return heads


def _poses(centre: Float64) -> list[RigidTransform]:
    rng = np.random.default_rng(2026)
    return [
        RigidTransform.from_euler(
            rng.uniform(-LARGEST_TURN_DEG, LARGEST_TURN_DEG, 3).tolist(),
            rng.uniform(-LARGEST_SHIFT_MM, LARGEST_SHIFT_MM, 3).tolist(),
            centre,
        )
        for _ in range(TRIALS)
    ]


def _brain_points(volume: Volume) -> Float64:
    """27 points that span a brain around the middle of the volume's upper part."""
    line = np.array([-50.0, 0.0, 50.0])
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    centre = volume.grid.centre + np.array([0.0, 0.0, 20.0])
    return np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1) + centre
