"""Grid and Volume: an array and where its voxels lie in the patient (LPS mm)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
_LARGEST_SHEAR = 1e-4  # cosine between two voxel directions that is still rounding
_VANISHING = 1e-12  # mm; far below any meaning, and ITK's decomposition of a matrix with 1e-290 in it fails


def read_only(array: NDArray[np.generic]) -> None:
    """Make `array` refuse writes; arrays inside frozen records are shared between stages."""
    array.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular lattice of voxels in patient space.

    Attributes
    ----------
    shape
        ``(nk, nj, ni)``: slices, rows, columns - the shape of the array that lies on it.
    affine
        4x4 float64; maps ``(i, j, k, 1)`` (column, row, slice; the *centre* of the first voxel
        is ``(0, 0, 0)``) to LPS mm. Note the index order is the reverse of the array's.
    """

    shape: tuple[int, int, int]
    affine: Float64

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"affine must be a finite 4x4 matrix, got {affine!r}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"shape must be three positive integers, got {self.shape!r}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError("affine is singular: the three voxel directions are not independent")
        affine[np.abs(affine) < _VANISHING] = 0.0
        read_only(affine)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    def __repr__(self) -> str:
        spacing = ", ".join(f"{s:.3f}" for s in self.spacing)
        return f"Grid(shape={self.shape}, spacing_ijk=({spacing}))"

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along ``(i, j, k)``."""
        s = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(s[0]), float(s[1]), float(s[2])

    @property
    def directions(self) -> Float64:
        """3x3; column c is the LPS unit vector of index axis c of ``(i, j, k)``."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing))

    @property
    def is_sheared(self) -> bool:
        """Whether two voxel directions are not at right angles, which ITK images cannot express."""
        return bool(np.abs(self.directions.T @ self.directions - np.eye(3)).max() > _LARGEST_SHEAR)

    @property
    def origin(self) -> Float64:
        """LPS mm of the centre of the first voxel."""
        return np.asarray(self.affine[:3, 3])

    @property
    def centre(self) -> Float64:
        """LPS mm of the middle of the lattice."""
        nk, nj, ni = self.shape
        return np.asarray(self.to_world(np.array([[(ni - 1) / 2, (nj - 1) / 2, (nk - 1) / 2]]))[0])

    def to_world(self, indices_ijk: ArrayLike) -> Float64:
        """``(N, 3)`` continuous indices ``(i, j, k)`` -> ``(N, 3)`` LPS mm."""
        ijk = np.asarray(indices_ijk, dtype=np.float64)
        return np.asarray(ijk @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, points_lps: ArrayLike) -> Float64:
        """``(N, 3)`` LPS mm -> ``(N, 3)`` continuous indices ``(i, j, k)``."""
        p = np.asarray(points_lps, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], p.T).T)

    def part(self, low_ijk: ArrayLike, shape: tuple[int, int, int]) -> Grid:
        """The lattice of `shape` whose first voxel is this one's `low_ijk`."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(np.asarray(low_ijk)[None])[0]
        return Grid(shape, affine)

    def moved(self, matrix: Float64) -> Grid:
        """The same voxels where the 4x4 `matrix` maps their points to (LPS mm)."""
        return Grid(self.shape, matrix @ self.affine)

    def holds(self, points_lps: ArrayLike) -> Mask:
        """Which of ``(N, 3)`` LPS mm points lie within a voxel."""
        ijk = self.to_index(points_lps)
        return np.asarray(((ijk > -0.5) & (ijk < np.array(self.shape[::-1]) - 0.5)).all(axis=1))

    def lay_out(self, image: sitk.Image) -> sitk.Image:
        """`image` itself, its voxels laid where this lattice has them.

        Raises
        ------
        ValueError
            The voxel directions are not orthogonal, which ITK images cannot express.
        """
        if self.is_sheared:
            raise ValueError("sheared grid: ITK images need orthogonal voxel directions")
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin.tolist())
        image.SetDirection(self.directions.ravel().tolist())
        return image

    def same_as(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Same shape, and every corner within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        nk, nj, ni = self.shape
        corners = np.array([[i, j, k] for i in (0, ni - 1) for j in (0, nj - 1) for k in (0, nk - 1)])
        gap = np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=1)
        return bool(gap.max() <= tolerance_mm)

    @staticmethod
    def axis_aligned(shape: tuple[int, int, int], spacing_mm: float | Sequence[float], centre_lps: ArrayLike) -> Grid:
        """A grid along the LPS axes (i -> L, j -> P, k -> S) around `centre_lps`."""
        spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
        nk, nj, ni = shape
        affine = np.eye(4)
        affine[:3, :3] = np.diag(spacing)
        half = spacing * (np.array([ni, nj, nk]) - 1) / 2
        affine[:3, 3] = np.asarray(centre_lps, dtype=np.float64) - half
        return Grid(shape, affine)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A scalar image on a grid.

    Attributes
    ----------
    array
        float32, ``[k, j, i]``, read-only.
    grid
        Where the voxels lie (LPS mm).
    frame_of_reference_uid
        DICOM Frame of Reference UID (0020,0052) of that space; empty when unknown (NIfTI).
    """

    array: Float32
    grid: Grid
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, dtype=np.float32)
        if array.shape != self.grid.shape:
            raise ValueError(f"array shape {array.shape} does not fit grid shape {self.grid.shape}")
        if array is self.array or np.shares_memory(array, self.array):
            array = array.view()
        read_only(array)
        object.__setattr__(self, "array", array)

    def __repr__(self) -> str:
        return f"Volume({self.grid!r}, float32)"

    def with_array(self, array: Float32) -> Volume:
        """The same place, other values."""
        return Volume(array, self.grid, self.frame_of_reference_uid)

    def moved(self, matrix: Float64) -> Volume:
        """The same voxels where the 4x4 `matrix` maps their points to (LPS mm); no longer in a known DICOM frame."""
        return Volume(self.array, self.grid.moved(matrix))

    def part(self, low_ijk: ArrayLike, high_ijk: ArrayLike) -> Volume:
        """The box from voxel `low_ijk` up to, not including, `high_ijk` (column, row, slice); shares the array."""
        (i0, j0, k0), (i1, j1, k1) = np.asarray(low_ijk), np.asarray(high_ijk)
        array = self.array[k0:k1, j0:j1, i0:i1]
        shape = (array.shape[0], array.shape[1], array.shape[2])
        return Volume(array, self.grid.part(low_ijk, shape), self.frame_of_reference_uid)

    def along_patient_axes(self) -> Volume:
        """The same voxels in the same places, columns running most nearly to L, rows to P and slices to S."""
        directions = self.grid.directions
        order = max(permutations(range(3)), key=lambda axes: sum(abs(directions[a, c]) for a, c in enumerate(axes)))
        array = self.array.transpose([2 - axis for axis in reversed(order)])
        affine = self.grid.affine.copy()
        affine[:3, :3] = affine[:3, order]
        for axis in range(3):
            if affine[axis, axis] < 0:
                array = np.flip(array, 2 - axis)
                affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
                affine[:3, axis] *= -1
        shape = (array.shape[0], array.shape[1], array.shape[2])
        return Volume(array, Grid(shape, affine), self.frame_of_reference_uid)

    def to_sitk(self) -> sitk.Image:
        """A SimpleITK image (LPS, as ITK's own convention); copies the array.

        Raises
        ------
        ValueError
            The voxel directions are not orthogonal, which ITK images cannot express.
        """
        return self.grid.lay_out(sitk.GetImageFromArray(self.array))

    @staticmethod
    def from_sitk(image: sitk.Image, frame_of_reference_uid: str = "") -> Volume:
        """From a 3D SimpleITK image; the array is copied as float32."""
        affine = np.eye(4)
        directions = np.array(image.GetDirection()).reshape(3, 3)
        affine[:3, :3] = directions * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        array = sitk.GetArrayFromImage(image).astype(np.float32)
        shape = (int(array.shape[0]), int(array.shape[1]), int(array.shape[2]))
        return Volume(array, Grid(shape, affine), frame_of_reference_uid)
