"""One rigid registration by a peer, run as a script in an environment of its own: ``peers.py NAME FIXED MOVING``.

The volumes are ``.npz`` with ``array`` ([k, j, i]) and ``affine`` (ijk -> LPS mm). Printed last is one line of JSON:
``matrix`` (4x4, LPS mm, fixed -> moving) and the seconds the registration took, reading and writing left out. Imports
nothing of csf24, whose numpy is newer than ANTs allows.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def simpleitk(fixed: sitk.Image, moving: sitk.Image) -> Callable[[], np.ndarray]:
    """Mattes mutual information, 4-2-1 pyramid, regular step gradient descent: SimpleITK's own example settings."""
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
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
    return lambda: _matrix(method.Execute(fixed, moving))


def greedy(fixed: sitk.Image, moving: sitk.Image) -> Callable[[], np.ndarray]:
    """PICSL greedy, normalised mutual information, 6 parameters, a random search around the centres, down to 1 mm."""
    from picsl_greedy import Greedy3D  # noqa: PLC0415 - one peer at a time

    def run() -> np.ndarray:
        program = Greedy3D()
        program.execute(
            "-a -dof 6 -m NMI -i fixed moving -ia-image-centers -search 500 12 20 -n 100x50x20 -threads 2 -o found",
            fixed=fixed,
            moving=moving,
            found=None,
        )
        return LPS_TO_RAS @ np.array(program["found"]) @ LPS_TO_RAS

    return run


def ants_rigid(fixed: sitk.Image, moving: sitk.Image) -> Callable[[], np.ndarray]:
    """ANTs, ``type_of_transform="Rigid"`` with ANTsPy's own settings."""
    import ants  # noqa: PLC0415 - one peer at a time

    a, b = (
        ants.from_numpy(
            sitk.GetArrayFromImage(image).transpose(2, 1, 0).copy(),
            origin=image.GetOrigin(),
            spacing=image.GetSpacing(),
            direction=np.array(image.GetDirection()).reshape(3, 3),
        )
        for image in (fixed, moving)
    )

    def run() -> np.ndarray:
        found = ants.registration(a, b, type_of_transform="Rigid", random_seed=1)
        return _matrix(sitk.ReadTransform(found["fwdtransforms"][0]))

    return run


METHODS = {"SimpleITK": simpleitk, "greedy": greedy, "ANTs": ants_rigid}


def _matrix(transform: sitk.Transform) -> np.ndarray:
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    matrix[:3, :3] = np.array([np.array(transform.TransformPoint(e)) - origin for e in np.eye(3).tolist()]).T
    return matrix


def _read(path: str) -> sitk.Image:
    stored = np.load(Path(path))
    affine = stored["affine"]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(stored["array"])
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def main(name: str, fixed: str, moving: str) -> None:
    run = METHODS[name](_read(fixed), _read(moving))
    wall, cpu = time.perf_counter(), time.process_time()
    matrix = run()
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps({"matrix": matrix.tolist(), **seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
