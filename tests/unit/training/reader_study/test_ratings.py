"""Forms as people fill them in: what is taken, and what is refused with file, line and what to do."""

from __future__ import annotations

import pytest

from tests.builders.reader_study import form_row, study_key, write_form, write_forms
from training.reader_study.ratings import RatingsError, find_forms, read_ratings
from training.reader_study.scale import COLUMNS

KEY = study_key()


def read(places, **options):
    given = {"allow_missing": False, **options}
    return read_ratings(find_forms([places]), KEY, **given)


def problems(places, **options):
    with pytest.raises(RatingsError) as refused:
        read(places, **options)
    return refused.value.problems


def altered(folder, **answers):
    """Forms that are well but for the first item's answers."""
    first = KEY.items[0]
    return write_forms(KEY, folder, lambda item: {"grade": 3, **(answers if item == first else {})})


def test_every_item_is_read_with_its_answers(tmp_path):
    answers = {"grade": "4", "quality": "5", "percent": "92.5", "looks": "predicted", "comment": "sharp"}
    found = read(write_forms(KEY, tmp_path, lambda item: answers))
    assert [rating.shown for rating in found] == list(KEY.items)
    assert {(r.grade, r.quality, r.percent, r.looks) for r in found} == {(4, 5, 92.5, "predicted")}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_spreadsheets_and_people_write_is_understood(delimiter, tmp_path):
    comma = {"grade": "3,0", "percent": "80,5 %"} if delimiter != "," else {"grade": "3.0", "percent": "80.5%"}
    forms = write_forms(KEY, tmp_path, lambda item: {**comma, "looks": "R", "quality": " 2 "}, delimiter=delimiter)
    assert {(r.grade, r.percent, r.looks, r.quality) for r in read(forms)} == {(3, 80.5, "real", 2)}


def test_not_gradable_is_an_answer(tmp_path):
    assert read(altered(tmp_path, grade="ng"))[0].grade is None


def test_a_missing_grade_is_refused_and_counted_only_on_demand(tmp_path):
    forms = altered(tmp_path, grade="")
    [said] = problems(forms)
    assert KEY.items[0].item in said and "--allow-missing" in said and "NG" in said
    assert len(read(forms, allow_missing=True)) == len(KEY.items) - 1


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"grade": "5"}, ["'5'", "0, 3, 4", "NG"]),
        ({"grade": "2"}, ["'2'", "0, 3, 4", "images over time"]),
        ({"grade": "3.5"}, ["'3.5'"]),
        ({"grade": "nan"}, ["'nan'"]),
        ({"grade": "three"}, ["'three'"]),
        ({"quality": "6"}, ["quality '6'", "1, 2, 3, 4, 5"]),
        ({"percent": "-3"}, ["percent '-3'", "0 and 300"]),
        ({"percent": "inf"}, ["percent 'inf'"]),
        ({"looks": "fake"}, ["looks 'fake'", "real, predicted"]),
        ({"grade": "", "quality": "3"}, ["quality but no grade"]),
    ],
)
def test_a_value_off_its_scale_is_named_with_file_and_line(answers, words, tmp_path):
    said = problems(altered(tmp_path, **answers))
    assert any("ratings-1-1.csv, line 2" in line and all(word in line for word in words) for line in said), said
    assert len(said) == 1


def test_an_item_rated_twice_is_refused_even_if_alike(tmp_path):
    forms = altered(tmp_path)
    write_form(forms / "ratings-more.csv", [form_row(KEY, KEY.items[0], {"grade": 3})])
    [said] = problems(forms)
    assert "ratings-more.csv, line 2" in said and "ratings-1-1.csv, line 2" in said and KEY.items[0].item in said


def test_an_unknown_item_is_refused(tmp_path):
    forms = altered(tmp_path)
    write_form(forms / "ratings-more.csv", [{**form_row(KEY, KEY.items[0], {"grade": 3}), "item": "ZZZZZ"}])
    [said] = problems(forms)
    assert "'ZZZZZ'" in said and KEY.study in said


@pytest.mark.parametrize(
    ("column", "value"), [("study", "OTHER1"), ("reader", "2"), ("installment", "2"), ("position", "99")]
)
def test_a_form_that_contradicts_the_key_is_refused(column, value, tmp_path):
    [said] = problems(altered(tmp_path, **{column: value}))
    assert column in said and value in said and "altered" in said


def test_missing_unknown_and_double_columns_are_named(tmp_path):
    form = tmp_path / "ratings.csv"
    for header, word in (("item,quality", "no column 'grade'"), ("item,grade,grad", "'grad'"),
                         ("item,grade,grade", "'grade' twice"), ("", "no column 'item'")):  # fmt: skip
        form.write_text(header + "\nXXXXX,3,3\n")
        said = problems(form, allow_missing=True)
        assert any(word in line and COLUMNS[-1] in line for line in said), (header, said)


def test_a_comment_with_a_stray_comma_does_not_shift_fields(tmp_path):
    form = tmp_path / "ratings.csv"
    form.write_text(f"item,grade,comment\n{KEY.items[0].item},3,dark, blurred\n")
    [said] = problems(form, allow_missing=True)
    assert "line 2" in said and "quotes" in said


def test_all_faults_are_listed_at_once(tmp_path):
    forms = write_forms(KEY, tmp_path, lambda item: {"grade": 7})
    said = problems(forms)
    assert len(said) == len(KEY.items)


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    form = tmp_path / "ratings.csv"
    form.write_bytes(b"\xff\xfe\x00item")
    assert "CSV UTF-8" in problems(form, allow_missing=True)[0]
    form.unlink()
    with pytest.raises(RatingsError, match=r"has no ratings\*.csv"):
        find_forms([tmp_path])


def test_a_study_with_all_five_grades_takes_them(tmp_path):
    key = study_key(grades=(0, 1, 2, 3, 4))
    forms = write_forms(key, tmp_path, lambda item: {"grade": 2})
    assert {r.grade for r in read_ratings(find_forms([forms]), key, allow_missing=False)} == {2}
