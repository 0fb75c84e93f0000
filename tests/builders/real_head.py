"""The real head beside the checkout, and delayed series made from it by known means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from service.imaging.head_mask import dilate
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.outlined import outlined

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "philips-t1"
needs_head = [
    pytest.mark.needs_head,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real head is not beside this checkout"),
]


def load_real_head() -> Volume:
    """The largest series in the folder, stored values times rescale slope, sorted along the slice normal."""
    series: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted(FOLDER.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if "PixelData" in dataset and "ImagePositionPatient" in dataset:
            series.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    slices = max(series.values(), key=len)
    rows, columns = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    slices.sort(key=lambda d: float(np.cross(rows, columns) @ np.array(d.ImagePositionPatient, dtype=float)))
    first, last = (np.array(d.ImagePositionPatient, dtype=float) for d in (slices[0], slices[-1]))
    spacing = [float(s) for s in slices[0].PixelSpacing]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * spacing[1], columns * spacing[0]
    affine[:3, 2] = (last - first) / (len(slices) - 1)
    affine[:3, 3] = first
    array = np.stack([d.pixel_array * float(d.get("RescaleSlope", 1)) for d in slices]).astype(np.float32)
    return Volume(array, Grid(array.shape, affine))


def delayed_from(
    baseline: Volume, transform: RigidTransform, *, tracer: float = 0.6, gain: float = 1.3, noise: float = 0.03, seed=0
) -> Volume:
    """The head moved by `transform` (baseline -> delayed) with bright basal cisterns, gain, shading and noise.

    `tracer` and `noise` in units of the median brain signal.
    """
    masks = outlined(baseline)
    grid = masks.image.grid
    dark = dilate(masks.brain, 3.0, grid) & (masks.image.array < 0.55)
    relative = grid.to_world(np.argwhere(dark)[:, ::-1]) - grid.to_world(np.argwhere(masks.brain)[:, ::-1]).mean(axis=0)
    basal = (relative[:, 2] < -8) & (np.abs(relative[:, 0]) < 45)
    added = np.zeros(grid.shape, dtype=np.float32)
    added[tuple(np.argwhere(dark)[basal].T)] = tracer * masks.brain_signal
    enhanced = baseline.with_array(baseline.array + resample(Volume(added, grid), baseline.grid).array)
    moved = np.clip(resample(enhanced, baseline.grid, transform.inverse(), order=3).array, 0, None)
    k, j, i = (np.linspace(-1, 1, n) for n in moved.shape)
    shading = 1 + 0.15 * (0.5 * k[:, None, None] - 0.6 * j[None, :, None] ** 2 + 0.7 * i[None, None])
    rng = np.random.default_rng(seed)
    sigma = noise * masks.brain_signal * gain
    signal = moved * gain * shading + rng.normal(0, sigma, moved.shape)
    return baseline.with_array(np.hypot(signal, rng.normal(0, sigma, moved.shape)).astype(np.float32))
