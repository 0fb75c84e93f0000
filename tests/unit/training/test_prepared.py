"""A prepared folder knows where it came from, who was left out and who was kept although refused."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from service.errors import InputRefused, Reason, UsageError
from training.examples import Example
from training.prepared import NOT_YET, open_prepared, prepare_cohort
from training.settings import load_recipe

DULL = Reason(code="FLUID_BRIGHT", message="Bright.", measured=0.6, limit="at most 0.52")


class Told:
    """Patients a to e: c is refused, d is refused and kept, e is not there yet."""

    simulated = True
    split = {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}  # noqa: RUF012 - a test's
    facts = {"bent": 0, "commands": [], "option": ""}  # noqa: RUF012

    def __init__(self, there="abcd"):
        self.kept, self.there, self.made = {}, there, []

    def examples(self, name, part, recipe):
        if name == "c":
            raise InputRefused(DULL)
        if name not in self.there:
            raise InputRefused(Reason(code=NOT_YET, message="Not yet."))
        if name == "d":
            self.kept[name] = (DULL,)
        self.made.append(name)
        x = np.zeros((2, 4, 4, 4), np.float32)
        for _ in range(recipe.training.variants if part == "train" else 1):
            yield Example(tensor=x, target=x[:1], late=x[:1], csf=x[:1] > 0, brain=x[:1] > 0)


def report(folder):
    return {r["patient"]: (r["examples"], r["code"]) for r in csv.DictReader((folder / "report.csv").open(newline=""))}


def test_who_was_refused_and_who_was_kept_is_remembered(tmp_path):
    recipe = load_recipe("volume3d")
    prepare_cohort(Told(), tmp_path, recipe)
    expected = {"a": ("2", ""), "b": ("2", ""), "c": ("0", "FLUID_BRIGHT"), "d": ("1", "FLUID_BRIGHT"),
                "e": ("0", NOT_YET)}  # fmt: skip
    assert report(tmp_path) == expected
    assert open_prepared(tmp_path, recipe).refused == ("c",)  # who is still to come is not refused
    again = Told("abcde")
    prepare_cohort(again, tmp_path, recipe)
    assert again.made == ["e"]  # the others were there
    assert report(tmp_path) == {**expected, "e": ("1", "")}
    opened = open_prepared(tmp_path, recipe)
    assert (opened.kept, opened.refused, opened.names("test")) == (("d",), ("c",), ["d", "e"])
    assert len(opened.load("train")) == 4 and opened.load("val") == []
    text = (tmp_path / "report.txt").read_text()
    assert text.startswith("SIMULATED. 5 patients") and "1 of them although the service refuses them" in text


def test_folders_are_not_mixed(tmp_path):
    recipe = load_recipe("volume3d")
    prepare_cohort(Told(), tmp_path, recipe)
    other = replace(recipe, visits=replace(recipe.visits, target="48h"))
    with pytest.raises(UsageError, match="another recipe or from another cohort"):
        prepare_cohort(Told(), tmp_path, other)
    real = Told()
    real.simulated = False
    with pytest.raises(UsageError, match="another recipe or from another cohort"):
        prepare_cohort(real, tmp_path, recipe)
    with pytest.raises(UsageError, match="prepared by recipe volume3d"):
        open_prepared(tmp_path, other)


def test_a_folder_that_does_not_say_that_it_is_real_is_simulated(tmp_path):
    recipe = load_recipe("volume3d")
    prepare_cohort(Told(), tmp_path, recipe)
    path = tmp_path / "prepared.json"
    for said in (True, None, "no", 0):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"simulated": said}))
        assert open_prepared(tmp_path, recipe).simulated is True
