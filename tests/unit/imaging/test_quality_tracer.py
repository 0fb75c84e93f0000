"""Checks of what the tracer does: each passes a sound pair and rejects its fault."""

import numpy as np
import pytest

from service.imaging import quality, quality_tracer
from service.imaging.head_mask import dilate
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Volume
from tests.builders.heads import Head, head_volume
from tests.builders.quality import codes

STILL = RigidTransform.identity()


def of_pair(baseline, delayed, anatomy):
    pair = quality.align(baseline, delayed, STILL, anatomy)
    return codes(quality_tracer.check_tracer(pair, anatomy, fat_baseline=1000.0, fat_delayed=1000.0))


def test_tracer_in_the_basal_fluid_is_accepted(baseline, anatomy, grid):
    delayed = head_volume(Head(noise=0.02, seed=4, tracer={"basal": 0.2}), grid)
    assert of_pair(baseline, delayed, anatomy) == set()


@pytest.mark.parametrize("below_mm", [73, 67, 62])
def test_a_delayed_series_that_ends_below_the_stem_is_not_taken_for_a_darkened_one(below_mm, baseline, anatomy, grid):
    whole = head_volume(Head(noise=0.02, seed=4, tracer={"basal": 0.2}), grid)
    lowest = round(float(grid.to_index(anatomy.brain_centre[None])[0][2]) - below_mm / grid.spacing[2])
    cut = whole.part((0, 0, lowest), grid.shape[::-1])

    assert of_pair(baseline, cut, anatomy) == set()


def test_without_tracer_the_case_is_rejected(baseline, anatomy, grid):
    again = head_volume(Head(noise=0.02, seed=4), grid)
    assert of_pair(baseline, again, anatomy) == {"NO_TRACER", "TRACER_IN_NOISE"}


def test_more_than_tracer_can_do_is_rejected(baseline, anatomy, grid):
    delayed = head_volume(Head(noise=0.02, seed=4, tracer={"basal": 2.5}), grid)
    assert "TRACER_EXCESSIVE" in of_pair(baseline, delayed, anatomy)


def test_swapped_series_are_rejected_as_swapped(baseline, anatomy, grid):
    enhanced = head_volume(Head(noise=0.02, seed=4, tracer={"basal": 0.25}), grid)
    assert "ORDER_SWAPPED" in of_pair(enhanced, baseline, anatomy)


def test_a_sinus_that_brightens_more_than_the_fluid_is_rejected(baseline, anatomy, grid):
    """Contrast agent by vein, after an injection into the fluid as well."""
    delayed = head_volume(Head(noise=0.02, seed=4, tracer={"basal": 0.1}), grid)
    rim = dilate(anatomy.brain, 8.0, anatomy.grid) & ~anatomy.brain
    lateral = (
        anatomy.grid.to_world(np.argwhere(rim)[:, ::-1]) - anatomy.midsagittal.origin
    ) @ anatomy.midsagittal.normal
    sinus = np.zeros(anatomy.grid.shape, dtype=np.float32)
    sinus[tuple(np.argwhere(rim)[np.abs(lateral) < 6].T)] = 400.0
    veins = delayed.with_array(delayed.array + resample(Volume(sinus, anatomy.grid), grid).array)
    assert of_pair(baseline, delayed, anatomy) == set()
    assert "VESSELS_ENHANCED" in of_pair(baseline, veins, anatomy)
