"""The founding paper's figures from runs of one's own: columns in its order, rows real, numbers beside each picture."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from service.errors import UsageError
from tests.builders.reader_study import study_key, write_forms
from training import cli
from training.evaluate import evaluate, write_figures
from training.examples import Example
from training.figures.panels import panels
from training.figures.pictures import read_pictures, write_pictures
from training.fit import fit
from training.model import build
from training.reader_study.key import write_key
from training.settings import load_recipe


def slice_recipe(loss="l2", inputs=("baseline", "delayed")):
    recipe = load_recipe("paper2d-small")
    return replace(
        recipe,
        preprocessing=replace(recipe.preprocessing, shape=(32, 32), time_points=inputs),
        network=replace(recipe.network, base=4),
        training=replace(recipe.training, loss=loss, epochs=2, batch=1, precision="float32"),
    )


def slice_examples(n, inputs=2, seed=0):
    """Sagittal pictures are brighter above, axial ones to the right; each time point is 0.2 brighter than the last."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 0.4, 32, dtype=np.float32)
    planes = np.stack([np.broadcast_to(ramp[::-1, None], (32, 32)), np.broadcast_to(ramp, (32, 32))])
    found = []
    for _ in range(n):
        grain = rng.normal(0, 0.01, (2, 32, 32)).astype(np.float32)
        late = planes + 0.4 + grain
        tensor = np.concatenate([planes + 0.2 * t for t in range(inputs)])
        mask = planes > 0.2
        found.append(Example(tensor=tensor, target=late, late=late, csf=mask, brain=~mask))
    return found


def evaluated(folder, recipe, names=("patient-001", "patient-004")):
    data = slice_examples(3, len(recipe.preprocessing.time_points))
    fit(recipe, data[:1], data[:1], folder)
    network = build(recipe)
    network.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    write_figures(evaluate(network, recipe, data[:1], data[1:]), folder / "figures.json")
    write_pictures(network, recipe, data[1:], names, folder / "pictures.npz")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {loss: evaluated(folder / f"run-{loss}", slice_recipe(loss)) for loss in ("l1", "l2")}


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["figures", *map(str, arguments)])


def test_columns_stand_in_the_paper_s_order_whatever_the_order_of_the_runs(runs):
    read = [read_pictures(runs[loss]) for loss in ("l1", "l2")]
    found = panels(read, "patient-004", "axial", "delayed")
    assert [panel.title for panel in found] == [
        "a: 1-2 h", "b: 24 h, real", "c: 24 h, predicted (l2)", "d: |b - c|", "e: 24 h, predicted (l1)", "f: |b - e|",
    ]  # fmt: skip
    a, b, c, d, e, f = (panel.picture for panel in found)
    example = slice_examples(3)[2]
    assert np.allclose(a, example.tensor[3], atol=1e-3)
    assert np.allclose(b, example.late[1], atol=1e-3)
    assert np.allclose(c, read[1].planes["axial"][1, -1]) and np.allclose(e, read[0].planes["axial"][1, -1])
    assert np.allclose(d, np.abs(b - c)) and np.allclose(f, np.abs(b - e))
    assert [panel.is_difference for panel in found] == [False, False, False, True, False, True]


def test_one_run_gives_four_columns(runs):
    found = panels([read_pictures(runs["l1"])], "patient-001", "sagittal", "baseline")
    assert [panel.title[0] for panel in found] == list("abcd")
    assert found[0].picture[0].mean() > found[0].picture[-1].mean()  # the vertex is above


def test_volumes_show_their_middle_planes_upright(tmp_path):
    recipe = load_recipe("volume3d")
    recipe = replace(
        recipe,
        preprocessing=replace(recipe.preprocessing, shape=(16, 16, 32)),
        network=replace(recipe.network, base=4),
    )
    late = np.zeros((1, 16, 16, 32), np.float32)
    late[0, 15, :, 16], late[0, 8, 0, :] = 1.0, 0.5  # vertex in the mid-sagittal plane; forehead in the axial one
    mask = np.ones_like(late, dtype=bool)
    example = Example(tensor=np.zeros((2, 16, 16, 32), np.float32), target=late, late=late, csf=mask, brain=mask)
    write_pictures(build(recipe), recipe, [example], ["p"], tmp_path / "pictures.npz")
    read = read_pictures(tmp_path)
    sagittal, axial = (read.shown(0, plane, "real") for plane in ("sagittal", "axial"))
    assert sagittal.shape == (16, 16) and axial.shape == (16, 32)
    assert (sagittal[0] == 1).all() and (axial[0] == 0.5).all()


def test_one_command_draws_everything_with_its_numbers(runs, tmp_path):
    alone = evaluated(tmp_path / "alone", slice_recipe(inputs=("baseline",)))
    key = study_key(patients=6, readers=3)
    write_key(key, tmp_path / "key.json")
    forms = write_forms(key, tmp_path / "forms", lambda item: {"grade": (0, 3, 4)[int(item.patient[-1]) % 3]})
    score = ["reader-study", "score", forms, "--key", tmp_path / "key.json", "--out", tmp_path / "r", "--draws", 100]
    assert CliRunner().invoke(cli.app, [str(word) for word in score]).exit_code == 0
    out = tmp_path / "figures"
    done = draw("--run", runs["l1"], "--run", runs["l2"], "--baseline-run", alone,
                "--reading", tmp_path / "r" / "agreement.json", "--out", out)  # fmt: skip
    assert done.exit_code == 0, done.exception
    for name in ("figure4", "figure5", "figure6", "figureA1"):
        with Image.open(out / f"{name}.png") as picture:
            assert "SIMULATED" in picture.text["Title"]
            assert np.asarray(picture.convert("L")).std() > 5  # not an empty page
        assert len(rows(out / f"{name}.csv")) > 1
    assert [(r["case"], r["plane"], r["loss"]) for r in rows(out / "figure5.csv")][:4] == [
        ("patient-001", "sagittal", "l2"), ("patient-001", "sagittal", "l1"),
        ("patient-001", "axial", "l2"), ("patient-001", "axial", "l1"),
    ]  # fmt: skip
    assert {r["case"] for r in rows(out / "figure4.csv")} == {"patient-001"}
    assert [r["epoch"] for r in rows(out / "figureA1.csv")] == ["1", "2"] * 3
    same = [r for r in rows(out / "figure6.csv") if r["grade_real"] == r["grade_predicted"] and r["reader"] == "2"]
    assert [(r["count"], r["of_row"]) for r in same] == [("2", "2"), ("2", "2"), ("2", "2"), ("0", "0")]


def test_table_2_holds_what_evaluate_found(runs, tmp_path):
    assert draw("--run", runs["l2"], "--out", tmp_path).exit_code == 0
    figures = json.loads((runs["l2"] / "figures.json").read_text())
    found = {row["method"]: row for row in rows(tmp_path / "table2.csv")}
    assert set(found) == set(figures["rows"])
    assert float(found["model"]["MSE"]) == figures["rows"]["model"]["mse_all"]
    assert (found["model"]["given"], found["model"]["loss"], found["model"]["patients"]) == (
        "baseline + delayed",
        "l2",
        "2",
    )
    assert "SIMULATED" in (tmp_path / "table2.md").read_text()


def test_pictures_of_figure_5_have_the_errors_of_table_2(runs):
    """Of both planes and all cases together: the same images, the same predictions."""
    read = read_pictures(runs["l2"])
    gaps = [read.planes[plane][:, -2] - read.planes[plane][:, -1] for plane in ("sagittal", "axial")]
    figures = json.loads((runs["l2"] / "figures.json").read_text())
    assert np.mean(np.square(gaps)) == pytest.approx(figures["rows"]["model"]["mse_all"], rel=0.01)


def test_what_cannot_be_drawn_is_said(runs, tmp_path):
    other = evaluated(tmp_path / "other", slice_recipe(), names=("patient-001", "patient-009"))
    for arguments, words in (
        ([], "nothing to draw"),
        (["--cohort", "."], "found no patients"),
        (["--run", tmp_path], "no usable pictures.npz"),
        (["--run", runs["l2"], "--run", other], "same loss"),
        (["--run", runs["l2"], "--case", "patient-009"], "no held-out patient-009; it has patient-001, patient-004"),
        (["--reading", runs["l2"] / "figures.json"], "no agreement.json"),
    ):
        done = draw("--out", tmp_path / "o", *arguments)
        assert isinstance(done.exception, UsageError), done.output
        assert words in str(done.exception)


def test_runs_on_other_images_are_not_set_side_by_side(runs, tmp_path):
    recipe = slice_recipe("l1")
    data = slice_examples(2, seed=9)
    write_pictures(build(recipe), recipe, data, ("patient-001", "patient-004"), tmp_path / "pictures.npz")
    done = draw("--out", tmp_path / "o", "--run", runs["l2"], "--run", tmp_path)
    assert "not evaluated on the same images" in str(done.exception)


def test_tracer_over_time_is_drawn_beside_the_measurement(tmp_path):
    hours = {"baseline": -1.2, "1-2h": 1.5, "24h": 24.0, "48h": 48.0, "29d": 700.0}
    for n, dose_share in enumerate((0.1, 0.2, 0.3)):
        amounts = {
            "csf_mmol": 0.4 * 0.5 * dose_share,
            "brain_mmol": 0.6 * 0.5 * dose_share,
            "total_mmol": 0.5 * dose_share,
        }
        facts = {"hours": hours, "truth": {"visits": {window: amounts for window, h in hours.items() if h > 0}}}
        np.savez(tmp_path / f"patient-00{n}.npz", facts=json.dumps(facts))

    assert draw("--cohort", tmp_path, "--out", tmp_path / "out").exit_code == 0

    found = rows(tmp_path / "out" / "tracer.csv")
    assert [row["visit"] for row in found] == ["1-2h", "24h", "48h"]
    assert (found[1]["patients"], found[1]["total, % of dose, median"]) == ("3", "20.00")
    assert (found[1]["brain, % of dose, 10th percentile"], found[1]["csf, % of dose, 90th percentile"]) == (
        "7.20",
        "11.20",
    )
    with Image.open(tmp_path / "out" / "tracer.png") as drawn:
        assert "SIMULATED" in drawn.text["Title"]
