"""A procedural head: known anatomy, known tracer, known pose. LPS mm; head frame origin = brain centre.

The anatomy is drawn from ellipsoids in the head's own frame (x -> left, y -> back, z -> up) and can be
rendered on any grid through any rigid pose, so that truth is exact whatever the sampling.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume

GLOBES = {"left": np.array([32.0, -76.0, -26.0]), "right": np.array([-32.0, -76.0, -26.0])}
SIGNAL = {  # in units of orbital fat, spoiled gradient echo at 3 T
    "air": 0.0, "fat": 1.0, "skull": 0.06, "csf": 0.20, "grey": 0.43, "white": 0.53, "muscle": 0.45, "vitreous": 0.20,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Head:
    """What to draw.

    Attributes
    ----------
    tracer
        Added signal in fat units: ``basal`` in fluid below z = -10 mm, ``sas`` in all outer fluid,
        ``ventricles`` in the lateral ventricles, ``third`` in the third.
    """

    scale: float = 1.0
    ventricle_scale: float = 1.0
    tracer: dict[str, float] = field(default_factory=dict)
    gain: float = 1000.0
    noise: float = 0.0
    bias: float = 0.0
    defaced: bool = False
    seed: int = 0


def default_grid(spacing: float = 1.5, centre=(0.0, 0.0, -20.0)) -> Grid:
    """Covers the head from vertex to upper neck: 180 x 225 x 240 mm."""
    nk, nj, ni = (round(extent / spacing) for extent in (240, 225, 180))
    return Grid.axis_aligned((nk, nj, ni), spacing, centre)


def head_volume(head: Head | None = None, grid: Grid | None = None, pose: RigidTransform | None = None) -> Volume:
    """The head on `grid`. `pose` maps head-frame points to patient (LPS) points; identity when None."""
    head, grid = head or Head(), grid or default_grid()
    nk, nj, ni = grid.shape
    k, j, i = np.unravel_index(np.arange(nk * nj * ni), grid.shape)
    points = grid.to_world(np.stack([i, j, k], axis=1))
    if pose is not None:
        points = pose.inverse().map(points)
    columns = np.ascontiguousarray(points.T, dtype=np.float32) / np.float32(head.scale)
    signal = _signal(columns, head).reshape(grid.shape)
    rng = np.random.default_rng(head.seed)
    kk, jj, ii = (np.linspace(-1, 1, n) for n in grid.shape)
    shading = 1 + head.bias * (0.6 * kk[:, None, None] - 0.8 * jj[None, :, None] ** 2 + 0.5 * ii[None, None])
    signal = signal * shading
    if head.noise:
        real, imaginary = rng.normal(0, head.noise, (2, *grid.shape))
        signal = np.hypot(signal + real, imaginary)
    return Volume((signal * head.gain).astype(np.float32), grid)


def _signal(p: np.ndarray, head: Head) -> np.ndarray:
    out = np.zeros(p.shape[1], dtype=np.float32)
    x, y, z = p
    tracer = head.tracer

    skin = _inside(p, (0, 0, 2), (76, 98, 88)) | _inside(p, (0, -38, -48), (60, 62, 62))
    neck = (np.hypot(x / 58, (y - 22) / 62) < 1) & (z < -30)
    out[skin | neck] = SIGNAL["fat"]
    flesh = _inside(p, (0, -36, -50), (54, 56, 58)) | ((np.hypot(x / 52, (y - 22) / 55) < 1) & (z < -40))
    out[flesh] = SIGNAL["muscle"]
    out[_inside(p, (0, 0, 2), (71, 93, 83))] = SIGNAL["skull"]
    inner = _inside(p, (0, 0, 2), (66, 88, 78)) & ~((z < -38) & (y < -5)) & (z > -62)
    canal = (np.hypot(x, y - 30) < 13) & (z <= -45)
    ring = (np.hypot(x, y - 30) < 18) & (z <= -55)
    out[ring] = SIGNAL["skull"]
    out[inner | canal] = SIGNAL["csf"]

    # brain surface folded by a smooth pattern, so that registration has something to hold on to
    folds = 2.0 * (np.sin(x / 6.0 + 0.7) * np.sin(y / 7.0) + np.sin(z / 6.5 + x / 15.0) * np.cos(y / 9.0))
    furrows = np.abs(np.sin(y / 8.0 + 0.4 * np.sin(z / 9.0)) * np.cos(x / 30.0)) < 0.12
    folds = folds + np.where(furrows, 14.0, 0.0)
    radius = _radius(p, (0, 0, 2), (62, 84, 74)) * 73.0 + folds
    cerebrum = (radius < 72) & (z > -24 + 0.1 * np.abs(x)) & (np.abs(x) > 1.2)
    cerebrum |= _inside(p, (42, -12, -26), (21, 38, 16)) | _inside(p, (-42, -12, -26), (21, 38, 16))
    cerebellum = _inside(p, (0, 42, -44), (44, 34, 18))
    stem = (np.hypot(x, (y - 20) - 0.15 * (z + 40)) < 9.5) & (z < -10) & (z > -75)
    cord = (np.hypot(x, y - 30) < 6) & (z <= -70)
    brain = (cerebrum & inner) | (cerebellum & inner) | stem | cord
    out[brain] = SIGNAL["grey"]
    out[(cerebrum & inner & (radius < 64)) | _inside(p, (0, 42, -44), (34, 25, 11)) | stem | cord] = SIGNAL["white"]
    out[_inside(p, (0, 5, -2), (26, 22, 14)) & (np.abs(x) > 4)] = SIGNAL["grey"]

    cistern = (
        _inside(p, (0, 0, -24), (16, 16, 10))
        | _inside(p, (0, 4, -42), (14, 9, 16))
        | _inside(p, (0, 70, -56), (14, 8, 8))
    )
    out[cistern & inner & ~stem] = SIGNAL["csf"]
    grown = head.ventricle_scale
    lateral = np.zeros(p.shape[1], dtype=bool)
    for side in (1, -1):
        lateral |= _inside(p, (side * 9 * grown, -8, 18), (6 * grown, 28, 7 * grown))
        lateral |= _inside(p, (side * 19 * grown, 20, 13), (9 * grown, 16, 9 * grown))
    third = (np.abs(x) < 2.0) & _inside(p, (0, 6, 4), (3, 14, 12))
    out[lateral | third] = SIGNAL["csf"]

    fluid = ((inner | canal) & ~brain & ~third) | (cistern & inner & ~stem)
    out[fluid & (z < -10)] += tracer.get("basal", 0.0)
    out[fluid] += tracer.get("sas", 0.0)
    out[lateral] += tracer.get("ventricles", 0.0)
    out[third] += tracer.get("third", 0.0)
    if not head.defaced:
        _draw_orbits(out, p)
    else:
        out[y < -70] = 0.0
    return out


def _draw_orbits(out: np.ndarray, p: np.ndarray) -> None:
    for side, centre in ((1, GLOBES["left"]), (-1, GLOBES["right"])):
        near = np.flatnonzero((p[1] < -20) & (np.abs(p[2] - centre[2]) < 20) & (side * p[0] > 0))
        axis = np.array([-side * np.sin(np.deg2rad(20)), np.cos(np.deg2rad(20)), 0.0])
        relative = p[:, near].T - centre.astype(np.float32)
        along = relative @ axis
        aside = np.linalg.norm(relative - along[:, None] * axis, axis=1)
        cone = (along > -6) & (along < 40)
        inner = np.interp(along, (-6, 8, 40), (15, 15, 4))
        out[near[cone & (aside < inner + 2)]] = SIGNAL["skull"]
        out[near[cone & (aside <= inner)]] = SIGNAL["fat"]
        out[near[cone & (along > 10) & (aside < 2.5)]] = SIGNAL["white"]
        out[near[np.linalg.norm(relative, axis=1) < 12.0]] = SIGNAL["vitreous"]


def _radius(p: np.ndarray, centre, axes) -> np.ndarray:
    return np.sqrt(sum(((p[a] - np.float32(centre[a])) / np.float32(axes[a])) ** 2 for a in range(3)))


def _inside(p: np.ndarray, centre, axes) -> np.ndarray:
    return _radius(p, centre, axes) < 1
