import pytest

from service.imaging import quality
from service.imaging.anatomy import find_anatomy
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.rigid import RigidTransform
from tests.builders.heads import Head, default_grid, head_volume

MOVED = RigidTransform.from_euler((5.0, -4.0, 6.0), (4.0, -6.0, 5.0))


@pytest.fixture(scope="session")
def grid():
    return default_grid(2.0)


@pytest.fixture(scope="session")
def baseline(grid):
    return head_volume(Head(noise=0.02, seed=1), grid)


@pytest.fixture(scope="session")
def anatomy(baseline):
    return find_anatomy(baseline)


@pytest.fixture(scope="session")
def fat(baseline, anatomy):
    return measure_orbital_fat(baseline, anatomy)


@pytest.fixture(scope="session")
def delayed(grid):
    """1-2 h: tracer in the basal fluid, other gain, shading, moved."""
    head = Head(noise=0.02, seed=2, tracer={"basal": 0.2}, gain=1500.0, bias=0.05)
    return head_volume(head, grid, MOVED)


@pytest.fixture(scope="session")
def pair(baseline, delayed, anatomy):
    return quality.align(baseline, delayed, MOVED, anatomy)
