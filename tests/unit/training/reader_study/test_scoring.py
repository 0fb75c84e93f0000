"""Forms in, figures out: known answers through the command, in every file it writes."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.builders.html import parse
from tests.builders.reader_study import MODEL, study_key, write_forms
from training import cli
from training.reader_study.analysis import analyse
from training.reader_study.key import REAL, REAL_AGAIN, read_key, write_key
from training.reader_study.ratings import find_forms, read_ratings

# patient -> grades of reader 1 (real, predicted) and reader 2: chosen by hand
ANSWERS = {
    "patient-000": ((0, 0), (0, 0)),
    "patient-001": ((0, 3), (0, 0)),
    "patient-002": ((3, 3), (3, 4)),
    "patient-003": ((3, 3), (4, 4)),
    "patient-004": ((4, 3), (4, 4)),
    "patient-005": ((4, 4), (4, "NG")),
    "patient-006": (("NG", 3), (3, 3)),
}


def answer(item):
    real, predicted = ANSWERS[item.patient][item.reader - 1]
    number = int(item.patient[-1])
    kind = "real" if item.version == REAL else "predicted"
    return {
        "grade": real if kind == "real" else predicted,
        "quality": 5 if kind == "real" else 3,
        "percent": 50 + number + (0 if kind == "real" else 2 + number % 2),
        "looks": kind if number < 4 else "real",
    }


@pytest.fixture
def scored(tmp_path):
    key = study_key(patients=7, left_out={"patient-009": ["NO_TRACER: none seen"]})
    write_key(key, tmp_path / "key.json")
    forms = write_forms(key, tmp_path / "forms", answer)
    arguments = ["reader-study", "score", str(forms), "--key", str(tmp_path / "key.json"), "--out", str(tmp_path / "o")]
    said = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, [*arguments, "--draws", "200"])
    assert said.exit_code == 0, said.output
    return said.output, tmp_path / "o"


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_transitions_have_real_in_rows_and_predicted_in_columns(scored):
    _, out = scored
    document = json.loads((out / "agreement.json").read_text())
    first, second = document["readings"]
    assert first["transitions"]["rows"] == "grade on the real image"
    assert first["transitions"]["labels"] == ["0", "3", "4", "NG"]
    assert first["transitions"]["counts"] == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0]]
    assert second["transitions"]["counts"] == [[2, 0, 0, 0], [0, 1, 1, 0], [0, 0, 2, 1], [0, 0, 0, 0]]
    for row in first["transitions"]["cells"]:
        assert sum(cell["value"] for cell in row) == pytest.approx(1)
    [cell] = [
        r
        for r in rows(out / "transitions.csv")
        if (r["reader"], r["grade_real"], r["grade_predicted"]) == ("1", "0", "3")
    ]
    assert (cell["count"], cell["of_row"], cell["share"]) == ("1", "2", "0.5")
    assert (float(cell["low"]), float(cell["high"])) == pytest.approx((0.0945, 0.9055), abs=1e-4)  # Wilson, 1 of 2


def test_strong_reflux_counts_what_was_not_gradable_openly(scored):
    first, second = json.loads((scored[1] / "agreement.json").read_text())["readings"]
    cut = first["strong_reflux"]
    assert (cut["sensitivity"]["count"], cut["sensitivity"]["of"]) == (4, 4)
    assert (cut["specificity"]["count"], cut["specificity"]["of"]) == (1, 2)
    assert cut["real_not_gradable"] == 1
    cut = second["strong_reflux"]
    assert (cut["sensitivity"]["count"], cut["sensitivity"]["of"]) == (4, 4)
    assert (cut["sensitivity_all"]["count"], cut["sensitivity_all"]["of"]) == (4, 5)


def test_coefficients_are_of_the_graded_pairs(scored):
    document = json.loads((scored[1] / "agreement.json").read_text())
    found = {entry["comparison"]: entry for entry in document["agreement"]}
    one = found[f"reader 1: real and {MODEL}"]
    assert one["patients"] == 6
    assert one["accuracy"]["value"] == pytest.approx(4 / 6)
    assert (one["same_grade_by_all"]["count"], one["same_grade_by_all"]["of"]) == (4, 6)
    assert one["same_grade_by_all"]["low"] == pytest.approx(0.300, abs=1e-3)  # Wilson, 4 of 6
    chance = (2 * 1 + 2 * 4 + 2 * 1) / 36
    assert one["kappa_unweighted"]["value"] == pytest.approx((4 / 6 - chance) / (1 - chance))
    assert one["kappa_unweighted"]["half_width"] > 0.3
    assert one["kappa_half_width_large_sample"] > 0.3
    assert found["readers 1 and 2: real images"]["accuracy"]["value"] == pytest.approx(5 / 6)
    both = [found[f"reader {n}: real and {MODEL}"]["accuracy"]["value"] for n in (1, 2)]
    assert found[f"mean of the readers: real and {MODEL}"]["accuracy"]["value"] == pytest.approx(np.mean(both))


def test_differences_and_guesses(scored):
    document = json.loads((scored[1] / "agreement.json").read_text())
    limits = document["readings"][0]["percent"]
    assert limits["pairs"] == 7
    assert limits["bias"]["value"] == pytest.approx(2 + 3 / 7)
    assert document["readings"][0]["quality_difference"]["value"] == -2
    real, predicted = document["answers"][:2]
    assert (real["version"], real["recognised"]["count"], real["recognised"]["of"]) == (REAL, 7, 7)
    assert (predicted["recognised"]["count"], predicted["recognised"]["of"]) == (4, 7)
    assert (real["not_gradable"], real["graded"], real["missing"]) == (1, 6, 0)


def test_terminal_and_page_say_simulated_and_what_was_left_out(scored):
    said, out = scored
    page = parse((out / "report.html").read_text(encoding="utf-8")).text
    for text in (said, page):
        assert "SIMULATED" in text
        assert "nan" not in text.lower().split()
    assert "rows real, columns" in said
    assert "Rows: the grade on the real image" in page
    assert "NO_TRACER: none seen" in page and "1 left out" in said
    assert "half-width" in page
    assert "Not gradable: 2 answers" in said


def test_every_coefficient_stands_in_the_table(scored):
    found = rows(scored[1] / "agreement.csv")
    names = {row["coefficient"] for row in found if row["comparison"] == f"reader 1: real and {MODEL}"}
    assert names == {"accuracy", "kappa_unweighted", "kappa_linear", "kappa_quadratic", "kappa_fleiss", "gwet_ac2",
                     "krippendorff_alpha", "icc_2_1", "icc_3_1"}  # fmt: skip
    for row in found:
        assert row["low"] == "" or float(row["low"]) <= float(row["value"]) <= float(row["high"])
        assert row["half_width"] != "0.0"


def test_the_same_ratings_give_the_same_files(scored, tmp_path):
    _, out = scored
    arguments = [
        "reader-study",
        "score",
        str(tmp_path / "forms"),
        "--key",
        str(tmp_path / "key.json"),
        "--draws",
        "200",
    ]
    again = CliRunner().invoke(cli.app, [*arguments, "--out", str(tmp_path / "p")])
    assert again.exit_code == 0
    for name in ("agreement.json", "agreement.csv", "transitions.csv", "report.html"):
        assert (out / name).read_bytes() == (tmp_path / "p" / name).read_bytes()


def test_readers_with_themselves_on_images_read_twice(tmp_path):
    key = study_key(patients=6, readers=3, versions=(REAL, MODEL, REAL_AGAIN))

    def twice(item):
        grade = (0, 3, 4)[int(item.patient[-1]) % 3]
        return {"grade": 4 if item.version == REAL_AGAIN and item.patient == "patient-000" else grade}

    given = read_ratings(find_forms([write_forms(key, tmp_path, twice)]), key, allow_missing=False)
    found = {a.what: a for a in analyse(key, given, draws=100, seed=1, tell=lambda what: None).agreements}
    assert found["reader 2: real images read twice"].figures["accuracy"].value == pytest.approx(5 / 6)
    assert found["reader 2: real images read twice"].kind == "read twice"
    assert found["all readers: real images"].figures["kappa_fleiss"].value == pytest.approx(1)
    assert found["all readers: real images"].icc.absolute == 1
    assert not any(REAL_AGAIN in what and "readers" in what for what in found)


def test_a_faulty_form_ends_the_command_before_any_file_is_written(tmp_path):
    key = study_key()
    write_key(key, tmp_path / "key.json")
    forms = write_forms(key, tmp_path / "forms", lambda item: {"grade": 9})
    arguments = ["reader-study", "score", str(forms), "--key", str(tmp_path / "key.json"), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(cli.app, arguments)
    assert "grade '9' is not one of 0, 3, 4 or NG" in str(done.exception)
    assert not (tmp_path / "o").exists()


def test_a_key_is_read_back_kept_private_and_never_replaced(tmp_path):
    key = study_key(left_out={"patient-9": ("NO_TRACER: x",)})
    write_key(key, tmp_path / "key.json")
    assert (tmp_path / "key.json").stat().st_mode & 0o077 == 0
    again = read_key(tmp_path / "key.json")
    assert (again.items, again.versions, again.grades) == (key.items, key.versions, key.grades)
    with pytest.raises(Exception, match="another study"):
        write_key(key, tmp_path / "key.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "csf24 reader study key 1"}', '{"format": "other"}'])
def test_what_is_no_key_is_said_to_be_none(text, tmp_path):
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(Exception, match="not the key of a reader study"):
        read_key(tmp_path / "key.json")
