import numpy as np
import pytest

from service.imaging.recipe import prepare, restore
from service.imaging.recipe_types import PreprocessingRecipe
from service.imaging.resampling import resample
from tests.builders.aligned import aligned_pair
from tests.unit.imaging.conftest import MOVED

VOLUME = PreprocessingRecipe(
    kind="volume",
    mode="fat_global",
    time_points=("baseline", "delayed"),
    shape=(80, 96, 80),
    spacing_mm=2.0,
    window=(0.0, 2.0),
    predicts="increase",
    quantiles=(0.5, 0.05, 0.95),
)
SLICES = PreprocessingRecipe(
    kind="slice_pair",
    mode="slice_minmax",
    time_points=("baseline", "delayed"),
    shape=(128, 128),
    spacing_mm=1.5,
    window=(0.0, 2.0),
    predicts="image",
)


def _prepare(baseline, delayed, anatomy, recipe, *, gain_b=1.0, gain_d=1.0):
    series = aligned_pair(
        baseline.with_array(baseline.array * np.float32(gain_b)),
        delayed.with_array(delayed.array * np.float32(gain_d)),
        MOVED,
        fats=(1000.0 * gain_b, 1500.0 * gain_d),
    )
    return prepare(series, anatomy=anatomy, recipe=recipe)


@pytest.mark.parametrize("recipe", [VOLUME, SLICES], ids=["volume", "slices"])
def test_gain_of_either_scan_changes_nothing_the_model_sees(recipe, baseline, delayed, anatomy):
    quiet = _prepare(baseline, delayed, anatomy, recipe)
    loud = _prepare(baseline, delayed, anatomy, recipe, gain_b=4.0, gain_d=0.25)
    assert np.array_equal(quiet.tensor, loud.tensor)
    odd = _prepare(baseline, delayed, anatomy, recipe, gain_b=3.7, gain_d=0.31)
    assert np.allclose(quiet.tensor, odd.tensor, atol=1e-5)


def test_the_two_time_points_overlay_in_the_model_input(baseline, delayed, anatomy):
    tensor = _prepare(baseline, delayed, anatomy, VOLUME).tensor[0]
    assert tensor.shape == (2, 80, 96, 80)
    assert np.corrcoef(tensor[0].ravel(), tensor[1].ravel())[0, 1] > 0.95


def test_an_increase_comes_home_in_baseline_units_and_place(baseline, delayed, anatomy):
    """A smooth increase given on the model's grid is found on the baseline's grid, times its fat."""
    given = _prepare(baseline, delayed, anatomy, VOLUME)
    grid = given.grids[0]
    k, j, i = np.unravel_index(np.arange(np.prod(grid.shape)), grid.shape)
    world = grid.to_world(np.stack([i, j, k], axis=1)) - anatomy.brain_centre
    bump = np.exp(-(world**2).sum(axis=1) / (2 * 25.0**2)).reshape(grid.shape).astype(np.float32)
    answer = restore(np.stack([bump, bump * 0.5, bump * 1.5])[None], given, baseline)
    assert answer.increase[0].grid.same_as(baseline.grid)
    back = resample(answer.increase[0], grid).array / 1000.0
    assert np.abs(back - bump).max() < 0.01
    assert np.allclose(answer.predicted[0].array, np.maximum(baseline.array + answer.increase[0].array, 0), atol=1e-3)
    assert (answer.lower[0].array <= answer.upper[0].array + 1e-6).all()


def test_returning_the_delayed_slices_restores_them(baseline, delayed, anatomy):
    given = _prepare(baseline, delayed, anatomy, SLICES)
    restored = restore(given.tensor[:, 2:4], given, baseline)
    for plane, grid in zip(restored.predicted, given.grids, strict=True):
        expected = resample(delayed, grid, MOVED, antialias=True).array / 1.5
        assert np.allclose(plane.array, expected, atol=0.5)


def test_undefined_values_never_come_home(baseline, delayed, anatomy):
    given = _prepare(baseline, delayed, anatomy, VOLUME)
    broken = np.full((1, 3, *given.grids[0].shape), np.nan, dtype=np.float32)
    with pytest.raises(ValueError, match="NaN"):
        restore(broken, given, baseline)


def test_fat_must_be_positive(baseline, delayed, anatomy):
    with pytest.raises(ValueError, match="positive"):
        prepare(aligned_pair(baseline, delayed, MOVED, fats=(0.0, 1.0)), anatomy=anatomy, recipe=VOLUME)
