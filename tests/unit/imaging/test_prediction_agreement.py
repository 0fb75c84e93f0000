"""A prediction against the later scan: errors, bias, coverage, reflux, each with a known answer."""

import numpy as np
import pytest

from service.imaging.agreement import compare
from service.imaging.recipe_types import AlignedScan, RestoredPrediction
from service.imaging.resampling import resample
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from tests.builders.heads import Head, head_volume

STILL = RigidTransform.identity()
LATE = {"basal": 0.2, "sas": 0.25, "ventricles": 0.12}
FAT = 1000.0


@pytest.fixture(scope="module")
def scans(grid):
    """Noise-free: baseline, delayed and the scan of the next day, which has moved and another gain."""
    turned = RigidTransform.from_euler((3.0, -2.0, 4.0), (4.0, -3.0, 5.0))
    before, early, late = (head_volume(Head(tracer=tracer), grid) for tracer in ({}, {"basal": 0.2}, LATE))
    acquired = head_volume(Head(tracer=LATE, gain=1500.0), grid, turned)
    return {
        "baseline": AlignedScan(volume=before, transform=STILL, fat=FAT),
        "delayed": AlignedScan(volume=early, transform=STILL, fat=FAT),
        "acquired": AlignedScan(volume=acquired, transform=turned, fat=1.5 * FAT),
    }, late


def predicted(late, baseline, *, too_much=0.0, width=None):
    shown = late.with_array(late.array + np.float32(too_much * FAT))
    increase = shown.with_array(shown.array - baseline.array)
    bounds = {}
    if width is not None:
        bounds = {
            "lower": (increase.with_array(increase.array - np.float32(width * FAT)),),
            "upper": (increase.with_array(increase.array + np.float32(width * FAT)),),
        }
    return RestoredPrediction(predicted=(shown,), increase=(increase,), **bounds)


def test_a_perfect_prediction_has_no_error_and_the_delayed_scan_one(scans, anatomy):
    given, late = scans
    found = compare(predicted(late, given["baseline"].volume), anatomy=anatomy, **given)
    for name in ("fluid", "ventricles", "tissue"):
        assert found.regions[name].error < 0.03  # partial volume of a head scanned in another pose
        assert abs(found.regions[name].bias) < 0.01
    assert found.regions["fluid"].persistence_error > 3 * found.regions["fluid"].error
    assert found.regions["fluid"].increase == pytest.approx(found.regions["fluid"].persistence_error, rel=0.5)
    assert found.coverage is None
    assert found.grade_predicted == found.grade_acquired == "3"
    assert found.index_predicted == pytest.approx(found.index_acquired, abs=0.1)


def test_too_much_is_a_positive_bias_of_that_size(scans, anatomy):
    given, late = scans
    found = compare(predicted(late, given["baseline"].volume, too_much=0.1), anatomy=anatomy, **given)
    for region in found.regions.values():
        assert region.bias == pytest.approx(0.1, abs=0.01)
        assert region.error == pytest.approx(0.1, abs=0.02)


def test_coverage_is_the_share_inside_the_interval(scans, anatomy):
    given, late = scans
    inside = compare(predicted(late, given["baseline"].volume, width=0.2), anatomy=anatomy, **given)
    outside = compare(predicted(late, given["baseline"].volume, too_much=0.5, width=0.2), anatomy=anatomy, **given)
    assert inside.coverage > 0.97
    assert outside.coverage < 0.03


def test_single_slices_are_compared_where_they_lie_and_not_graded(scans, anatomy, grid):
    given, late = scans
    nk, nj, ni = grid.shape
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world([[0, 0, nk // 2]])[0]
    plane = Grid((1, nj, ni), affine)
    shown = resample(late, plane)
    increase = shown.with_array(shown.array - resample(given["baseline"].volume, plane).array)
    found = compare(
        RestoredPrediction(predicted=(shown, shown), increase=(increase, increase)), anatomy=anatomy, **given
    )
    assert found.regions["fluid"].error < found.regions["fluid"].persistence_error / 3
    assert found.grade_predicted == found.grade_acquired == ""
    assert found.index_acquired is None


def test_what_the_later_scan_does_not_cover_does_not_count(scans, anatomy, grid):
    given, late = scans
    empty = Volume(np.zeros(grid.shape, dtype=np.float32), grid)
    nothing = AlignedScan(volume=empty, transform=STILL, fat=FAT)
    found = compare(
        predicted(late, given["baseline"].volume, width=0.1), anatomy=anatomy, **{**given, "acquired": nothing}
    )
    assert found.regions == {}
    assert found.coverage is None
