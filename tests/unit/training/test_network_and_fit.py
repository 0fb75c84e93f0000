"""Networks have the stated shapes, fitting is repeatable, and an export is what was fitted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from service.errors import ConfigError, ModelError
from service.inference.manifest import load_manifest
from service.inference.onnx import load_predictor, verify_parity
from training import fit as fit_module
from training.augment import augment
from training.baselines import copy_delayed, fit_linear, linear
from training.evaluate import errors, evaluate
from training.examples import Example, load_example, save_example
from training.export import export
from training.fit import fit, loss_weight
from training.losses import pinball, weighted_l1, weighted_l2
from training.model import ResidualUNet3d, UNet2d, build, count_parameters, depth_to_space, space_to_depth
from training.settings import load_recipe

FACTS = {
    "train_patients": 2,
    "train_patients_bent": 0,
    "train_examples": 2,
    "validation_patients": 1,
    "best_epoch": 1,
    "epochs": 1,
    "minutes": 0.0,
    "threads": 1,
    "commands": ["none"],
}


def tiny_recipe():
    recipe = load_recipe("volume3d")
    return replace(
        recipe,
        preprocessing=replace(recipe.preprocessing, shape=(16, 16, 16)),
        network=replace(recipe.network, base=4),
        training=replace(recipe.training, epochs=2, patience=5, precision="float32"),
    )


def examples(n):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        before = rng.random((1, 16, 16, 16), dtype=np.float32)
        after = before + np.float32(0.3) * (before < 0.3)
        late = before + np.float32(0.5) * (before < 0.3)
        found.append(
            Example(
                tensor=np.concatenate([before, after]),
                target=late - before,
                late=late,
                csf=before < 0.3,
                brain=before >= 0.3,
            )
        )
    return found


def test_the_papers_network_has_31_million_parameters():
    assert count_parameters(UNet2d(4, 2, 64)) == pytest.approx(31.1e6, rel=0.005)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_slice_network_takes_two_channels_per_time_point(times):
    assert UNet2d(2 * times, 2, 4)(torch.zeros(1, 2 * times, 32, 48)).shape == (1, 2, 32, 48)


def test_volume_network_keeps_shape_and_orders_its_quantiles():
    torch.manual_seed(0)
    network = ResidualUNet3d(2, 4).eval()
    with torch.no_grad():
        torch.nn.init.normal_(network.head.weight)
        median, lower, upper = network(torch.rand(1, 2, 16, 32, 16))[0]
    assert median.shape == (16, 32, 16)
    assert bool((lower <= median).all() and (median <= upper).all())


def test_blocks_become_channels_and_come_back_in_place():
    x = torch.rand(1, 3, 4, 6, 8)
    assert torch.equal(depth_to_space(space_to_depth(x)), x)


def test_losses_by_hand():
    answer, target = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    weight = torch.tensor([[[1.0, 3.0]]])
    assert float(weighted_l1(answer, target, weight)) == pytest.approx((1 + 6) / 4)
    assert float(weighted_l2(answer, target, weight)) == pytest.approx((1 + 12) / 4)
    three = torch.tensor([[[0.0], [0.0], [2.0]]])
    loss = pinball(three, torch.ones(1, 1, 1), torch.ones(1, 1, 1), (0.5, 0.05, 0.95))
    assert float(loss) == pytest.approx(0.5 + 0.05 + 0.05)


def test_a_voxel_of_the_ventricles_counts_as_the_recipe_says():
    (example,) = examples(1)
    ventricles = np.zeros_like(example.csf)
    ventricles[0, 8, 8, 8] = True
    settings = replace(tiny_recipe().training, csf_factor=2.0, ventricle_factor=8.0)
    weight = loss_weight(replace(example, csf=example.csf & ~ventricles, ventricles=ventricles), settings)
    assert weight[0, 8, 8, 8] == 8
    assert set(weight[example.csf & ~ventricles]) == {2}
    assert set(weight[~example.csf & ~ventricles]) == {1}
    nowhere = replace(example, csf=np.zeros_like(ventricles), brain=np.zeros_like(ventricles))
    assert set(loss_weight(nowhere, settings).ravel()) == {np.float32(settings.outside_weight)}


def test_a_wrong_fat_reference_scales_the_answer_with_the_baseline():
    torch.manual_seed(1)
    tensor, target = torch.full((1, 2, 8, 8, 8), 0.5), torch.full((1, 1, 8, 8, 8), 0.5)
    x, y, _ = augment(tensor, target, torch.ones_like(target), per_time=1)
    noise = 0.06
    assert float((x[:, :1] - y).abs().max()) < noise
    assert float((y - 0.5).abs().max()) > 0.005


def test_a_broken_off_run_goes_on_as_if_unbroken(tmp_path, monkeypatch):
    recipe, data = tiny_recipe(), examples(3)
    fit(recipe, data[:2], data[2:], tmp_path / "whole")

    class PowerCutError(Exception):
        pass

    def cut(*args):
        raise PowerCutError

    real, calls = fit_module.evaluate_loss, []
    monkeypatch.setattr(
        fit_module, "evaluate_loss", lambda *a: calls.append(1) or (real if len(calls) == 1 else cut)(*a)
    )
    with pytest.raises(PowerCutError):  # in the middle of the second epoch
        fit(recipe, data[:2], data[2:], tmp_path / "broken")
    monkeypatch.setattr(fit_module, "evaluate_loss", real)
    fit(recipe, data[:2], data[2:], tmp_path / "broken")

    states = [torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "broken")]
    assert states[0]["state"]["epoch"] == states[1]["state"]["epoch"] == 2
    for name, value in states[0]["network"].items():
        assert torch.allclose(value, states[1]["network"][name], atol=1e-5), name


def test_an_export_replays_and_another_input_agrees_too(tmp_path):
    recipe, data = tiny_recipe(), examples(3)
    torch.manual_seed(0)
    network = build(recipe).eval()
    with torch.no_grad():
        torch.nn.init.normal_(network.head.weight, std=0.1)
    figures = {**evaluate(network, recipe, data[:2], data[2:]), "anatomy": "made up", "refused": 0}
    directory = export(
        network,
        recipe,
        data[0].tensor[None],
        version="9.9.9",
        out=tmp_path,
        simulated=True,
        training=FACTS,
        metrics=figures,
    )
    assert directory.name == "volume3d-9.9.9"
    manifest = load_manifest(directory)
    assert manifest.recipe == recipe.preprocessing
    predictor = load_predictor(directory)
    assert verify_parity(directory, predictor) < 1e-4
    other = data[1].tensor[None]
    with torch.no_grad():
        assert np.abs(network(torch.from_numpy(other)).numpy() - predictor(other)).max() < 1e-4
    card = (directory / "MODEL_CARD.md").read_text()
    assert "SIMULATED" in card and "copy the delayed image" in card
    with (directory / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError):
        load_predictor(directory)


def test_linear_regression_recovers_a_linear_world():
    data = examples(2)
    world = [replace(e, late=0.2 * e.tensor[:1] + 0.7 * e.tensor[1:]) for e in data]
    assert np.abs(linear(world[1], fit_linear(world[:1])) - world[1].late).max() < 1e-3


def test_errors_are_taken_inside_their_masks():
    example = examples(1)[0]
    found = errors(example.late + 0.1 * example.csf, example)
    assert found["mae_csf"] == pytest.approx(0.1, rel=1e-4)
    assert found["mae_all"] == pytest.approx(0.1 * example.csf.mean(), rel=1e-3)
    assert errors(copy_delayed(example), example)["mse_csf"] == pytest.approx(0.04, rel=1e-3)


def test_examples_are_read_back(tmp_path):
    example = examples(1)[0]
    save_example(example, tmp_path / "a.npz")
    again = load_example(tmp_path / "a.npz")
    assert np.abs(again.tensor - example.tensor).max() < 1e-3
    assert np.array_equal(again.csf, example.csf)


def test_shipped_recipes_load_and_the_papers_is_the_papers():
    paper = load_recipe("paper")
    assert (paper.network.base, paper.training.batch, paper.training.learning_rate) == (64, 8, 1e-3)
    assert (paper.training.epochs, paper.training.loss, paper.preprocessing.mode) == (200, "l2", "slice_minmax")
    assert load_recipe("volume3d").preprocessing.predicts == "increase"
    assert load_recipe("paper2d-small").preprocessing.kind == "slice_pair"


def test_unusable_recipes_say_why(tmp_path):
    with pytest.raises(ConfigError, match="there are paper"):
        load_recipe("absent")
    path = tmp_path / "bad.toml"
    path.write_text("name = 'x'\n")
    with pytest.raises(ConfigError, match="preprocessing"):
        load_recipe(str(path))
