"""What goes wrong with a scan, made from a sound one by known means; levels in units of the median brain signal.

Simulated, all of it: k-space faults act on the magnitude image, and contrasts are a re-mapped grey scale.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Grid, Volume

_PHASE_AXIS = 1  # of the array

T2 = ((0, 0.1, 0.35, 0.85, 1.1, 2.0, 3.0), (0, 0.1, 2.2, 1.15, 0.8, 1.3, 1.5))
FLAIR = ((0, 0.1, 0.35, 0.85, 1.1, 2.0, 3.0), (0, 0.1, 0.15, 1.15, 0.9, 1.3, 1.5))
PROTON_DENSITY = ((0, 0.1, 0.35, 0.85, 1.1, 2.0, 3.0), (0, 0.1, 1.15, 1.05, 0.85, 1.0, 1.1))
"""Grey scales as (from, to): air, bone, fluid, grey, white, fat, brightest fat."""


def noisy(volume: Volume, sigma: float, seed: int = 0) -> Volume:
    """Rician noise on top of what there is."""
    rng = np.random.default_rng(seed)
    real, imaginary = (rng.standard_normal(volume.array.shape, dtype=np.float32) * np.float32(sigma) for _ in range(2))
    return volume.with_array(np.hypot(volume.array + real, imaginary))


def moved_meanwhile(volume: Volume, centre: np.ndarray, *, degrees: float, mm: float, seed: int = 0) -> Volume:
    """The head changes its pose three times during the scan: blocks of phase-encoding lines come from other poses."""
    rng = np.random.default_rng(seed)
    lines = volume.array.shape[_PHASE_AXIS]
    spectrum = fft.fft(volume.array, axis=_PHASE_AXIS)
    frequency = np.abs(fft.fftfreq(lines)) * np.sign(fft.fftfreq(lines))
    for low, high in ((-0.5, -0.12), (-0.035, -0.012), (0.05, 0.25)):
        pose = RigidTransform.from_euler(
            rng.uniform(-degrees, degrees, 3).tolist(), rng.uniform(-mm, mm, 3).tolist(), centre
        )
        other = fft.fft(resample(volume, volume.grid, pose).array, axis=_PHASE_AXIS)
        where = (frequency >= low) & (frequency < high)
        spectrum[:, where] = other[:, where]
    return volume.with_array(np.abs(fft.ifft(spectrum, axis=_PHASE_AXIS)).astype(np.float32))


def ghosted(volume: Volume, strength: float) -> Volume:
    """Pulsation: two copies of that strength, a quarter of the field of view to either side."""
    shift = volume.array.shape[_PHASE_AXIS] // 4
    copies = np.roll(volume.array, shift, _PHASE_AXIS) + np.roll(volume.array, -shift, _PHASE_AXIS)
    return volume.with_array(np.hypot(volume.array, np.float32(strength) * copies))


def spiked(volume: Volume, amplitude: float) -> Volume:
    """One false point in k-space: stripes over the whole image."""
    k, j, i = (np.arange(n, dtype=np.float32) / n for n in volume.array.shape)
    phase = 2 * np.pi * (17 * k[:, None, None] + 38 * j[None, :, None] + 29 * i[None, None])
    stripes = np.exp(1j * phase).astype(np.complex64) * np.float32(amplitude)
    return volume.with_array(np.abs(volume.array + stripes))


def clipped(volume: Volume, level: float) -> Volume:
    """The receiver or the export saturates."""
    return volume.with_array(np.minimum(volume.array, np.float32(level)))


def folded(volume: Volume, axis: int, mm: float, *, from_end: bool) -> Volume:
    """The field of view is `mm` too small along the array's `axis`; what lies beyond comes in at the other side.

    Measured from the outermost tissue, at the end or at the beginning of the axis.
    """
    spacing = volume.grid.spacing[2 - axis]
    profile = np.moveaxis(volume.array, axis, 0).reshape(volume.array.shape[axis], -1)
    occupied = np.flatnonzero((profile > 0.3 * np.percentile(volume.array, 95)).mean(axis=1) > 0.005)
    first, last = int(occupied[0]), int(occupied[-1]) + 1
    steps = round(mm / spacing)
    first, last = (first, last - steps) if from_end else (first + steps, last)
    size = last - first
    lines = np.moveaxis(volume.array, axis, 0)
    out = np.zeros((size, *lines.shape[1:]), dtype=np.float32)
    for index in range(lines.shape[0]):
        out[(index - first) % size] += lines[index]
    low = [0, 0, 0]
    low[2 - axis] = first
    array = np.moveaxis(out, 0, axis)
    return Volume(array, volume.grid.part(low, (array.shape[0], array.shape[1], array.shape[2])))


def blurred(volume: Volume, sigma_mm: float) -> Volume:
    """As long small motion does."""
    sigma = [sigma_mm / s for s in reversed(volume.grid.spacing)]
    return volume.with_array(ndimage.gaussian_filter(volume.array, sigma))


def contrast(volume: Volume, brain_signal: float, scale: tuple[tuple[float, ...], tuple[float, ...]]) -> Volume:
    """Another sequence's grey scale."""
    return volume.with_array(
        (np.interp(volume.array / brain_signal, *scale) * np.float32(brain_signal)).astype(np.float32)
    )


def inverted(volume: Volume) -> Volume:
    """White for black."""
    return volume.with_array(np.float32(np.percentile(volume.array, 99.9)) - volume.array)


def thick_slices(volume: Volume, mm: float) -> Volume:
    """Every so many millimetres one plane."""
    step = round(mm / volume.grid.spacing[2])
    affine = volume.grid.affine @ np.diag([1.0, 1.0, float(step), 1.0])
    array: Float32 = volume.array[::step]
    return Volume(array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine))


def mirrored(volume: Volume, axis: int) -> Volume:
    """Left for right: a reader's, a converter's, or an editor's fault with the array, geometry unchanged."""
    return volume.with_array(np.flip(volume.array, axis))


def sphere(grid: Grid, signal: float, seed: int = 0) -> Volume:
    """A quality assurance phantom: 170 mm of doped water with a few rods."""
    k, j, i = (np.arange(n, dtype=np.float32) for n in grid.shape)
    s = grid.spacing
    z, y, x = (k - k.mean()) * s[2], (j - j.mean()) * s[1], (i - i.mean()) * s[0]
    radius = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None] ** 2)
    array = np.where(radius < 85, signal, 0.0).astype(np.float32)
    for centre in ((-30, 0), (30, 0), (0, 35)):
        rod = (y[:, None] - centre[0]) ** 2 + (x[None] - centre[1]) ** 2 < 100
        array[:, rod] *= np.float32(0.4)
    return noisy(Volume(array, grid), 0.03 * signal, seed)


def thighs(grid: Grid, signal: float, seed: int = 0) -> Volume:
    """Another part of the body: two limbs of muscle with marrow, in fat, along the first array axis."""
    _, j, i = (np.arange(n, dtype=np.float32) for n in grid.shape)
    y, x = (j - j.mean()) * grid.spacing[1], (i - i.mean()) * grid.spacing[0]
    plane = np.zeros(grid.shape[1:], dtype=np.float32)
    for side in (-1, 1):
        radius = np.hypot(y[:, None] * 0.8, x[None] - side * 50)
        for outer, level in ((50, 2.0), (42, 0.9), (14, 0.1), (9, 2.0)):
            plane[radius < outer] = level * signal
    return noisy(Volume(np.broadcast_to(plane, grid.shape).copy(), grid), 0.03 * signal, seed)
