"""The models in the repository reproduce their golden answers and keep their promises."""

import numpy as np
import pytest

from service.imaging.normalisation import measure_orbital_fat
from service.imaging.recipe import prepare
from service.imaging.recipe_types import Anatomy, Orbit, Plane
from service.imaging.rigid import RigidTransform
from service.imaging.volume import Grid, Volume
from service.inference.onnx import bundled_models_path, find_models, load_predictor, verify_parity
from tests.builders.aligned import aligned_pair
from tests.builders.simulated import three_visits
from training.prepare import prepare_patient

MODELS = [directory for _, _, directory in find_models([bundled_models_path()])]


@pytest.mark.parametrize("directory", MODELS, ids=lambda d: d.name)
def test_golden_answer_is_replayed(directory):
    predictor = load_predictor(directory, threads=1)
    assert directory.name == f"{predictor.manifest.name}-{predictor.manifest.version}"
    assert verify_parity(directory, predictor) <= 1e-4


@pytest.mark.parametrize("directory", MODELS, ids=lambda d: d.name)
def test_files_fit_in_git_and_the_card_says_simulated(directory):
    assert sum(f.stat().st_size for f in directory.iterdir()) < 25_000_000
    card = (directory / "MODEL_CARD.md").read_text()
    assert "SIMULATED" in card and "not clinical evidence" in card


@pytest.mark.parametrize("directory", MODELS, ids=lambda d: d.name)
def test_it_beats_copying_the_delayed_image_on_simulated_patients(directory):
    manifest = load_predictor(directory, threads=1).manifest
    rows = manifest.metrics["rows"]
    assert manifest.simulated_training
    for figure in ("mse_head", "mae_head", "mse_csf", "mae_csf"):
        assert rows["model"][figure] < rows["copy_delayed"][figure]


@pytest.mark.parametrize("directory", MODELS, ids=lambda d: d.name)
def test_training_and_service_make_the_same_tensor(directory):
    """Bit for bit: the training side calls the service's `prepare` with the manifest's recipe."""
    recipe = load_predictor(directory, threads=1).manifest.recipe
    rng = np.random.default_rng(3)
    grid = Grid.axis_aligned((30, 40, 36), 4.0, (0, 0, 0))
    volumes = [Volume(rng.uniform(10, 900, grid.shape).astype(np.float32), grid) for _ in range(3)]
    to_delayed = RigidTransform.from_euler((3, -2, 4), (2, 5, -3))
    patient = three_visits(tuple(volumes), to_delayed, RigidTransform.identity(), made_up_anatomy(grid))
    baseline, delayed = (patient.visits[window].volume for window in ("baseline", "1-2h"))
    fats = (
        measure_orbital_fat(baseline, patient.anatomy).median,
        measure_orbital_fat(delayed, patient.anatomy, to_delayed).median,
    )
    series = aligned_pair(baseline, delayed, to_delayed, fats=fats)
    served = prepare(series, anatomy=patient.anatomy, recipe=recipe)
    assert np.array_equal(prepare_patient(patient, recipe).tensor[None], served.tensor)


def made_up_anatomy(grid):
    ball = np.zeros(grid.shape, bool)
    ball[8:22, 10:30, 8:28] = True
    fat = np.array([[x, -30.0, z] for x in (-20.0, 20.0) for z in np.linspace(-10, 10, 9)])
    orbits = [Orbit(globe_centre=np.array([s * 30.0, -45, 0]), fat_points=fat[fat[:, 0] * s > 0]) for s in (1, -1)]
    return Anatomy(
        grid=grid,
        head=ball,
        brain=ball,
        csf=~ball,
        lateral_ventricles=ball & False,
        brain_centre=np.array([1.0, -2.0, 3.0]),
        midsagittal=Plane(origin=np.array([0.5, 0, 0]), normal=np.array([1.0, 0, 0])),
        axial=Plane(origin=np.array([0, 0, 5.0]), normal=np.array([0, 0, 1.0])),
        left_orbit=orbits[0],
        right_orbit=orbits[1],
    )
