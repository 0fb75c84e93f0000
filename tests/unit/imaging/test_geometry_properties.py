import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.imaging.resampling import resample, sample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume

angles = st.tuples(*[st.floats(-180, 180)] * 3)
shifts = st.tuples(*[st.floats(-200, 200)] * 3)
transforms = st.builds(RigidTransform.from_euler, angles, shifts, shifts)
POINTS = np.array([[0.0, 0, 0], [100, -50, 20], [-80, 80, 80], [1, 2, 3]])


@st.composite
def oblique_grids(draw):
    turn = RigidTransform.from_euler(draw(angles), draw(shifts))
    spacing = [draw(st.floats(0.3, 4.0)) for _ in range(3)]
    shape = tuple(draw(st.integers(2, 9)) for _ in range(3))
    flip = draw(st.sampled_from([1.0, -1.0]))
    return Grid(shape, turn.matrix @ np.diag([spacing[0], spacing[1], flip * spacing[2], 1.0]))


@given(oblique_grids())
def test_to_index_undoes_to_world(grid):
    ijk = np.array([[0.0, 0, 0], [1.5, 2.25, -3], [7, 8, 9]])
    assert np.allclose(grid.to_index(grid.to_world(ijk)), ijk, atol=1e-7)


@given(transforms)
def test_inverse_undoes_a_rigid_transform(transform):
    assert np.allclose(transform.inverse().map(transform.map(POINTS)), POINTS, atol=1e-7)
    assert np.allclose((transform @ transform.inverse()).matrix, np.eye(4), atol=1e-9)


@given(transforms, transforms, transforms)
def test_composition_is_associative_and_maps_in_order(a, b, c):
    assert np.allclose(((a @ b) @ c).matrix, (a @ (b @ c)).matrix, atol=1e-6)
    assert np.allclose((a @ b).map(POINTS), a.map(b.map(POINTS)), atol=1e-6)


@given(transforms)
def test_rigid_transforms_keep_distances_and_survive_sitk(transform):
    moved = transform.map(POINTS)
    before = np.linalg.norm(POINTS[:, None] - POINTS[None], axis=2)
    assert np.allclose(np.linalg.norm(moved[:, None] - moved[None], axis=2), before, atol=1e-7)
    assert np.allclose(_matrix_of(transform.to_sitk()), transform.matrix, atol=1e-6)


def _matrix_of(transform) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    matrix[:3, :3] = np.array([transform.TransformPoint(e) for e in np.eye(3).tolist()]).T - matrix[:3, 3:]
    return matrix


def _ramp(grid: Grid, slope=(0.5, -1.0, 0.25)) -> Volume:
    k, j, i = np.unravel_index(np.arange(np.prod(grid.shape)), grid.shape)
    world = grid.to_world(np.stack([i, j, k], axis=1))
    return Volume((world @ np.array(slope) + 300).reshape(grid.shape).astype(np.float32), grid)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-25, 25)] * 3),
    st.tuples(*[st.floats(-8, 8)] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
)
@example(angle=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0), orientation=(0.0, 1.0, 3.448423540309996e-293))
def test_a_ramp_is_resampled_exactly_through_any_transform(angle, shift, orientation):
    """Linear interpolation of a linear image has no error: what is left is geometry."""
    turn = RigidTransform.from_euler(orientation, (0, 0, 0))
    affine = turn.matrix @ np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ np.array([24.5, 19.5, 16.5])
    moving = _ramp(Grid((34, 40, 50), affine))
    fixed = Grid.axis_aligned((7, 8, 9), 3.0, (1.0, -2.0, 3.0))
    transform = RigidTransform.from_euler(angle, shift)
    got = resample(moving, fixed, transform).array
    k, j, i = np.unravel_index(np.arange(np.prod(fixed.shape)), fixed.shape)
    there = transform.map(fixed.to_world(np.stack([i, j, k], axis=1)))
    expected = (there @ np.array([0.5, -1.0, 0.25]) + 300).reshape(fixed.shape)
    assert np.allclose(got, expected, atol=1e-2)
    assert np.allclose(sample(moving, there).reshape(fixed.shape), expected, atol=1e-2)


def test_samples_beyond_the_volume_are_marked():
    volume = _ramp(Grid.axis_aligned((5, 5, 5), 1.0, (0, 0, 0)))
    assert np.isnan(sample(volume, [[0.0, 0.0, 9.0]])).all()
    assert np.isfinite(sample(volume, [[2.0, -2.0, 2.0]])).all()
