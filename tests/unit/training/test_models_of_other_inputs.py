"""A recipe may give a model the baseline alone (the founding paper's first experiment): the answer is still 24 h."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from service.imaging.anatomy import find_anatomy
from tests.builders.patients import MOVED, head_after, head_before
from tests.builders.reader_study import LATE_POSE, head_late
from tests.builders.simulated import three_visits
from training.augment import augment
from training.prepare import prepare_patient
from training.settings import load_recipe


@pytest.fixture(scope="module")
def patient():
    volumes = (head_before(), head_after(), head_late())
    return three_visits(volumes, MOVED, LATE_POSE, find_anatomy(head_before()))


def test_the_answer_does_not_depend_on_what_the_model_is_given(patient):
    recipe = load_recipe("paper2d-small").preprocessing
    both = prepare_patient(patient, recipe)
    alone = prepare_patient(patient, replace(recipe, time_points=("baseline",)))
    assert alone.tensor.shape == (2, 256, 256)
    assert np.array_equal(alone.tensor, both.tensor[:2])
    assert np.array_equal(alone.late, both.late) and np.array_equal(alone.target, both.target)
    assert (alone.late - alone.tensor)[alone.csf].mean() > 0.1  # tracer


@pytest.mark.parametrize("times", [1, 2, 3])
def test_any_number_of_time_points_is_varied(times):
    torch.manual_seed(2)
    tensor, target = torch.full((3, 2 * times, 16, 16), 0.5), torch.full((3, 2, 16, 16), 0.5)
    x, y, _ = augment(tensor, target, torch.ones_like(target), per_time=2)
    assert x.shape == tensor.shape and y.shape == target.shape
    assert float((x - 0.5).abs().mean()) > 0.005
    means = x.mean(dim=(2, 3))
    if times > 1:  # each time point has a fat error of its own
        assert float((means[:, 0::2][:, 0] - means[:, 0::2][:, -1]).abs().max()) > 0.002
