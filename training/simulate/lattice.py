"""The transport lattice of a head: cells, faces, and which of them fluid may pass.

A cell is a block of 2x2x2 label voxels with its CSF and brain fractions. The ventricles are joined to the
other fluid only at the outlet of the fourth ventricle: everywhere else their walls are closed to fluid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from service.imaging.volume import Float32, Float64, Grid, Mask
from training.simulate.tissues import BRAIN, FLUID, VENTRICLES, Head, Tissue

TISSUE_FLUID = 0.22
"""Fluid in brain: extracellular 0.20 and perivascular 0.02 of its volume."""

_CELL_FACTOR = 2  # label voxels per transport cell along each axis
_LOWEST_MM = -98.0  # just below the foramen magnum, where the tracer comes in
_BASE_BELOW_MM = -28.0  # head frame: pons, cisterna magna and the canal lie below


class TransportError(RuntimeError):
    """The fluid spaces are not connected, or a linear solver did not converge."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The lattice of a head: CSF and brain fractions and which cells are ventricle.

    ``index`` is -1 outside, else the unknown's number; faces are pairs ``(a, b)`` of unknowns.
    ``open_faces`` is 1 where fluid may pass and 0 across the ventricles' walls.
    """

    grid: Grid
    index: NDArray[np.int64]
    csf: Float64
    brain: Float64
    ventricle: Mask
    lateral: Mask
    foramen: Mask
    convexity: Mask
    basal: Mask
    faces: NDArray[np.int64]
    open_faces: Float64

    @property
    def fluid(self) -> Float64:
        """Capacity phi per unknown."""
        return self.csf + TISSUE_FLUID * self.brain

    @property
    def volume(self) -> float:
        """mm3 per cell."""
        return float(np.prod(self.grid.spacing))


def lattice(head: Head) -> Cells:
    """Cells of `head`, kept to the one component that joins foramen magnum and lateral ventricles.

    Raises
    ------
    TransportError
        They are not joined.
    """
    csf = _coarsen(np.isin(head.labels, FLUID))
    brain = _coarsen(np.isin(head.labels, BRAIN))
    lateral = _coarsen(head.labels == Tissue.LATERAL_VENTRICLE)
    inner = _coarsen(np.isin(head.labels, VENTRICLES))
    h = head.grid.spacing[0] * _CELL_FACTOR
    z = head.grid.origin[2] + (h - head.grid.spacing[0]) / 2 + h * np.arange(csf.shape[0])
    inside = (csf + brain > 0.25) & (z > _LOWEST_MM)[:, None, None]
    csf, brain = np.where(inside, csf, 0), np.where(inside, brain, 0)
    ventricle = inner > 0.12  # a thin tube beside a cistern is still a tube
    nk, nj, ni = csf.shape
    corner = head.grid.origin + (h - head.grid.spacing[0]) / 2
    affine = np.diag([h, h, h, 1.0])
    affine[:3, 3] = corner
    grid = Grid((nk, nj, ni), affine)
    reached = _connected(csf, ventricle)
    csf = np.where(reached, csf, 0)
    occupied = (csf > 0) | (brain > 0)
    index = np.full(occupied.shape, -1, dtype=np.int64)
    index[occupied] = np.arange(occupied.sum())
    faces = _faces(index)
    of_cell = ventricle[occupied]
    outlet = _outlet(head, occupied)
    crossing = of_cell[faces[:, 0]] != of_cell[faces[:, 1]]
    permitted = ~crossing | (outlet[faces[:, 0]] & outlet[faces[:, 1]])
    lateral_cells = (lateral > 0.5) & reached
    if not lateral_cells.any():
        raise TransportError("no lateral ventricle is joined to the foramen magnum")
    x = grid.origin[0] + h * np.arange(ni)
    joined = _components(len(of_cell), faces[permitted & (csf[occupied] > 0)[faces].all(axis=1)])
    at_foramen = joined[_lowest(csf, ventricle)[occupied]]
    if not np.isin(joined[lateral_cells[occupied]], at_foramen).mean() > 0.8:
        raise TransportError("the aqueduct or an outlet of the ventricles is closed")
    high = (z[:, None, None] > 38) & (np.abs(x)[None, None, :] < 45) & (csf > 0.3) & ~ventricle
    return Cells(
        grid=grid,
        index=index,
        csf=csf[occupied].astype(np.float64),
        brain=brain[occupied].astype(np.float64),
        ventricle=of_cell,
        lateral=lateral_cells[occupied],
        foramen=_lowest(csf, ventricle)[occupied],
        convexity=high[occupied],
        basal=np.broadcast_to(z[:, None, None] < _BASE_BELOW_MM, occupied.shape)[occupied],
        faces=faces,
        open_faces=permitted.astype(np.float64),
    )


def to_volume(cells: Cells, values: Float32, where: Mask, target: Grid) -> Float32:
    """`values` of the unknowns in `where`, filled outwards and interpolated onto the label lattice `target`."""
    lattice_values = np.zeros(cells.index.shape, dtype=np.float32)
    known = np.zeros(cells.index.shape, dtype=bool)
    known[cells.index >= 0] = where
    lattice_values[cells.index >= 0] = values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = lattice_values[tuple(nearest)]
    factor = cells.grid.spacing[0] / target.spacing[0]
    offset = (1 - factor) / 2 / factor
    return np.asarray(
        ndimage.affine_transform(
            filled, np.full(3, 1 / factor), offset=offset, output_shape=target.shape, order=1, mode="nearest"
        ),
        dtype=np.float32,
    )


def _coarsen(mask: Mask) -> Float32:
    f = _CELL_FACTOR
    k, j, i = (n // f for n in mask.shape)
    blocks = mask[: k * f, : j * f, : i * f].reshape(k, f, j, f, i, f)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), dtype=np.float32)


def _connected(csf: Float32, ventricle: Mask) -> Mask:
    """Cells whose fluid is joined, face to face, to the lowest CSF."""
    labels, _ = ndimage.label(csf > 0.1)
    start = np.argwhere(_lowest(csf, ventricle))
    sizes = np.bincount(labels[tuple(start.T)])
    return np.asarray(labels == int(sizes[1:].argmax()) + 1)


def _components(n: int, faces: NDArray[np.int64]) -> NDArray[np.int64]:
    graph = sparse.coo_matrix((np.ones(len(faces)), tuple(faces.T)), shape=(n, n))
    return np.asarray(sparse.csgraph.connected_components(graph, directed=False)[1], dtype=np.int64)


def _lowest(csf: Float32, ventricle: Mask) -> Mask:
    """The CSF cells just above and below the foramen magnum: the lowest three layers of the canal kept."""
    found = np.zeros(csf.shape, dtype=bool)
    filled = np.flatnonzero((csf > 0.3).any(axis=(1, 2)))
    found[filled[0] : filled[0] + 3] = (csf > 0.3)[filled[0] : filled[0] + 3]
    return found & ~ventricle


def _faces(index: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = []
    for axis in range(3):
        first = np.moveaxis(index, axis, 0)[:-1].ravel()
        second = np.moveaxis(index, axis, 0)[1:].ravel()
        both = (first >= 0) & (second >= 0)
        pairs.append(np.stack([first[both], second[both]], axis=1))
    return np.concatenate(pairs)


def _outlet(head: Head, occupied: Mask) -> Mask:
    """Unknowns near the lower end of the fourth ventricle, where it opens into the cisterna magna."""
    lower = np.argwhere(head.labels == Tissue.LOWER_VENTRICLES)
    if not len(lower):
        raise TransportError("the head has no lower ventricles")
    end = lower[lower[:, 0] <= lower[:, 0].min() + 3].mean(axis=0) / _CELL_FACTOR
    cells = np.argwhere(occupied)
    return np.asarray(np.linalg.norm(cells - end, axis=1) < 3.0)
