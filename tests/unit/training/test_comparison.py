"""One table for all methods on the same patients, and a release that fails unless the model beats the plain ones."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from service.errors import UsageError
from service.inference.manifest import load_manifest
from tests.builders.models import tiny_model
from training import cli
from training.comparison.measures import SCORES, measure
from training.comparison.methods import (
    BASELINE_COPY,
    LINEAR,
    MEAN_INCREASE,
    ORACLE,
    PATCH_RIDGE,
    PERSISTENCE,
    RESCAN,
    TISSUE_AFFINE,
    plain_methods,
)
from training.comparison.release import objections
from training.comparison.run import compare, exported_answers
from training.comparison.table import Row, paired_difference, summary, write_tables
from training.examples import Example, save_example
from training.fit import fit
from training.model import build
from training.prepared import _digest
from training.settings import load_recipe

SIDE = 32


def recipe():
    shipped = load_recipe("volume3d")
    return replace(
        shipped,
        preprocessing=replace(shipped.preprocessing, shape=(SIDE, SIDE, 32)),
        network=replace(shipped.network, base=4),
        training=replace(shipped.training, epochs=1, variants=1, precision="float32"),
    )


def example(seed, ventricle=0.2, law=None, truth=True):
    """Fluid on the left, brain on the right, a ventricle in it; by 24 h fluid has risen by 0.4, the ventricle less."""
    rng = np.random.default_rng(seed)
    shape = (1, SIDE, SIDE, 32)
    x = np.broadcast_to(np.arange(32), shape)
    inside = np.zeros(shape, bool)
    inside[:, 8:16, 8:16, 20:28] = True
    csf, brain = (x < 12) | inside, (x >= 12) & ~inside
    before = np.where(csf, 0.2, 0.5).astype(np.float32) + rng.normal(0, 0.01, shape).astype(np.float32)
    after = before + np.float32(0.2) * (csf & ~inside)
    clean = before + 0.4 * (csf & ~inside) + ventricle * inside
    late = (clean if law is None else law(before, after, inside)).astype(np.float32)
    late = np.maximum(late + rng.normal(0, 0.004, shape), 0).astype(np.float32)
    return Example(
        tensor=np.concatenate([before, after]).astype(np.float32),
        target=late - before,
        late=late,
        csf=csf,
        brain=brain,
        ventricles=inside,
        core=inside,
        space=csf & ~inside,
        clean=clean.astype(np.float32) if truth else None,
        rescan=late[..., ::1] + np.float32(0.001) if truth else None,
    )


def rows_of(gap, grades, method="network", learned=True):
    """A row whose MAE in CSF is `gap` per patient and whose grades are `grades` where the real ones are 0, 6, 8 ..."""
    real = [0.0, 6.0, 8.0, 6.0, 8.0, 0.0]
    patients = [
        {"mae_csf": g, "grade": s, "grade_real": r, "index": 0.5, "index_real": 0.5}
        | dict.fromkeys(summary_columns(), 0.1) | {"mae_csf": g}
        for g, s, r in zip(gap, grades, real, strict=True)
    ]  # fmt: skip
    return Row(method=method, patients=patients, learned=learned)


def summary_columns():
    return [
        k for k in measure(example(0).late, example(0), 2.0) if k not in ("grade", "grade_real", "index", "index_real")
    ]


def test_errors_by_region_are_those_computed_by_hand():
    case = example(1)
    found = measure(case.late + np.float32(0.1) * case.ventricles, case, span=2.0)
    share = case.ventricles.mean()
    assert found["mae_ventricles"] == pytest.approx(0.1, rel=1e-4) == pytest.approx(found["bias_ventricles"], rel=1e-4)
    assert found["mae_whole"] == pytest.approx(0.1 * share, rel=1e-3)
    assert found["psnr_whole"] == pytest.approx(10 * np.log10(4 / (0.01 * share)), rel=1e-3)
    assert found["mae_csf"] == pytest.approx(0.1 * share / case.csf.mean(), rel=1e-3)
    same = measure(case.late, case, span=2.0)
    assert same["ssim_whole"] == pytest.approx(1) and same["index"] == same["index_real"]
    assert found["ssim_ventricles"] < 1


def test_grades_are_read_from_the_images():
    grades = [measure(example(2, v).late, example(2, v), 2.0)["grade_real"] for v in (0.0, 0.15, 0.4)]
    assert grades == [SCORES["0"], SCORES["3"], SCORES["4"]]


def test_each_plain_method_knows_what_it_says_it_knows():
    train, test = [example(n) for n in range(3)], example(9)
    errors = {name: np.abs(m(test) - test.late).mean() for name, m in plain_methods(train).items()}
    assert errors[BASELINE_COPY] > errors[PERSISTENCE] > errors[MEAN_INCREASE]
    # by voxel the ventricle looks like any other fluid at baseline; by tissue, and with neighbours, less so
    assert errors[TISSUE_AFFINE] < errors[LINEAR]
    assert errors[PATCH_RIDGE] < errors[PERSISTENCE]


def test_a_law_that_a_method_can_express_is_found():
    def law(before, after, inside):
        return np.where(inside, 0.1 + 0.9 * before, 0.3 + 0.4 * before + 0.2 * after)

    train, test = [example(n, law=law) for n in range(3)], example(9, law=law)
    assert np.abs(plain_methods(train)[TISSUE_AFFINE](test) - test.late).mean() < 0.006  # noise alone is 0.003


def test_kappa_is_that_of_scikit_learn_and_what_cannot_be_graded_is_a_miss():
    row = rows_of([0.1] * 6, [0.0, 6.0, 6.0, 8.0, 8.0, 0.0])
    found = summary(row)
    ours = [patient["grade"] for patient in row.patients]
    # equal steps between 0, 3, 4 would be another weighting: theirs goes by rank, so grades 6, 7, 8 alone are compared
    upper = rows_of([0.1] * 6, [6.0, 6.0, 6.0, 8.0, 8.0, 6.0])
    upper = replace(upper, patients=[p | {"grade_real": max(p["grade_real"], 6.0)} for p in upper.patients])
    real, given = ([p[k] for p in upper.patients] for k in ("grade_real", "grade"))
    assert summary(upper)["grade_kappa"] == pytest.approx(
        cohen_kappa_score(real, given, weights="quadratic", labels=[6, 7, 8])
    )
    assert found["grade_accuracy"] == pytest.approx(4 / 6) and len(ours) == 6
    blind = replace(row, patients=[p | {"grade": float("nan")} for p in row.patients])
    assert summary(blind)["grade_accuracy"] == 0


def test_the_paired_interval_holds_the_difference_and_sees_pairs():
    """Patients differ much, methods little: only the pairing shows it."""
    base = np.array([0.1, 0.5, 0.2, 0.9, 0.3, 0.7])
    ours = [rows_of(base - 0.01, [0, 6, 8, 6, 8, 0])]
    found = paired_difference(ours, rows_of(base + np.linspace(0, 0.002, 6), [0] * 6), "mae_csf")
    assert found.low < found.value < found.high < 0
    assert found.high - found.low < 0.01


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        ([([0.05, 0.06, 0.05, 0.07, 0.05, 0.06], [0, 6, 8, 6, 8, 0])] * 3, None),
        ([([0.05, 0.06, 0.05, 0.07, 0.05, 0.06], [0, 6, 8, 6, 8, 0])] * 2, "2 seeds"),
        ([([0.25, 0.06, 0.05, 0.27, 0.05, 0.26], [0, 6, 8, 6, 8, 0])] * 3, "whole interval"),
        ([([0.05, 0.06, 0.05, 0.07, 0.05, 0.06], [8, 0, 0, 0, 0, 8])] * 3, "weighted kappa"),
        ([([0.05, 0.06, 0.05, 0.07, 0.05, 0.06], [float("nan")] * 6)] * 3, "cannot be computed"),
    ],
)
def test_a_release_needs_seeds_a_smaller_error_and_better_grades(networks, words):
    others = [rows_of([0.1, 0.12, 0.1, 0.13, 0.1, 0.12], [6, 6, 6, 6, 8, 0], name, learned=False)
              for name in (PERSISTENCE, LINEAR)]  # fmt: skip
    found = objections([rows_of(*n) for n in networks], others)
    assert (not found) if words is None else any(words in text for text in found)


def test_agreement_by_chance_is_no_release_even_where_the_baselines_cannot_be_graded():
    blind = [rows_of([0.2] * 6, [float("nan")] * 6, name, learned=False) for name in (PERSISTENCE, LINEAR)]
    good, bad = [0.05, 0.06, 0.05, 0.07, 0.05, 0.06], [8, 6, 0, 6, 6, 8]
    assert objections([rows_of(good, [0, 6, 8, 6, 8, 0])] * 3, blind) == []
    assert any("more than 0.00 is wanted" in text for text in objections([rows_of(good, bad)] * 3, blind))


def test_a_missing_baseline_blocks_the_release():
    network = rows_of([0.05] * 6, [0, 6, 8, 6, 8, 0])
    assert any("not in the table" in text for text in objections([network] * 3, []))


def test_all_rows_stand_on_the_same_patients_with_label_and_truth(tmp_path):
    torch.manual_seed(0)
    test = [example(n, v) for n, v in ((10, 0.0), (11, 0.15), (12, 0.4))]
    rows = compare({"network a": build(recipe()), "network b": build(recipe())}, recipe(), [example(0)], test)
    assert {row.method for row in rows} >= {RESCAN, ORACLE, PERSISTENCE, "network a"}
    assert all(len(row.patients) == 3 for row in rows)
    text = write_tables(rows, ["p1", "p2", "p3"], "SIMULATED patients", tmp_path)
    assert text.startswith("**SIMULATED patients.** 3 test patients") and "network, mean of 2 seeds" in text
    lines = list(csv.DictReader((tmp_path / "table.csv").open(encoding="utf-8", newline="")))
    assert {line["data"] for line in lines} == {"SIMULATED patients"}
    by_name = {line["method"]: line for line in lines}
    assert float(by_name[ORACLE]["mae_csf"]) < float(by_name[PERSISTENCE]["mae_csf"])
    assert int(by_name["network a"]["parameters"]) > 1000
    assert len(list(csv.DictReader((tmp_path / "patients.csv").open(encoding="utf-8", newline="")))) == 3 * len(rows)


def test_acquired_patients_have_no_rows_of_truth():
    rows = compare({}, recipe(), [example(0)], [example(10, truth=False), example(11)])
    assert not {row.method for row in rows} & {RESCAN, ORACLE}


def test_an_exported_model_stands_beside_only_if_its_input_is_made_alike(tmp_path):
    directory = tiny_model(tmp_path, (1, 2, 16, 16))
    with pytest.raises(UsageError, match="prepared otherwise"):
        exported_answers(directory, recipe(), [example(0)])
    alike = replace(load_recipe("paper2d-small"), preprocessing=load_manifest(directory).recipe)
    plane = np.full((2, 16, 16), 0.25, np.float32)
    given = Example(tensor=plane, target=plane, late=plane, csf=plane > 0, brain=plane > 0)
    assert np.allclose(exported_answers(directory, alike, [given])[0], 0.5)  # that model takes square roots


def test_the_command_fails_where_a_release_recipe_does_not_win(tmp_path, monkeypatch):
    tiny = recipe()
    monkeypatch.setattr("training.loading.load_recipe", lambda _: tiny)
    folder = tmp_path / "tensors"
    folder.mkdir()
    split = {"train": ["a"], "val": ["b"], "test": ["c", "d"]}
    for number, name in enumerate("abcd"):
        save_example(example(number), folder / f"{name}-0.npz")
    facts = {"simulated": True, "recipe": "volume3d", "digest": _digest(tiny), "variants": 1, "split": split,
             "split_sha256": "", "refused": [], "kept": {},
             "facts": {"bent": 0, "commands": [], "option": ""}}  # fmt: skip
    (folder / "prepared.json").write_text(json.dumps(facts))
    fit(tiny, [example(0)], [example(1)], tmp_path / "run")
    words = ["compare", "volume3d", "--prepared", folder, "--out", tmp_path / "table", "--run", tmp_path / "run"]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, [str(word) for word in words])
    assert isinstance(done.exception, UsageError) and "may not be released" in str(done.exception)
    assert "1 seeds" in str(done.exception)
    assert "SIMULATED" in (tmp_path / "table" / "table.md").read_text()
