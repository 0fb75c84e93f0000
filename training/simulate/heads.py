"""Procedural heads: ellipsoids, capsules and random fields, made into a label map.

Everything is drawn in a frame with the origin at the brain's centre (LPS mm: x left, y posterior,
z superior) and bent by one smooth random warp, so that no two heads share a surface. Ventricles,
foramina, aqueduct and outlets are capsules that overlap: they are connected by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from service.imaging.volume import Float32, Float64, Grid, Mask
from training.simulate.ground_truth import describe
from training.simulate.shapes import capsule, ellipsoid, smooth_noise
from training.simulate.tissues import Head, Labels, Tissue

HEAD_SPACING_MM = 1.5
_SIZE_MM = (246.0, 246.0, 198.0)  # k, j, i
_CENTRE_LPS = (0.0, -4.0, -28.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """What varies between heads; lengths in mm.

    Attributes
    ----------
    ventricle_radius
        Of the lateral ventricles' bodies: 3.5 young .. 13 iNPH.
    sulcus_width, sas_thickness
        Grow with atrophy; in iNPH the convexity is tight (`high_convexity_tight`).
    """

    scale: tuple[float, float, float]
    ventricle_radius: float
    ventricle_asymmetry: float
    sulcus_width: float
    sas_thickness: float
    high_convexity_tight: bool
    cistern_scale: float
    skull_thickness: float
    fat_thickness: float
    globe_radius: float
    globe_separation: float
    warp_mm: float


def draw_shape(rng: np.random.Generator) -> HeadShape:
    """A random adult head; a third have large ventricles, half of those the tight convexity of iNPH."""
    large = rng.random() < 0.35
    atrophy = rng.random()
    return HeadShape(
        scale=tuple(float(v) for v in rng.normal(1.0, 0.03, 3).clip(0.93, 1.07)),  # type: ignore[arg-type] # three draws
        ventricle_radius=float(rng.uniform(8.0, 12.5) if large else rng.uniform(3.8, 7.5)),
        ventricle_asymmetry=float(rng.normal(0, 0.08)),
        sulcus_width=float(0.9 + 1.2 * atrophy + rng.uniform(0, 0.4)),
        sas_thickness=float(2.0 + 2.0 * atrophy + rng.uniform(0, 0.8)),
        high_convexity_tight=bool(large and rng.random() < 0.5),
        cistern_scale=float(rng.uniform(0.85, 1.25)),
        skull_thickness=float(rng.uniform(5.0, 8.5)),
        fat_thickness=float(rng.uniform(2.5, 6.5)),
        globe_radius=float(rng.uniform(11.3, 12.7)),
        globe_separation=float(rng.uniform(58, 68)),
        warp_mm=float(rng.uniform(1.5, 4.0)),
    )


def make_head(shape: HeadShape, rng: np.random.Generator, spacing_mm: float = HEAD_SPACING_MM) -> Head:
    """The label map of one head, `spacing_mm` isotropic, and its ground-truth anatomy."""
    nk, nj, ni = (2 * round(s / spacing_mm / 2) for s in _SIZE_MM)
    grid = Grid.axis_aligned((nk, nj, ni), spacing_mm, _CENTRE_LPS)
    x, y, z = _warped_coordinates(grid, shape, rng)
    labels = np.zeros(grid.shape, dtype=np.uint8)

    cerebrum, cerebellum, stem = _hulls(x, y, z)
    cisterns, tubes_lv, tubes_low = _fluid_shapes(x, y, z, shape)
    orbits = _OrbitShapes.make(x, y, z, shape, spacing_mm)
    core = (cerebrum | cerebellum | stem | cisterns) & ~orbits.wall
    outside = (ndimage.distance_transform_edt(~core) * spacing_mm).astype(np.float32)
    lumpy = smooth_noise(grid.shape, 18.0 / spacing_mm, rng)
    sas = shape.sas_thickness * (1 + 0.25 * lumpy)
    if shape.high_convexity_tight:
        sas = sas * np.where(z > 25, 0.55, 1.25)
    inside_skull = (outside < np.maximum(sas, 1.2 * spacing_mm)) & ~orbits.wall & (z > -150)
    skull = (outside < sas + shape.skull_thickness * (1 + 0.2 * lumpy)) & ~inside_skull

    head = _outline(x, y, z, outside - sas - shape.skull_thickness, shape)
    head = (head | orbits.cone) & ~orbits.before_eye
    head = ndimage.binary_fill_holes(head)
    _soft_tissue(labels, head, x, y, z, shape=shape, spacing=spacing_mm, rng=rng)
    labels[skull & head] = Tissue.BONE
    mid_skull = (outside > sas + 0.3 * shape.skull_thickness) & (outside < sas + 0.7 * shape.skull_thickness)
    labels[skull & head & mid_skull & (smooth_noise(grid.shape, 6.0 / spacing_mm, rng) > -0.8)] = Tissue.MARROW
    labels[orbits.wall & head & ~orbits.cone & (outside < 25)] = Tissue.BONE
    orbits.paint(labels)

    tissue = (
        _cerebral_tissue((cerebrum, cerebellum, stem), x, y, z, shape=shape, spacing=spacing_mm, rng=rng)
        & inside_skull
        & ~orbits.wall
    )
    tissue &= ~cisterns | stem
    labels[inside_skull] = Tissue.CSF
    _paint_brain(labels, tissue, x, y, z, spacing=spacing_mm)
    labels[tubes_low & inside_skull] = Tissue.LOWER_VENTRICLES
    labels[tubes_lv & inside_skull] = Tissue.LATERAL_VENTRICLE
    return Head(labels=labels, grid=grid, anatomy=describe(labels, grid, x, orbits.axes))


def _warped_coordinates(grid: Grid, shape: HeadShape, rng: np.random.Generator) -> tuple[Float32, Float32, Float32]:
    nk, nj, ni = grid.shape
    spacing = grid.spacing[0]
    axes = [grid.origin[a] + spacing * np.arange(n) for a, n in enumerate((ni, nj, nk))]
    x, y, z = (np.broadcast_to(v, grid.shape).astype(np.float32) for v in _broadcast(axes))
    nominal_x = np.abs(x)
    warps = [smooth_noise(grid.shape, 30.0 / spacing, rng) * np.float32(shape.warp_mm) for _ in range(3)]
    warps[0] *= np.clip(nominal_x / 40.0, 0.15, 1.0)  # the midline stays nearly plane
    return (
        np.asarray((x + warps[0]) / np.float32(shape.scale[0]), dtype=np.float32),
        np.asarray((y + warps[1]) / np.float32(shape.scale[1]), dtype=np.float32),
        np.asarray((z + warps[2]) / np.float32(shape.scale[2]), dtype=np.float32),
    )


def _broadcast(axes: list[Float64]) -> list[NDArray[np.float64]]:
    x, y, z = axes
    return [x[None, None, :], y[None, :, None], z[:, None, None]]


def _tentorium(x: Float32, y: Float32) -> Float32:
    return np.asarray(-20.0 - 0.12 * (y - 20.0) - 0.004 * x**2, dtype=np.float32)


def _hulls(x: Float32, y: Float32, z: Float32) -> tuple[Mask, Mask, Mask]:
    up = np.where(z > 0, 65.0, 44.0)
    # the frontal pole is narrower than the parietal bulge
    wide = 67.0 - np.clip(-y - 20.0, 0, 70) * 0.10
    cerebrum = (x / wide) ** 2 + (y / 84.0) ** 2 + (z / up) ** 2 < 1
    above = (z > _tentorium(x, y) + 1.5) | (y < 8)
    middle_base = (np.abs(x) < 16) & (z < -14) & (y > -40) & (y < 12)  # between the temporal lobes
    cerebrum &= above & ~middle_base
    cerebellum = ellipsoid(x, y, z, (0, 52, -50), (51, 31, 28)) & (z < _tentorium(x, y) - 1.5)
    stem = capsule(
        x, y, z, ((0, 8, -12), (0, 15, -36), (0, 18, -50), (0, 30, -82), (0, 38, -160)), (15.0, 14.0, 16.5, 8.0, 6.0)
    )
    return np.asarray(cerebrum), np.asarray(cerebellum), stem


def _fluid_shapes(x: Float32, y: Float32, z: Float32, shape: HeadShape) -> tuple[Mask, Mask, Mask]:
    """Cisterns, lateral ventricles, and V3 + aqueduct + V4 + outlet."""
    s = shape.cistern_scale
    cisterns = (
        ellipsoid(x, y, z, (0, -16, -26), (15 * s, 12 * s, 9 * s))
        | ellipsoid(x, y, z, (0, -2, -44), (11 * s, 5 * s, 16 * s))
        | ellipsoid(x, y, z, (0, 62, -80), (18 * s, 14 * s, 8 * s))
        | ellipsoid(x, y, z, (0, 27, -19), (12 * s, 5 * s, 6 * s))
        # the way of the tracer: canal, in front of pons and medulla, suprasellar, between the frontal lobes
        | capsule(x, y, z, ((0, 38, -160), (0, 30, -82)), (10.5, 13.0))
        | capsule(
            x,
            y,
            z,
            ((0, 18, -84), (0, -1, -58), (0, -4, -46), (0, -14, -26), (0, -34, -10), (0, -60, 0)),
            (4, 4, 4, 4, 3, 3),
        )
        | capsule(x, y, z, ((0, 34, -84), (0, 58, -80)), (5, 5))
    )
    for side in (1.0, -1.0):  # suprasellar to the Sylvian fissures, and around the midbrain
        cisterns |= capsule(x, y, z, ((0, -16, -24), (side * 20, -16, -20), (side * 40, -14, -8)), (3, 3, 3))
        cisterns |= capsule(x, y, z, ((side * 8, -8, -26), (side * 18, 12, -20), (0, 27, -18)), (2.4, 2.4, 3))
    ventricles = np.zeros(x.shape, dtype=bool)
    for side in (1.0, -1.0):
        r = shape.ventricle_radius * (1 + side * shape.ventricle_asymmetry)
        c = 1.0 + 0.9 * r
        ventricles |= capsule(
            x,
            y,
            z,
            ((side * (c + 3), -36, 4), (side * c, -16, 14), (side * (c + 4), 14, 17), (side * (22 + 0.6 * r), 34, 8)),
            (0.75 * r, r, 0.95 * r, 1.1 * r),
        )
        ventricles |= capsule(
            x,
            y,
            z,
            ((side * (22 + 0.6 * r), 34, 8), (side * (30 + 0.3 * r), 14, -14), (side * 31, -10, -22)),
            (r, 0.5 * r + 0.6, 0.4 * r + 0.8),
        )
        ventricles |= capsule(x, y, z, ((side * (22 + 0.6 * r), 34, 8), (side * 17, 56, 3)), (0.9 * r, 0.35 * r))
        # foramen of Monro
        ventricles |= capsule(x, y, z, ((side * c, -14, 10), (0, -12, 0)), (2.6, 2.4))
    half_v3 = 1.2 + 0.28 * shape.ventricle_radius
    low = ellipsoid(x, y, z, (0, 0, -7), (half_v3, 15, 10))
    low |= capsule(x, y, z, ((0, 10, -10), (0, 20, -16), (0, 29, -36), (0, 34, -44)), (2.3, 2.1, 2.1, 2.6))
    low |= ellipsoid(x, y, z, (0, 36, -50), (7 + 0.3 * shape.ventricle_radius, 5.5, 10))
    low |= capsule(x, y, z, ((0, 37, -54), (0, 47, -74), (0, 54, -78)), (3.0, 2.6, 2.6))
    return cisterns & ~ventricles & ~low, ventricles, low & ~ventricles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _OrbitShapes:
    cone: Mask
    wall: Mask
    globe: Mask
    muscle: Mask
    nerve: Mask
    before_eye: Mask
    axes: tuple[tuple[Float64, Float64], tuple[Float64, Float64]]

    @staticmethod
    def make(x: Float32, y: Float32, z: Float32, shape: HeadShape, spacing: float) -> _OrbitShapes:
        parts = {name: np.zeros(x.shape, dtype=bool) for name in ("cone", "wall", "globe", "muscle", "nerve", "before")}
        axes = []
        for side in (1.0, -1.0):
            globe = np.array([side * shape.globe_separation / 2, -77.0, -45.0])
            axis = np.array([-side * np.sin(np.deg2rad(21)), np.cos(np.deg2rad(21)), 0.16])
            axis /= np.linalg.norm(axis)
            apex = globe + 44 * axis
            r = shape.globe_radius
            front = globe - 3 * axis
            chain = (tuple(front), tuple(globe + 8 * axis), tuple(apex))
            parts["cone"] |= capsule(x, y, z, chain, (r + 5, r + 5, 4.0))
            parts["wall"] |= capsule(x, y, z, chain, (r + 8, r + 8, 6.5))
            parts["globe"] |= capsule(x, y, z, (tuple(globe), tuple(globe)), (r, r))
            parts["nerve"] |= capsule(x, y, z, (tuple(globe + (r - 1) * axis), tuple(apex)), (2.2, 2.0))
            across = np.cross(axis, [0, 0, 1.0])
            for direction in (across, -across, np.cross(axis, across), -np.cross(axis, across)):
                parts["muscle"] |= capsule(
                    x,
                    y,
                    z,
                    (tuple(globe + (r + 0.5) * direction), tuple(globe + 16 * axis + 11.5 * direction), tuple(apex)),
                    (1.4, 2.4, 1.6),
                )
            aside = np.hypot(x - globe[0], z - globe[2])
            parts["before"] |= (aside < 16) & (y < globe[1] - r - 1.5 + 0.03 * aside**2)
            axes.append((globe, axis))
        return _OrbitShapes(
            cone=parts["cone"] & ~parts["before"],
            wall=parts["wall"],
            globe=parts["globe"],
            muscle=parts["muscle"],
            nerve=parts["nerve"],
            before_eye=parts["before"],
            axes=(axes[0], axes[1]),
        )

    def paint(self, labels: Labels) -> None:
        labels[self.cone & ~self.before_eye] = Tissue.ORBITAL_FAT
        labels[self.muscle & self.cone] = Tissue.MUSCLE
        labels[self.nerve & self.cone] = Tissue.NERVE
        labels[self.globe] = Tissue.VITREOUS


def _outline(x: Float32, y: Float32, z: Float32, beyond_skull: Float32, shape: HeadShape) -> Mask:
    """The skin's inside: calvaria plus scalp, face, nose, jaw and neck."""
    scalp = shape.fat_thickness + 2.2
    calvaria = (beyond_skull < scalp) & (z > -95)
    face = ellipsoid(x, y, z, (0, -50, -66), (63, 52, 74)) & (z < -18)
    jaw = ellipsoid(x, y, z, (0, -52, -112), (52, 50, 34))
    nose = capsule(x, y, z, ((0, -99, -48), (0, -112, -72)), (7.0, 9.0))
    neck = ((x / 60) ** 2 + ((y - 14) / 62) ** 2 < 1) & (z < -60)
    return np.asarray(calvaria | face | jaw | nose | neck)


def _soft_tissue(
    labels: Labels,
    head: Mask,
    x: Float32,
    y: Float32,
    z: Float32,
    *,
    shape: HeadShape,
    spacing: float,
    rng: np.random.Generator,
) -> None:
    depth = (ndimage.distance_transform_edt(head) * spacing).astype(np.float32)
    below = np.clip((-z - 45) / 60, 0, 1)
    noise = smooth_noise(head.shape, 5.0 / spacing, rng)
    fat_limit = 2.0 + shape.fat_thickness * (1 + 0.9 * below) * (1 + 0.25 * noise)
    labels[head] = Tissue.MUSCLE
    labels[head & (noise > 0.7) & (z < -35)] = Tissue.FAT
    labels[head & (depth < fat_limit)] = Tissue.FAT
    labels[head & (depth < 2.0)] = Tissue.SKIN
    spine = ellipsoid(x, y, np.zeros_like(z), (0, 18, 0), (17, 14, 1)) & (z < -92)
    labels[spine & head] = Tissue.MARROW
    maxilla = ellipsoid(x, y, z, (0, -72, -92), (30, 24, 14))
    labels[maxilla & head] = Tissue.MARROW
    air = capsule(x, y, z, ((0, -98, -72), (0, -50, -72), (0, -28, -84), (0, -18, -160)), (6.0, 9.0, 8.0, 7.5))
    for side in (1.0, -1.0):
        # the maxillary sinus has a bony wall and chewing muscles behind it, no fat pad as an eye has
        labels[ellipsoid(x, y, z, (side * 30, -42, -78), (17, 24, 24)) & head & (depth > 8)] = Tissue.MUSCLE
        labels[ellipsoid(x, y, z, (side * 27, -64, -80), (15, 20, 20)) & head & (depth > 4)] = Tissue.BONE
        air |= ellipsoid(x, y, z, (side * 27, -64, -80), (12, 17, 17))
        air |= ellipsoid(x, y, z, (side * 8, -62, -50), (5, 16, 9))
        mastoid = ellipsoid(x, y, z, (side * 55, 22, -52), (10, 12, 14))
        labels[mastoid & head] = Tissue.BONE
    air |= ellipsoid(x, y, z, (0, -34, -50), (11, 11, 9))
    labels[air & head & (depth > 3)] = Tissue.AIR


def _cerebral_tissue(
    hulls: tuple[Mask, Mask, Mask],
    x: Float32,
    y: Float32,
    z: Float32,
    *,
    shape: HeadShape,
    spacing: float,
    rng: np.random.Generator,
) -> Mask:
    """Brain matter left after sulci, fissures and folia are cut out."""
    cerebrum, cerebellum, stem = hulls
    hull_depth = (ndimage.distance_transform_edt(cerebrum) * spacing).astype(np.float32)
    radius = np.sqrt((x / 67) ** 2 + (y / 84) ** 2 + (z / 60) ** 2) + 1e-3
    # folds run inwards: the pattern changes along the surface, hardly with depth
    squeeze = (0.75 / radius + 0.25).astype(np.float32)
    field = smooth_noise(x.shape, 3.9 / spacing, rng)
    origin = np.array([(n - 1) / 2 for n in x.shape])
    coordinates = [
        (v * squeeze / spacing + o).astype(np.float32) for v, o in zip((z + 28, y + 4, x), origin, strict=True)
    ]
    folds = ndimage.map_coordinates(field, coordinates, order=1, mode="mirror")
    slope = np.sqrt(sum(g**2 for g in np.gradient(folds, spacing))) + 0.02
    narrow = np.where(z > 30, 0.5, 1.0) if shape.high_convexity_tight else 1.0
    taper = np.clip(1.25 - hull_depth / 22.0, 0.4, 1.25)
    sulci = np.abs(folds) / slope < 0.5 * np.maximum(shape.sulcus_width * taper * narrow, 0.9 * spacing)
    sulci &= hull_depth < 15 + 4 * smooth_noise(x.shape, 15 / spacing, rng)
    callosum = ellipsoid(x, y, z, (0, 2, 4), (40, 44, 24 + shape.ventricle_radius))
    fissure = (np.abs(x) < 0.5 * spacing + 0.25 * shape.sulcus_width) & ~callosum & (z > -30)
    # the Sylvian fissure opens outwards from the insula; the fold pattern makes its course wavy
    lateral = np.clip((np.abs(x) - 31) / 32, 0, 1) * np.clip(1.15 - ((y + 2) / 36) ** 2, 0, 1)
    sylvian_level = -6 + 0.35 * (y + 5) + 2.0 * folds
    sylvian = (np.abs(z - sylvian_level) < (0.8 + 1.5 * shape.sulcus_width) * np.sqrt(lateral)) & (lateral > 0.02)
    bulge = np.abs(x) + 0.012 * (y + 5) ** 2 + 0.03 * (z - 2) ** 2 + 1.5 * folds
    insula = (np.abs(bulge - 38) < 1.1) & ellipsoid(np.abs(x), y, z, (35, -5, 2), (9, 24, 14))
    folia = (np.abs(np.sin((z + 0.4 * np.abs(y - 40)) * (2 * np.pi / 9.0))) < 0.14) & (
        ((x / 45) ** 2 + ((y - 50) / 25) ** 2 + ((z + 50) / 22) ** 2) > 0.75
    )
    tissue = (cerebrum & ~sulci & ~fissure & ~sylvian & ~insula) | (cerebellum & ~folia) | stem
    return np.asarray(tissue)


def _paint_brain(labels: Labels, tissue: Mask, x: Float32, y: Float32, z: Float32, *, spacing: float) -> None:
    depth = (ndimage.distance_transform_edt(tissue) * spacing).astype(np.float32)
    labels[tissue] = Tissue.WHITE
    stem = capsule(x, y, z, ((0, 8, -12), (0, 15, -36), (0, 18, -50), (0, 30, -82), (0, 38, -160)), (15, 14, 16, 8, 6))
    labels[tissue & (depth < 2.7) & ~stem] = Tissue.GREY
    for side in (1.0, -1.0):
        for centre, radii in (
            ((side * 11, 6, 2), (8, 14, 8)),
            ((side * 25, -8, -1), (6, 16, 9)),
            ((side * 14, -20, 8), (4, 12, 7)),
            ((side * 26, -6, -24), (8, 9, 7)),
        ):
            deep = ellipsoid(x, y, z, centre, radii)
            labels[tissue & deep] = Tissue.DEEP_GREY
