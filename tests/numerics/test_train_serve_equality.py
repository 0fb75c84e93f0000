"""No train/serve skew: what a model is trained on is, to the last bit, what the service gives it.

One simulated pair goes two ways. Training: saved into a cohort, loaded, prepared. Service: written as DICOM by the
simulator, read back by the service's own reader, aligned, converted with a model that remembers what it was given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from service.cases import CaseOutcome
from service.config import load_config
from service.dicom.policy import PairingPolicy
from service.imaging.anatomy import find_anatomy
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.recipe import prepare
from service.imaging.recipe_types import PreprocessingRecipe
from service.inference.manifest import load_manifest
from service.received_pair import receive_pair
from service.wiring import choose_model
from tests.builders.conversions import RecordingPredictor, anatomy_at, convert_datasets, pair_of
from tests.builders.patients import MOVED, head_after, head_before
from tests.builders.reformat import backwards, stored_as
from training.prepare import prepare_as_served
from training.simulate.cohort import SimulatedPatient, load_patient, save_patient, scanner_grid
from training.simulate.deliver import write_dicom

pytestmark = pytest.mark.slow
INJECTED_AT = datetime(2024, 5, 14, 9, 10)  # `training.simulate.dicom_files.visit_times`


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A patient of a cohort, and the folder with the DICOM series written of the same patient."""

    patient: SimulatedPatient
    folder: Path

    def series(self, name: str) -> list[pydicom.Dataset]:
        return [pydicom.dcmread(path) for path in sorted((self.folder / name).glob("*.dcm"))]


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """A drawn head in the simulator's slice order, which runs against the normal that DICOM defines."""
    folder = tmp_path_factory.mktemp("simulated")
    baseline, delayed = (backwards(stored_as(volume, "sagittal")) for volume in (head_before(), head_after()))
    simulated = scanner_grid(1.5, baseline.grid.centre)
    np.testing.assert_allclose(baseline.grid.directions, simulated.directions, atol=1e-12)
    drawn = SimulatedPatient(
        name="patient-001",
        baseline=baseline,
        delayed=delayed,
        late=delayed,
        to_delayed=MOVED,
        to_late=MOVED,
        anatomy=anatomy_at(baseline.grid.centre),  # preparing as served finds its own
        hours=1.5,
        truth={
            "seed": 7,
            "index": 1,
            "protocol": {"flip_deg": 8.0, "repetition_time_ms": 8.0, "echo_time_ms": 3.7},
        },
    )
    patient = load_patient(save_patient(drawn, folder))
    write_dicom(patient, folder, with_late=False)
    return Visit(patient=patient, folder=folder)


def test_the_dicom_route_and_the_training_route_give_one_tensor(visit: Visit) -> None:
    recorder = RecordingPredictor()
    baseline, delayed = visit.series("baseline"), visit.series("delayed")[::-1]
    conversion = convert_datasets(baseline, delayed, recorder, injected_at=INJECTED_AT)
    assert conversion.outcome is CaseOutcome.PREDICTED, conversion.reasons
    course = conversion.course
    assert course is not None and course.registration is not None
    (given,) = recorder.tensors
    aligned = replace(visit.patient, to_delayed=course.registration.transform)  # the one thing handed over

    example = prepare_as_served(aligned, recorder.manifest.recipe)

    assert example is not None
    assert given.dtype == example.tensor.dtype == np.float32
    assert given.shape == (1, *example.tensor.shape) == recorder.manifest.input_shape
    assert given.tobytes() == example.tensor[None].tobytes()
    before, after = given[0]
    assert np.abs(after - before).max() > 0.1  # two series, not one twice


def test_the_slices_of_the_paper_s_model_are_one_tensor_too(visit: Visit) -> None:
    """Without aligning: both routes are told the true transform, and find head and fat by themselves."""
    recipe = choose_recipe("paper2d")
    read = receive_pair(pair_of(visit.series("baseline"), visit.series("delayed")), PairingPolicy()).volumes
    assert read is not None
    anatomy = find_anatomy(read.baseline)
    given = prepare(
        read.baseline,
        read.delayed,
        transform=visit.patient.to_delayed,
        anatomy=anatomy,
        fat_baseline=measure_orbital_fat(read.baseline, anatomy).median,
        fat_delayed=measure_orbital_fat(read.delayed, anatomy, visit.patient.to_delayed).median,
        recipe=recipe,
    )

    example = prepare_as_served(visit.patient, recipe)

    assert example is not None
    assert given.tensor.tobytes() == example.tensor[None].tobytes()


def choose_recipe(model: str) -> PreprocessingRecipe:
    return load_manifest(choose_model(load_config(None, {}), model).directory).recipe
