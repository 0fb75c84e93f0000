"""Frozen records that flow between the imaging stages and, as JSON, live in a model's manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Float32, Float64, Grid, Mask, Volume

NormalisationMode = Literal["fat_global", "slice_minmax"]
InputKind = Literal["volume", "slice_pair"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """An oriented plane: `origin` LPS mm on it, unit `normal` (sagittal: -> L; axial: -> S)."""

    origin: Float64
    normal: Float64

    def moved(self, transform: RigidTransform) -> Plane:
        """Where `transform` maps it."""
        return Plane(
            origin=transform.map(self.origin[None])[0], normal=np.asarray(transform.matrix[:3, :3] @ self.normal)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Orbit:
    """One eye socket, in the frame of the volume it was found in.

    Attributes
    ----------
    globe_centre
        LPS mm.
    fat_points
        ``(N, 3)`` LPS mm: voxel centres of the intraconal fat region (1 mm spacing, so N = mm3).
    """

    globe_centre: Float64
    fat_points: Float64

    def moved(self, transform: RigidTransform) -> Orbit:
        """Where `transform` maps it."""
        return Orbit(globe_centre=transform.map(self.globe_centre[None])[0], fat_points=transform.map(self.fat_points))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anatomy:
    """What the pipeline needs to know of a head, in the baseline frame.

    Masks are ``[k, j, i]`` bool on `grid` (about 2 mm, LPS-aligned). A region that could not be
    found is an empty mask or None; whoever needs it must refuse or answer 'not gradable'.
    `third_ventricle` and `suprasellar` are the fluid of the mid-sagittal reading: what reflux reaches first, and the
    cistern that it is read against.
    """

    grid: Grid
    head: Mask
    brain: Mask
    csf: Mask
    lateral_ventricles: Mask
    brain_centre: Float64
    midsagittal: Plane
    axial: Plane
    left_orbit: Orbit | None
    right_orbit: Orbit | None
    third_ventricle: Mask | None = None
    suprasellar: Mask | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrbitalFat:
    """Intraconal orbital-fat signal of one volume, in that volume's units."""

    mean: float
    median: float
    voxels: int
    left: float
    right: float
    coefficient_of_variation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReference:
    """What both series are divided by.

    Attributes
    ----------
    kind
        ``white_matter`` stands in for orbital fat that cannot be used, only where it is allowed, and is marked as such.
    baseline, delayed
        Signal of the intraconal fat, or what it would be by white matter's; each series in its own units; > 0.
    """

    kind: Literal["orbital_fat", "white_matter"]
    baseline: float
    delayed: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """Rigid alignment of the delayed (moving) to the baseline (fixed) volume, with its figures.

    Attributes
    ----------
    transform
        Maps baseline points to delayed points, LPS mm.
    similarity_before, similarity_after
        Normalised mutual information over the brain region at identity-of-centres and at the solution, which is
        never the lower one.
    inverse_consistency_mm, two_start_mm
        Largest displacement over the brain between the solution and the inverse of the swapped
        registration / a solution from another start.
    """

    transform: RigidTransform
    similarity_before: float
    similarity_after: float
    inverse_consistency_mm: float
    two_start_mm: float
    iterations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessingRecipe:
    """How a pair becomes a model input. Stored in the model's manifest.json and read only there.

    Attributes
    ----------
    kind
        ``volume``: tensor ``(1, C, D, H, W)`` on an LPS-aligned grid around the brain centre.
        ``slice_pair``: tensor ``(1, 2*T, H, W)``; per time point sagittal then axial plane.
    mode
        ``fat_global``: signal / median intraconal fat, clipped to `window`.
        ``slice_minmax``: each 2D slice to 0..1 (the founding paper's; reproduction only);
        targets are scaled with the delayed input slice's range.
    time_points
        Names of the inputs in channel order: ``("baseline", "delayed")``.
    shape
        ``(D, H, W)`` or ``(H, W)``.
    spacing_mm
        Isotropic voxel or pixel size of the model's grid.
    window
        Fat-ratio range the model sees.
    predicts
        ``increase``: output 0 is (24 h - baseline) in fat units. ``image``: output is the 24 h image.
    quantiles
        Meaning of the output channels of a ``volume`` model, e.g. ``(0.5, 0.05, 0.95)``; the first is
        the prediction.
    """

    kind: InputKind
    mode: NormalisationMode
    time_points: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: float
    window: tuple[float, float]
    predicts: Literal["increase", "image"]
    quantiles: tuple[float, ...] = (0.5,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedScan:
    """One time point, ready to be sampled on a model's grid.

    Attributes
    ----------
    volume
        In its own units.
    transform
        Baseline (fixed) -> this volume (moving), LPS mm.
    fat
        Its median intraconal fat signal, its own units; > 0.
    """

    volume: Volume
    transform: RigidTransform
    fat: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInput:
    """A tensor and all that `restore` needs to bring the answer home.

    Attributes
    ----------
    tensor
        float32, batch axis first (see PreprocessingRecipe.kind).
    grids
        Where the tensor lies, baseline frame: one grid (volume) or one per plane (sagittal, axial;
        single-slice grids).
    fat_baseline, fat_delayed
        What each series was divided by (source units per fat unit).
    scales
        ``slice_minmax`` only: (low, high) per plane of the delayed slice, in fat units.
    """

    tensor: Float32
    grids: tuple[Grid, ...]
    fat_baseline: float
    fat_delayed: float
    recipe: PreprocessingRecipe
    scales: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestoredPrediction:
    """The model's answer in the baseline's frame and units.

    Attributes
    ----------
    predicted, increase
        Same grids. ``volume`` models: one volume on the baseline's own grid (native resolution):
        predicted = baseline + increase. ``slice_pair``: two single-slice volumes (sagittal, axial).
        Source units of the baseline series.
    lower, upper
        Bounds of the increase when the model gives quantiles, else empty.
    """

    predicted: tuple[Volume, ...]
    increase: tuple[Volume, ...]
    lower: tuple[Volume, ...] = ()
    upper: tuple[Volume, ...] = ()
