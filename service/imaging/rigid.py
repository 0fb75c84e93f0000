"""Rigid transforms in patient space; they map FIXED -> MOVING points, LPS mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike

from service.imaging.volume import Float64, read_only

_VANISHING = 1e-12  # see `Grid`


@dataclass(frozen=True, slots=True, eq=False)
class RigidTransform:
    """Rotation + translation that maps points of the fixed frame to the moving frame.

    Attributes
    ----------
    matrix
        4x4 float64, LPS mm: ``moving = matrix @ (x, y, z, 1)_fixed``. To resample the moving
        image onto the fixed grid, evaluate it at ``map(fixed points)`` - ITK's convention.
    """

    matrix: Float64

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        rotation = matrix[:3, :3]
        if matrix.shape != (4, 4) or not np.allclose(matrix[3], [0, 0, 0, 1]):
            raise ValueError("matrix must be 4x4 with last row 0 0 0 1")
        if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-5 or np.linalg.det(rotation) < 0:
            raise ValueError("matrix is not rigid: its 3x3 part is not a proper rotation")
        matrix[np.abs(matrix) < _VANISHING] = 0.0
        read_only(matrix)
        object.__setattr__(self, "matrix", matrix)

    @staticmethod
    def identity() -> RigidTransform:
        """The transform that moves nothing."""
        return RigidTransform(np.eye(4))

    @staticmethod
    def from_euler(
        degrees_xyz: Sequence[float], translation_mm: Sequence[float], centre_lps: ArrayLike = (0.0, 0.0, 0.0)
    ) -> RigidTransform:
        """Rotate about x, then y, then z (``Rz Ry Rx``) around `centre_lps`, then translate."""
        ax, ay, az = np.deg2rad(degrees_xyz)
        rx = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
        ry = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
        rz = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
        centre = np.asarray(centre_lps, dtype=np.float64)
        matrix = np.eye(4)
        matrix[:3, :3] = rz @ ry @ rx
        matrix[:3, 3] = centre + np.asarray(translation_mm) - matrix[:3, :3] @ centre
        return RigidTransform(matrix)

    def map(self, points_lps: ArrayLike) -> Float64:
        """``(N, 3)`` fixed LPS mm -> ``(N, 3)`` moving LPS mm."""
        p = np.asarray(points_lps, dtype=np.float64)
        return np.asarray(p @ self.matrix[:3, :3].T + self.matrix[:3, 3])

    def inverse(self) -> RigidTransform:
        """Moving -> fixed."""
        rotation = self.matrix[:3, :3].T
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = -rotation @ self.matrix[:3, 3]
        return RigidTransform(matrix)

    def __matmul__(self, first: RigidTransform) -> RigidTransform:
        """``(a @ b).map(p) == a.map(b.map(p))``."""
        return RigidTransform(self.matrix @ first.matrix)

    @property
    def angle_deg(self) -> float:
        """Total rotation angle in degrees, 0..180."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1) / 2
        return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))

    def displacement_mm(self, point_lps: ArrayLike) -> float:
        """How far `point_lps` is moved; more telling than the translation, which depends on the origin."""
        p = np.atleast_2d(np.asarray(point_lps, dtype=np.float64))
        return float(np.linalg.norm(self.map(p) - p, axis=1).max())

    def to_sitk(self) -> sitk.Euler3DTransform:
        """The same map as a SimpleITK transform (fixed -> moving, LPS)."""
        transform = sitk.Euler3DTransform()
        transform.SetMatrix(self.matrix[:3, :3].ravel().tolist(), 1e-5)
        transform.SetTranslation(self.matrix[:3, 3].tolist())
        return transform
