"""A straight tube of fluid: the smallest thing that tracer can move in."""

from __future__ import annotations

import numpy as np

from service.imaging.volume import Grid
from training.simulate.lattice import Cells


def bar(n: int = 81, h: float = 3.0) -> Cells:
    """A straight tube of fluid; injected in the middle, ventricle at one end, convexity at the other."""
    ends = np.zeros((2, n), bool)
    ends[0, 0] = ends[1, -1] = True
    middle = np.zeros(n, bool)
    middle[n // 2] = True
    return Cells(
        grid=Grid.axis_aligned((n, 1, 1), h, (0, 0, 0)),
        index=np.arange(n).reshape(n, 1, 1),
        csf=np.ones(n),
        brain=np.zeros(n),
        ventricle=np.zeros(n, bool),
        lateral=ends[0],
        foramen=middle,
        convexity=ends[1],
        basal=np.zeros(n, bool),
        faces=np.stack([np.arange(n - 1), np.arange(1, n)], axis=1),
        open_faces=np.ones(n - 1),
    )
