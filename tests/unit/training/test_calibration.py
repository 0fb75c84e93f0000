"""The interval is moved until it holds what it promises in patients it was not fitted on; the service moves it so."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from service.errors import ModelError, UsageError
from service.inference.calibration import Calibration, calibrated
from service.inference.manifest import check_served, load_manifest
from service.inference.onnx import load_predictor
from tests.builders.models import tiny_model
from training.calibrate import calibrate, coverage_table, offset_needed, slack
from training.examples import Example
from training.settings import load_recipe

SHAPE = (1, 8, 16, 16)


class Overconfident(nn.Module):
    """Says 0 +- 0.1 whatever it is given."""

    def forward(self, x):
        zero = torch.zeros_like(x[:, :1])
        return torch.cat([zero, zero - 0.1, zero + 0.1], dim=1)


def patients(n, seed):
    """The increase of each patient scatters by 0.2, with a patient's own error of 0.1 on top."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        target = (rng.normal(0, 0.2, SHAPE) + rng.normal(0, 0.1)).astype(np.float32)
        mask = np.ones(SHAPE, bool)
        found.append(
            Example(tensor=np.zeros((2, *SHAPE[1:]), np.float32), target=target, late=target, csf=mask, brain=mask)
        )
    return found


@pytest.mark.parametrize(
    ("n", "rank", "guaranteed"), [(9, 9, 0.9), (8, 8, 8 / 9), (19, 18, 0.9), (21, 20, 20 / 22), (1, 1, 0.5)]
)
def test_what_so_few_patients_can_promise(n, rank, guaranteed):
    found = slack(n)
    assert (found.rank, found.guaranteed) == (rank, pytest.approx(guaranteed))
    assert ("would be needed" in found.text) == (guaranteed < 0.9 - 1e-9) and found.fewest == 9


def test_a_bound_is_moved_by_what_the_share_of_voxels_needs():
    truth = np.arange(100, dtype=np.float32)
    assert np.mean(truth <= 10 + offset_needed(np.full(100, 10.0, np.float32), truth, 0.95)) == pytest.approx(
        0.95, abs=0.01
    )


def test_calibrated_bounds_keep_the_promise_on_other_patients():
    """Over many cohorts, a further patient is covered on each side at least as often as is guaranteed."""
    recipe, network = load_recipe("volume3d"), Overconfident()
    kept = []
    for seed in range(60):
        *validation, further = patients(10, seed)
        found, cost = calibrate(network, recipe, validation, simulated=True)
        bounds = calibrated(network(torch.zeros(1, 2, *SHAPE[1:])).numpy(), found)[0]
        kept += [(further.target[0] >= bounds[1]).mean() >= 0.95, (further.target[0] <= bounds[2]).mean() >= 0.95]
    assert cost.guaranteed == pytest.approx(0.9)
    assert np.mean(kept) > 0.9 - 3 * np.sqrt(0.09 / len(kept))
    before, after = (
        coverage_table(network, patients(8, 999), found)[when]["brain + CSF"] for when in ("before", "after")
    )
    assert before.mean() < 0.5 and after.mean() > 0.88


def test_bounds_never_cross_the_median():
    output = np.array([[0.0], [-0.1], [0.2]], np.float32).reshape(1, 3, 1, 1, 1)
    narrow = Calibration(offsets=(0.0, 0.5, -0.5), coverage=0.95, patients=9, guaranteed=0.9, simulated=True)
    assert calibrated(output, narrow).ravel().tolist() == [0, 0, 0]
    assert calibrated(output, None) is output
    assert output[0, 1, 0, 0, 0] == np.float32(-0.1)  # the answer itself is left alone


def test_models_without_an_interval_are_not_calibrated():
    with pytest.raises(UsageError, match="interval"):
        calibrate(Overconfident(), load_recipe("paper2d-small"), patients(2, 0), simulated=True)


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path, (1, 2, 16, 16))


def rewritten(model, **changes):
    manifest = replace(load_manifest(model), **changes)
    (model / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return load_manifest(model)


def test_a_manifest_keeps_its_calibration_and_old_ones_have_none(model):
    assert load_manifest(model).calibration is None
    text = (model / "manifest.json").read_text(encoding="utf-8")
    (model / "manifest.json").write_text(text.replace('"calibration": null,', "").replace('"target": "24h",', ""))
    assert load_manifest(model).calibration is None and load_manifest(model).target == "24h"
    recipe = replace(load_manifest(model).recipe, quantiles=(0.5, 0.05, 0.95))
    wanted = Calibration(offsets=(0.0, -0.02, 0.03), coverage=0.95, patients=9, guaranteed=0.9, simulated=True)
    assert rewritten(model, recipe=recipe, calibration=wanted).calibration == wanted
    assert "9 SIMULATED patients" in wanted.text


@pytest.mark.parametrize("offsets", [(0.0, 0.1), (0.1, 0.0, 0.0), (0.0, float("nan"), 0.1)])
def test_a_calibration_that_does_not_fit_is_refused(model, offsets):
    recipe = replace(load_manifest(model).recipe, quantiles=(0.5, 0.05, 0.95))
    text = replace(load_manifest(model), recipe=recipe).to_json()
    said = str(list(offsets)).replace("nan", "NaN")
    entry = f'{{"offsets": {said}, "coverage": 0.9, "patients": 9, "guaranteed": 0.9, "simulated": true}}'
    (model / "manifest.json").write_text(text.replace('"calibration": null', f'"calibration": {entry}'))
    with pytest.raises(ModelError, match="not valid"):
        load_manifest(model)


def test_the_service_takes_no_model_of_other_visits(model):
    check_served(load_predictor(model).manifest)
    with pytest.raises(ModelError, match="foretells 48h"):
        check_served(rewritten(model, target="48h"))
    recipe = replace(load_manifest(model).recipe, time_points=("baseline", "3-5h"))
    with pytest.raises(ModelError, match="wants the visits 3-5h"):
        check_served(rewritten(model, target="24h", recipe=recipe))
