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
from service.imaging.examination import Examination, examine
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.recipe import prepare
from service.imaging.recipe_types import PreprocessingRecipe
from service.imaging.rigid import RigidTransform
from service.inference.manifest import load_manifest
from service.received_pair import receive_pair
from service.wiring import choose_model
from tests.builders.conversions import RecordingPredictor, anatomy_at, convert_datasets, pair_of
from tests.builders.patients import MOVED, head_after, head_before
from tests.builders.reformat import backwards, stored_as
from tests.builders.simulated import three_visits
from training.examples import Example
from training.prepare import align_as_served, make_example
from training.settings import VisitSettings
from training.simulate.cohort import scanner_grid
from training.simulate.deliver import write_dicom
from training.simulate.patient import SimulatedPatient, load_patient, save_patient

pytestmark = pytest.mark.slow
INJECTED_AT = datetime(2024, 5, 14, 9, 10)  # `training.simulate.dicom_files.INJECTED_AT`


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
    drawn = three_visits(
        (baseline, delayed, delayed),
        MOVED,
        MOVED,
        anatomy_at(baseline.grid.centre),  # preparing as served finds its own
        name="patient-001",
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

    example = prepared_with(course.registration.transform, visit.patient, recorder.manifest.recipe)

    assert given.dtype == example.tensor.dtype == np.float32
    assert given.shape == (1, *example.tensor.shape) == recorder.manifest.input_shape
    assert given.tobytes() == example.tensor[None].tobytes()
    before, after = given[0]
    assert np.abs(after - before).max() > 0.1  # two series, not one twice


def test_the_slices_of_the_paper_s_model_are_one_tensor_too(visit: Visit) -> None:
    recipe = choose_recipe("paper2d")
    read = receive_pair(pair_of(visit.series("baseline"), visit.series("delayed")), PairingPolicy()).volumes
    assert read is not None
    found = examine(read.baseline, read.delayed, Examination(clock=lambda: 0.0))
    given = prepare(found.series, anatomy=found.anatomy, recipe=recipe)

    example = prepared_with(found.delayed.transform, visit.patient, recipe)

    assert given.tensor.tobytes() == example.tensor[None].tobytes()


def prepared_with(transform: RigidTransform, patient: SimulatedPatient, recipe: PreprocessingRecipe) -> Example:
    """As training prepares what it judges on; the alignment, whose last bit the order of slices moves, is handed over.

    It is the same to a thousandth of a millimetre.
    """
    visits = VisitSettings()
    volumes = {window: visit.volume for window, visit in patient.visits.items()}
    scans, anatomy = align_as_served(volumes, recipe, visits)
    np.testing.assert_allclose(scans["1-2h"].transform.matrix, transform.matrix, atol=1e-3)
    fat = measure_orbital_fat(volumes["1-2h"], anatomy, transform).median
    scans["1-2h"] = replace(scans["1-2h"], transform=transform, fat=fat)
    return make_example(scans, anatomy, recipe, visits)


def choose_recipe(model: str) -> PreprocessingRecipe:
    return load_manifest(choose_model(load_config(None, {}), model).directory).recipe
