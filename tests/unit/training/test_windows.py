"""Visits are named by half-open windows that a site may set; recipes name any of them as input and as answer."""

from dataclasses import replace

import pytest

from service.errors import ConfigError
from tests.builders.recipe_text import recipe_text
from training.settings import load_recipe
from training.windows import load_windows, windows_from


def recipe(tmp_path, target="24h", points='["baseline", "delayed", "5-7h"]'):
    path = tmp_path / "mine.toml"
    visits = f'delayed = "3-5h"\ntarget = "{target}"'
    text = recipe_text(visits=visits, points=points, side=16, spacing_mm=2.0, variants=1)
    path.write_text(text, encoding="utf-8")
    return load_recipe(str(path))


@pytest.mark.parametrize(
    ("hours", "name"),
    [(-2.7, "baseline"), (0.0, None), (0.99, None), (1.0, "1-2h"), (1.999, "1-2h"), (2.0, None), (2.01, None),
     (4.3, "3-5h"), (5.0, "5-7h"), (23.8, "24h"), (28.0, None), (47.8, "48h"), (69.8, None), (696.0, "29d")],
)  # fmt: skip
def test_the_earlier_end_is_inside_and_the_later_one_is_not(hours, name):
    assert load_windows().of(hours) == name


def test_both_sets_of_the_paper_are_there():
    assert "5-6h" in load_windows("methods").names and "5-7h" in load_windows("results").names


def test_windows_of_one_s_own_are_read_from_a_file(tmp_path):
    path = tmp_path / "w.toml"
    path.write_text("[mine]\nbaseline = [-100, 0]\nearly = [0.5, 3]\nlate = [20, 30]\n", encoding="utf-8")
    assert load_windows(f"{path}#mine").of(2.5) == "early"


def test_all_faults_of_a_set_are_named_at_once():
    with pytest.raises(ConfigError) as refused:
        windows_from({"a": [1, 3], "b": [2, 4], "c": [5, 5]})
    assert all(word in str(refused.value) for word in ("overlap", "'c'", "no window 'baseline'"))


def test_a_recipe_may_take_any_visits_and_foretell_any_later_one(tmp_path):
    found = recipe(tmp_path, target="48h")
    assert [found.visits.window_of(p) for p in found.preprocessing.time_points] == ["baseline", "3-5h", "5-7h"]
    assert recipe(tmp_path, target="29d").visits.target == "29d"


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"target": "25h"}, "no window 25h"), ({"points": '["delayed"]'}, "first time point"),
     ({"target": "3-5h"}, "visits before it")],
)  # fmt: skip
def test_recipes_that_make_no_sense_say_why(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        recipe(tmp_path, **changes)


def test_the_shipped_recipes_keep_the_service_s_inputs_and_answer():
    for name in ("volume3d", "paper2d-small", "paper"):
        shipped = load_recipe(name)
        assert shipped.visits == replace(shipped.visits, delayed="1-2h", target="24h")
