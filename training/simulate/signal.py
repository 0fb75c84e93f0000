"""MR signal of a label map with tracer: spoiled gradient echo with optional inversion weighting.

``S = PD sin a (1 - E1) / (1 - cos a E1) exp(-TE R2*)``, ``E1 = exp(-TR R1)``, ``R1 = 1/T1 + r1 C``.
MPRAGE-like contrast is a further factor ``1 - w exp(-TI R1)``: more T1 weight, darker CSF.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Grid, Volume
from training.simulate.lattice import TISSUE_FLUID
from training.simulate.shapes import smooth_noise
from training.simulate.tissues import BRAIN, FLUID, Head, Tissue

# T1 s, proton density, T2* ms at 3 T
_RELAXATION: dict[Tissue, tuple[float, float, float]] = {
    Tissue.AIR: (1.0, 0.005, 10),
    # scalp and diploe are thin layers of several tissues and not as bright as pure fat and marrow
    Tissue.SKIN: (0.8, 0.50, 25),
    Tissue.FAT: (0.37, 0.55, 45),
    Tissue.MUSCLE: (1.4, 0.75, 30),
    Tissue.BONE: (0.7, 0.06, 5),
    Tissue.MARROW: (0.6, 0.30, 25),
    Tissue.CSF: (4.2, 1.0, 1000),
    Tissue.GREY: (1.45, 0.84, 50),
    Tissue.WHITE: (0.88, 0.70, 48),
    Tissue.LATERAL_VENTRICLE: (4.2, 1.0, 1000),
    Tissue.LOWER_VENTRICLES: (4.2, 1.0, 1000),
    Tissue.VITREOUS: (4.0, 0.98, 500),
    Tissue.ORBITAL_FAT: (0.36, 0.90, 45),
    Tissue.NERVE: (1.2, 0.75, 45),
    Tissue.DEEP_GREY: (1.2, 0.80, 45),
}


_FATTY = (Tissue.FAT, Tissue.ORBITAL_FAT, Tissue.MARROW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How all visits of one patient are scanned.

    Attributes
    ----------
    flip_deg
        Effective, with B1 error.
    inversion_weight, inversion_time_s
        0 is plain SPGR; about 0.8 looks like MPRAGE.
    fat_signal
        Factor on all fat: chemical shift and partial water selection make it vary between scanners.
    r1, r2
        Relaxivities, per mM and s.
    """

    repetition_time_ms: float
    echo_time_ms: float
    flip_deg: float
    inversion_weight: float
    inversion_time_s: float
    fat_signal: float
    r1: float
    r2: float


PAPER_PROTOCOL = Protocol(
    repetition_time_ms=5.1,
    echo_time_ms=2.3,
    flip_deg=8.0,
    inversion_weight=0.0,
    inversion_time_s=0.9,
    fat_signal=1.0,
    r1=3.3,
    r2=5.0,
)
"""The founding paper's, relaxivities in the middle of the published ranges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What differs between visits.

    Attributes
    ----------
    pose
        Scanner -> head points, LPS mm.
    gain
        Scanner units per signal unit.
    bias_strength
        Spread of the logarithm of the smooth field that only this visit has.
    snr
        White matter over noise.
    """

    pose: RigidTransform
    gain: float
    bias_strength: float
    snr: float


def draw_protocol(rng: np.random.Generator) -> Protocol:
    """Two thirds SPGR around the founding paper's settings, one third with inversion weight."""
    inverted = rng.random() < 0.4
    return Protocol(
        repetition_time_ms=float(rng.uniform(4.9, 7.5)),
        echo_time_ms=float(rng.uniform(2.1, 3.2)),
        flip_deg=float(rng.uniform(7.0, 10.0)),
        inversion_weight=float(rng.uniform(0.4, 1.0) if inverted else rng.uniform(0, 0.2)),
        inversion_time_s=float(rng.uniform(0.8, 1.0)),
        fat_signal=float(rng.uniform(0.72, 1.0) if inverted else rng.uniform(0.85, 1.05)),
        r1=float(rng.uniform(3.0, 3.7)),
        r2=float(rng.uniform(4.0, 6.0)),
    )


def draw_visit(rng: np.random.Generator, head_centre: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Visit:
    """One visit: the head turned up to 6 degrees and moved up to 8 mm, its own gain, field and noise."""
    pose = RigidTransform.from_euler(rng.uniform(-6, 6, 3).tolist(), rng.uniform(-8, 8, 3).tolist(), head_centre)
    return Visit(
        pose=pose,
        gain=float(700 * rng.uniform(0.6, 1.6)),
        bias_strength=float(rng.uniform(0.0, 0.03)),
        snr=float(rng.uniform(18, 45)),
    )


def spgr(protocol: Protocol, t1: Float32, density: Float32, t2star_ms: Float32, tracer_mm: Float32) -> Float32:
    """Signal per voxel, arbitrary units; `tracer_mm` in mmol per litre of tissue."""
    r1 = 1 / t1 + protocol.r1 * tracer_mm
    r2 = 1e3 / t2star_ms + protocol.r2 * tracer_mm
    flip = np.deg2rad(protocol.flip_deg)
    e1 = np.exp(-protocol.repetition_time_ms * 1e-3 * r1)
    steady = density * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1)
    weighted = steady * (1 - protocol.inversion_weight * np.exp(-protocol.inversion_time_s * r1))
    return np.asarray(weighted * np.exp(-protocol.echo_time_ms * 1e-3 * r2), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """The image of one visit: as acquired, rounded and non-negative, with Rician noise; and without noise."""

    acquired: Volume
    clean: Volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tissues:
    """Relaxation maps of one head, with a patient's own values and texture; ``[k, j, i]``.

    ``unenhanced`` is the measured signal without tracer where the head comes from a real image (any
    unit): then the maps only say by how much tracer changes it.
    """

    t1: Float32
    density: Float32
    t2star: Float32
    unenhanced: Float32 | None = None


def relaxation_maps(head: Head, rng: np.random.Generator) -> Tissues:
    """Patient-specific tissue values: 6 % spread in T1, 4 % in density, 2 % fine texture."""
    t1, density, t2star = (np.zeros(len(Tissue), dtype=np.float32) for _ in range(3))
    for tissue, (a, b, c) in _RELAXATION.items():
        same_fluid = tissue in FLUID
        t1[tissue] = a * (1 if same_fluid else rng.normal(1, 0.06))
        density[tissue] = b * (1 if same_fluid else rng.normal(1, 0.04))
        t2star[tissue] = c
    texture = 1 + 0.03 * smooth_noise(head.labels.shape, 1.5, rng)
    return Tissues(t1=t1[head.labels], density=density[head.labels] * texture, t2star=t2star[head.labels])


def tracer_per_tissue(head: Head, c_outside: Float32, c_ventricles: Float32) -> Float32:
    """Tracer in mmol per litre of tissue, from the fluid concentrations: all of it in CSF, 0.22 of it in brain."""
    tracer = np.zeros(head.labels.shape, dtype=np.float32)
    outside = head.labels == Tissue.CSF
    tracer[outside] = c_outside[outside]
    inner = np.isin(head.labels, (Tissue.LATERAL_VENTRICLE, Tissue.LOWER_VENTRICLES))
    tracer[inner] = c_ventricles[inner]
    brain = np.isin(head.labels, BRAIN)
    tracer[brain] = TISSUE_FLUID * c_outside[brain]
    return tracer


def signal_increase(protocol: Protocol, head: Head, tracer: Float32) -> Float32:
    """What `tracer` (mM per tissue) adds to the signal of tissue of textbook values, in units of orbital fat's."""
    columns = np.array([_RELAXATION[tissue] for tissue in Tissue], dtype=np.float32)
    t1, density, t2star = (columns[:, n][head.labels] for n in range(3))
    nothing = np.zeros_like(tracer)
    fat_t1, fat_density, fat_t2star = (columns[Tissue.ORBITAL_FAT, n : n + 1] for n in range(3))
    fat = spgr(protocol, fat_t1, fat_density, fat_t2star, np.zeros(1, dtype=np.float32))
    risen = spgr(protocol, t1, density, t2star, tracer) - spgr(protocol, t1, density, t2star, nothing)
    return np.asarray(risen / fat[0], dtype=np.float32)


def coil_field(grid: Grid, rng: np.random.Generator) -> Float32:
    """A smooth receive field of 0 to 12 % spread; coils and shims of one scanner differ little between visits."""
    spread = rng.uniform(0.0, 0.12)
    return np.asarray(np.exp(spread * smooth_noise(grid.shape, 50.0 / min(grid.spacing), rng)), dtype=np.float32)


def scan(
    head: Head,
    maps: Tissues,
    tracer: Float32,
    protocol: Protocol,
    visit: Visit,
    *,
    grid: Grid,
    coil: Float32,
    rng: np.random.Generator,
) -> Scan:
    """The image of one visit on the scanner's `grid`.

    `coil` is the patient's receive field ``[k, j, i]`` on the scanner's grid, shared by all visits.
    """
    signal = spgr(protocol, maps.t1, maps.density, maps.t2star, tracer)
    if maps.unenhanced is None:
        signal[np.isin(head.labels, _FATTY)] *= np.float32(protocol.fat_signal)
    else:
        without = spgr(protocol, maps.t1, maps.density, maps.t2star, np.zeros_like(tracer))
        signal = np.asarray(maps.unenhanced * signal / np.maximum(without, 1e-6), dtype=np.float32)
    blurred = ndimage.gaussian_filter(signal, 0.45)  # partial volume of the hard labels
    seen = resample(Volume(blurred, head.grid), grid, visit.pose)
    field = np.exp(visit.bias_strength * smooth_noise(grid.shape, 60.0 / min(grid.spacing), rng))
    image = seen.array * field * coil
    white = float(np.median(signal[head.labels == Tissue.WHITE]))
    sigma = np.float32(white / visit.snr)
    real = image + sigma * rng.standard_normal(grid.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(grid.shape, dtype=np.float32)
    unit = np.float32(visit.gain / white)
    scaled = np.rint(np.clip(np.hypot(real, imaginary) * unit, 0, 32767)).astype(np.float32)
    return Scan(acquired=Volume(scaled, grid), clean=Volume(np.asarray(image * unit, dtype=np.float32), grid))
