"""Input unlike a model's training patients is refused, by a limit that rests on other patients."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from service.errors import ModelError, UsageError
from service.inference.manifest import load_manifest
from service.inference.reach import Reach, check_reach, features
from tests.builders.models import tiny_model
from training.examples import Example
from training.reach import find_reach, read_reach, write_reach

SHAPE = (24, 24, 24)


def patient(seed, dose=0.2, contrast=0.5, times=2):
    rng = np.random.default_rng(seed)
    z = np.linspace(-1, 1, 24)
    head = (z[:, None, None] ** 2 + z[None, :, None] ** 2 + z[None, None, :] ** 2) < 0.9 * rng.uniform(0.9, 1)
    fluid = head & (z[:, None, None] < -0.3)
    before = (head * contrast * rng.normal(1, 0.04) - 0.3 * fluid).clip(0) + rng.normal(0, 0.01, SHAPE)
    after = before + fluid * dose * rng.normal(1, 0.2)
    tensor = np.stack([before, after][:times]).clip(0, 2).astype(np.float32)
    mask = np.ones((1, *SHAPE), bool)
    return Example(tensor=tensor, target=tensor[:1], late=tensor[:1], csf=mask, brain=mask)


@pytest.fixture(scope="module")
def reach():
    return find_reach([patient(n) for n in range(40)], [patient(100 + n) for n in range(19)], 2)


def refused(reach, example):
    return [reason.code for reason in check_reach(example.tensor[None], 2, reach).rejections]


def test_patients_like_the_training_s_are_taken(reach):
    share = np.mean([bool(refused(reach, patient(1000 + n))) for n in range(60)])
    assert share < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.parametrize(
    "other",
    [patient(1, dose=1.2), patient(1, dose=0.0), patient(1, contrast=0.9)],
    ids=["dose", "no tracer", "contrast"],
)
def test_another_dose_or_contrast_is_refused(reach, other):
    assert refused(reach, other) == ["INPUT_UNUSUAL"]


def test_an_input_without_signal_is_refused_and_a_model_without_a_limit_asks_nothing(reach):
    nothing = np.zeros((1, 2, *SHAPE), np.float32)
    assert [c.passed for c in check_reach(nothing, 2, reach).checks] == [False]
    assert check_reach(nothing, 2, None).checks == ()


def test_a_gain_of_one_channel_moves_the_figures_that_it_should():
    one = patient(3)
    brighter = replace(one, tensor=one.tensor * np.array([1, 1.1], np.float32)[:, None, None, None])
    moved = features(brighter.tensor[None], 2) - features(one.tensor[None], 2)
    assert np.all(moved[:6] == 0) and np.all(moved[6:10] > 0)
    assert len(features(patient(3, times=1).tensor[None], 1)) == 6


def test_files_keep_it_and_a_damaged_one_is_refused(reach, tmp_path):
    write_reach(reach, tmp_path)
    assert read_reach(tmp_path) == reach and read_reach(tmp_path / "absent") is None
    model = tiny_model(tmp_path, (1, 2, 16, 16))
    manifest = replace(load_manifest(model), reach=reach)
    (model / "manifest.json").write_text(manifest.to_json())
    assert load_manifest(model).reach == reach
    (model / "manifest.json").write_text(manifest.to_json().replace(f'"limit": {reach.limit!r}', '"limit": -1.0'))
    with pytest.raises(ModelError, match="not valid"):
        load_manifest(model)
    with pytest.raises(ValueError, match="matrix"):
        Reach(**{**asdict(reach), "mean": reach.mean[1:]})


def test_too_few_patients_give_none():
    with pytest.raises(UsageError, match="no reach"):
        find_reach([patient(1)], [patient(2)], 2)
