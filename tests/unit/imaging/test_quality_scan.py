"""Checks of one series: each passes a sound one and rejects its fault."""

import numpy as np
import pytest

from service.imaging import quality_scan
from service.imaging.resampling import resample
from service.imaging.volume import Grid, Volume
from tests.builders import faults
from tests.builders.quality import codes

BRAIN = 480.0  # signal of the fixture's brain


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda v: v.with_array(np.where(v.array > 1000, np.nan, v.array)), "NOT_FINITE"),
        (lambda v: v.with_array(np.full_like(v.array, 7)), "CONSTANT_IMAGE"),
        (lambda v: v.with_array((v.array > 200).astype(np.float32)), "LOW_DYNAMIC_RANGE"),
        (lambda v: faults.clipped(v, 1.3 * BRAIN), "SIGNAL_CLIPPED"),
        (lambda v: Volume(v.array, Grid(v.grid.shape, v.grid.affine @ np.diag([1, 1, 2.5, 1]))), "VOXELS_TOO_THICK"),
        (lambda v: Volume(v.array[:40], Grid((40, *v.grid.shape[1:]), v.grid.affine)), "FIELD_OF_VIEW_SHORT"),
    ],
)
def test_unfit_volumes_are_rejected_by_name(spoil, code, baseline):
    assert codes(quality_scan.check_volume(baseline)) == set()
    assert code in codes(quality_scan.check_volume(spoil(baseline)))


def test_thick_two_dimensional_slices_are_rejected():
    thick = Grid.axis_aligned((30, 240, 240), (1.0, 1.0, 6.0), (0, 0, 0))
    report = quality_scan.check_volume(Volume(np.zeros(thick.shape, dtype=np.float32), thick))
    assert "VOXELS_TOO_THICK" in codes(report)


def test_a_brain_cut_by_the_field_of_view_is_rejected(baseline, anatomy):
    above = int(np.flatnonzero(anatomy.brain.any(axis=(1, 2)))[-1]) - 10
    cut = Volume(baseline.array[:above], Grid((above, *baseline.grid.shape[1:]), baseline.grid.affine))
    assert "BRAIN_CUT" in codes(quality_scan.check_anatomy(cut, anatomy))


@pytest.mark.parametrize("scale", [faults.T2, faults.FLAIR, faults.PROTON_DENSITY], ids=["T2", "FLAIR", "PD"])
def test_another_contrast_is_rejected(scale, baseline, anatomy):
    other = faults.contrast(baseline, BRAIN, scale)
    seen = resample(other, anatomy.grid, antialias=True).array
    assert "WHITE_NOT_BRIGHT" in codes(quality_scan.check_contrast(seen, anatomy))


def test_a_baseline_whose_fluid_is_bright_is_rejected(baseline, anatomy):
    brighter = baseline.with_array(np.maximum(baseline.array, 0.75 * BRAIN * (baseline.array > 100)))
    seen = resample(brighter, anatomy.grid, antialias=True).array
    assert "FLUID_BRIGHT" in codes(quality_scan.check_contrast(seen, anatomy))


@pytest.mark.parametrize("gain", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda v, s: faults.noisy(v, 0.2 * s), "LOW_SNR"),
        (lambda v, s: faults.spiked(v, 0.25 * s), "SPIKE_NOISE"),
        (lambda v, s: faults.ghosted(v, 0.25), "AIR_NOT_DARK"),
    ],
)
def test_scan_faults_are_rejected_by_name_whatever_the_gain(spoil, code, gain, baseline, anatomy):
    scaled = baseline.with_array(baseline.array * np.float32(gain))
    for scan, expected in ((scaled, False), (spoil(scaled, BRAIN * gain), True)):
        seen = resample(scan, anatomy.grid, antialias=True).array
        assert (code in codes(quality_scan.check_scan(scan, seen, anatomy, series="baseline"))) is expected


def test_a_field_of_view_that_ends_above_the_skull_base_is_rejected(baseline, anatomy):
    height = baseline.grid.to_world([[0, 0, k] for k in range(baseline.grid.shape[0])])[:, 2]
    first = int(np.flatnonzero(height > anatomy.brain_centre[2] - 45)[0])
    nk, nj, ni = baseline.grid.shape
    cut = baseline.part((0, 0, first), (ni, nj, nk))
    seen = resample(cut, anatomy.grid, antialias=True).array
    assert "BASE_CUT" in codes(quality_scan.check_scan(cut, seen, anatomy, series="baseline"))


@pytest.mark.parametrize("axis", [0, 1], ids=["neck on vertex", "nose on occiput"])
def test_a_head_folded_over_is_rejected(axis, baseline, anatomy):
    folded = faults.folded(baseline, axis, 30, from_end=False)
    seen = resample(folded, anatomy.grid, antialias=True).array
    assert "HEAD_AT_EDGE" in codes(quality_scan.check_scan(folded, seen, anatomy, series="baseline"))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_the_edges_are_found_whatever_the_slices(order, baseline, anatomy):
    """Axial, coronal, sagittal: the neck that leaves the field of view below is not held against any."""
    affine = baseline.grid.affine.copy()
    affine[:3, :3] = affine[:3, [2 - order[2], 2 - order[1], 2 - order[0]]]
    array = baseline.array.transpose(order)
    turned = Volume(array, Grid((array.shape[0], array.shape[1], array.shape[2]), affine))
    seen = resample(turned, anatomy.grid, antialias=True).array
    assert "HEAD_AT_EDGE" not in codes(quality_scan.check_scan(turned, seen, anatomy, series="baseline"))


def test_noise_is_measured_in_its_own_units():
    grid = Grid.axis_aligned((90, 90, 90), 1.0, (0, 0, 0))
    k = np.indices(grid.shape)[0]
    array = np.random.default_rng(0).normal(0, 25, grid.shape) + 900 + 3 * k
    assert quality_scan.noise_level(Volume(array, grid), np.zeros(3)) == pytest.approx(25, rel=0.03)


def test_zero_filled_interpolation_is_not_taken_for_spikes(baseline):
    spectrum = np.fft.fftshift(np.fft.fftn(baseline.array))
    keep = np.zeros(spectrum.shape)
    nk, nj, ni = spectrum.shape
    keep[nk // 5 : -(nk // 5), nj // 5 : -(nj // 5), ni // 5 : -(ni // 5)] = 1
    smooth = np.abs(np.fft.ifftn(np.fft.ifftshift(spectrum * keep))).astype(np.float32)
    assert quality_scan.strongest_line(baseline.with_array(smooth)) < 6
