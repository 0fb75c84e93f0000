"""Simulated heads are anatomically usable, and tracer brightens them as the signal equation says."""

import numpy as np
import pytest

from service.imaging.anatomy import find_anatomy
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid
from training.simulate.signal import PAPER_PROTOCOL, Visit, relaxation_maps, scan, spgr, tracer_per_tissue
from training.simulate.tissues import BRAIN, FLUID, Tissue


def signal(t1, density, t2star, mm=0.0):
    values = (np.array([v], np.float32) for v in (t1, density, t2star, mm))
    return float(spgr(PAPER_PROTOCOL, *values)[0])


def millilitres(head, tissues):
    return np.isin(head.labels, tissues).sum() * np.prod(head.grid.spacing) / 1000


def test_volumes_are_those_of_an_adult(head):
    assert 900 < millilitres(head, BRAIN) < 1500
    assert 200 < millilitres(head, FLUID) < 700
    assert 5 < millilitres(head, [Tissue.LATERAL_VENTRICLE]) < 200
    assert 10 < millilitres(head, [Tissue.VITREOUS]) < 20


def test_the_described_fat_is_fat(head):
    for orbit in (head.anatomy.left_orbit, head.anatomy.right_orbit):
        i, j, k = np.rint(head.grid.to_index(orbit.fat_points)).astype(int).T
        assert (head.labels[k, j, i] == Tissue.ORBITAL_FAT).all()
        assert len(orbit.fat_points) > 100
    assert head.anatomy.left_orbit.globe_centre[0] > 20 > -20 > head.anatomy.right_orbit.globe_centre[0]


def test_signal_rises_with_tracer_as_in_the_published_range():
    fat = signal(0.375, 0.9, 50)
    ratios = [signal(4.2, 1.0, 1000, mm) / fat for mm in (0, 0.1, 0.5, 1.0)]
    assert ratios == pytest.approx([0.22, 0.46, 1.0, 1.31], rel=0.08)
    curve = [signal(4.2, 1.0, 1000, mm) for mm in np.linspace(0, 5, 50)]
    assert np.all(np.diff(curve) > 0)


def test_the_services_own_anatomy_finds_the_simulated_orbits(head):
    rng = np.random.default_rng(0)
    no_tracer = np.zeros(head.labels.shape, np.float32)
    visit = Visit(pose=RigidTransform.identity(), gain=500.0, bias_strength=0.03, snr=30.0)
    nk, nj, ni = head.grid.shape
    grid = Grid.axis_aligned((nk, nj, ni), head.grid.spacing[0], head.grid.centre)
    image = scan(
        head,
        relaxation_maps(head, rng),
        no_tracer,
        PAPER_PROTOCOL,
        visit,
        grid=grid,
        coil=np.ones(grid.shape, np.float32),
        rng=rng,
    ).acquired
    found = find_anatomy(image)
    for mine, truth in ((found.left_orbit, head.anatomy.left_orbit), (found.right_orbit, head.anatomy.right_orbit)):
        assert mine is not None
        assert np.linalg.norm(mine.globe_centre - truth.globe_centre) < 6.0
    assert np.abs(found.midsagittal.normal @ head.anatomy.midsagittal.normal) > np.cos(
        np.deg2rad(4)
    )  # drawn ones 1.7 to 3.6


def test_brain_takes_up_only_its_fluid_share(head):
    ones = np.ones(head.labels.shape, np.float32)
    tracer = tracer_per_tissue(head, ones, 2 * ones)
    assert np.unique(tracer[head.labels == Tissue.WHITE]).tolist() == pytest.approx([0.22])
    assert np.unique(tracer[head.labels == Tissue.LATERAL_VENTRICLE]).tolist() == [2.0]
    assert tracer[head.labels == Tissue.ORBITAL_FAT].max() == 0
