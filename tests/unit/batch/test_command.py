"""What `csf24 convert` makes of its arguments; the conversions are stand-ins, or refused before there is any."""

from __future__ import annotations

import csv
import errno
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless

from service import cli, offline
from service.batch import run as running
from service.batch.cases import BatchCase
from service.batch.claim import LOCK_NAME, claimed
from service.report import Json
from tests.builders.batch import conversions, small_baseline, small_delayed, small_pair, told_converter
from tests.builders.dicom import make_uid
from tests.builders.dicom_encoding import encode
from tests.builders.patients import INJECTED_AT, write

Run = Callable[..., tuple[int, str, str]]
TOLD = INJECTED_AT.isoformat()


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run it in this process and in `tmp_path`: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("service.monitoring.log.configure_logging", lambda *_: None)
    monkeypatch.setattr(offline, "_ready_converter", lambda *_: told_converter({}, tmp_path / "journal")())

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["csf24", "convert", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def summary(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_predicted_batch_ends_with_0_and_is_printed_as_a_table(convert: Run, tmp_path: Path) -> None:
    case_id = small_pair(tmp_path / "src")
    status, out, err = convert("src", "--out", "results")
    assert (status, "1 cases: 1 predicted, 0 refused, 0 failed. 124 files read." in out) == (0, True)
    assert case_id in out
    assert "reading headers" in err and "reading headers" not in out
    assert [line["case_id"] for line in summary(tmp_path / "results")] == [case_id]


def test_the_table_breaks_no_code_at_80_columns(convert: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(small_delayed("P2"), tmp_path / "src")
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = convert("src", "--out", "results")
    assert "BASELINE_MISSING" in {line.strip() for line in out.splitlines()}


def test_reports_are_printed_as_json_and_nothing_else_is(convert: Run, tmp_path: Path) -> None:
    case_id = small_pair(tmp_path / "src")
    status, out, _ = convert("src", "--out", "results", "--json")
    (report,) = json.loads(out)
    assert (status, report["case_id"]) == (0, case_id)
    assert report == json.loads((tmp_path / "results" / case_id / "report.json").read_text())


def test_the_overview_is_there_while_the_batch_still_runs(
    convert: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sorted(small_pair(tmp_path / "src", patient) for patient in ("P1", "P2"))
    seen: list[str] = []
    real = running.run_batch

    def watched(*arguments: object, **options: object) -> Iterator[tuple[BatchCase, Json, bool]]:
        for row in real(*arguments, **options):  # type: ignore[arg-type]
            yield row
            seen.append((tmp_path / "results/overview.html").read_text())
            assert not (tmp_path / "results/summary.csv").exists()  # programs take it for the end

    monkeypatch.setattr(running, "run_batch", watched)
    assert convert("src", "--out", "results")[0] == 0
    assert ["1 not yet done" in page for page in seen] == [True, False]
    assert all(f">{case_id}</a>" in seen[1] for case_id in ids)


def test_a_refused_case_gives_3_and_a_failed_one_1(
    convert: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = small_pair(tmp_path / "src", "P1")
    write(small_delayed("P2"), tmp_path / "src" / "lonely")
    assert convert("src", "--out", "results")[0] == 3
    crashing = told_converter({case_id: "crash"}, tmp_path / "journal")
    monkeypatch.setattr(offline, "_ready_converter", lambda *_: crashing())
    status, out, _ = convert("src", "--out", "others")
    assert (status, "1 failed" in out, "INTERNAL_ERROR" in out) == (1, True, True)


def test_a_damaged_archive_is_a_refused_line_whatever_else_is_there(convert: Run, tmp_path: Path) -> None:
    case_id = small_pair(tmp_path / "src")
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as made:
        made.writestr("1.dcm", bytes(5000))
    (tmp_path / "half.zip").write_bytes((tmp_path / "half.zip").read_bytes()[:3000])
    status, out, _ = convert("src", "half.zip", "--out", "results")
    assert (status, "1 archives or folders not, or not whole (half.zip)" in out) == (3, True)
    found = {line["case_id"]: (line["outcome"], line["reasons"]) for line in summary(tmp_path / "results")}
    assert found.pop(case_id) == ("predicted", "")
    assert list(found.values()) == [("refused", "FILE_UNREADABLE")]
    assert "half.zip" in [line["other_sources"] for line in summary(tmp_path / "results")]
    assert convert("half.zip", "--out", "others")[0] == 3
    (tmp_path / "pairs.csv").write_text("baseline,delayed,case\nsrc/P1/before,half.zip,one\n")
    assert convert("--manifest", "pairs.csv", "--out", "by-table")[0] == 3
    assert [line["reasons"] for line in summary(tmp_path / "by-table")] == ["FILE_UNREADABLE"]


def test_results_within_the_source_do_not_disturb_the_next_run(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    assert convert("src", "--out", "src/results")[0] == 0
    status, out, _ = convert("src", "--out", "src/results")
    assert (status, "1 of them from an earlier run" in out) == (0, True)
    assert len(conversions(tmp_path / "journal")) == 1


def test_a_second_run_into_one_folder_is_refused_and_touches_nothing(convert: Run, tmp_path: Path) -> None:
    case_id = small_pair(tmp_path / "src")
    assert convert("src", "--out", "results")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.*") if path.is_file()}
    with claimed(tmp_path / "results"):
        status, out, err = convert("src", "--out", "results", "--config", settings_of_another_kind(tmp_path))
    assert (status, out) == (2, "")
    assert "another csf24 convert" in " ".join(err.split())
    assert conversions(tmp_path / "journal") == [case_id]
    assert {path: path.read_bytes() for path in before if path.name != LOCK_NAME} == {
        path: content for path, content in before.items() if path.name != LOCK_NAME
    }


def test_a_case_is_made_anew_when_another_signal_reference_is_allowed(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    (tmp_path / "white.toml").write_text('[normalisation]\nfallback = "white_matter"\n')
    for configuration, times in (((), 1), ((), 1), (("--config", "white.toml"), 2), ((), 3)):
        assert convert("src", "--out", "results", *configuration)[0] == 0
        assert len(conversions(tmp_path / "journal")) == times


def settings_of_another_kind(folder: Path) -> str:
    """With which every case would be made anew."""
    (folder / "other.toml").write_text("[outputs]\nmr_image = true\n")
    return "other.toml"


def test_an_interruption_gives_130_with_a_summary_of_what_is_done(
    convert: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {small_pair(tmp_path / "src", patient) for patient in ("P1", "P2", "P3")}
    real = running.run_batch

    def interrupted(*arguments: object, **options: object) -> Iterator[tuple[BatchCase, Json, bool]]:
        found = real(*arguments, **options)  # type: ignore[arg-type]
        yield next(found)
        yield next(found)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_batch", interrupted)
    status, out, err = convert("src", "--out", "results")
    assert (status, out) == (130, "")
    assert "interrupted after 2 cases; the same command goes on from there" in err
    done = {line["case_id"] for line in summary(tmp_path / "results")}
    assert len(done) == 2

    monkeypatch.setattr(running, "run_batch", real)
    status, out, _ = convert("src", "--out", "results")
    assert (status, "2 of them from an earlier run" in out) == (0, True)
    assert {line["case_id"] for line in summary(tmp_path / "results")} == ids
    assert sorted(conversions(tmp_path / "journal")) == sorted(ids)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either SOURCE... or --manifest pairs.csv"),
        (["src", "--manifest", "pairs.csv"], "give either SOURCE... or --manifest pairs.csv"),
        (["nowhere", "src", "neither"], "nowhere, neither: not there; accepted: a folder, a DICOMDIR, a .zip archive"),
        (["src", "--baseline", "1.2.3"], "--baseline and --delayed go together"),
        (["--manifest", "pairs.csv", "--injection-time", TOLD], "with --manifest, series and injection times are in"),
        (["--manifest", "none.csv"], "none.csv: cannot be read (FileNotFoundError); accepted: a CSV file in UTF-8"),
        (["--manifest", "pairs.csv"], "line 2: delayed: nothing is not there"),
        (["src", "--injection-time", TOLD], "--injection-time is one patient's, but the sources hold 2"),
        (["src", "--injection-time", "half past nine"], "ISO 8601"),
        (["src", "--model", "volume4d"], "--model: no model 'volume4d'; installed: "),
        (["src", "--baseline", "1.2.3", "--delayed", "1.2.4"], "series 1.2.3: not found below the sources"),
        (["notes.txt"], "no DICOM series below the sources: 1 files read, 1 are not DICOM"),
        (["ct"], "no pair of series was found: 62 files read, 1 series are no part of a pair (NOT_AN_MR_IMAGE 1)"),
        (["src", "--out", "notes.txt"], "--out notes.txt: File exists; accepted: a folder that can be written"),
        (["src", "--config", "none.toml"], "none.toml"),
        (["src", "--jobs", "0"], "--jobs"),
        (["src", "--models", "x"], "--models"),
    ],
)
def test_a_wrong_usage_gives_2_says_why_and_writes_nothing(
    convert: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    for patient in ("P1", "P2"):
        small_pair(tmp_path / "src", patient)
    write(small_baseline("P3", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), tmp_path / "ct")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "pairs.csv").write_text("baseline,delayed\nsrc,nothing\n")
    before = sorted(tmp_path.rglob("*"))
    where = [] if "--out" in arguments else ["--out", "results"]
    status, out, err = convert(*arguments, *where)
    assert (status, out) == (2, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_out_must_be_given(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    status, _, err = convert("src")
    assert (status, "--out" in err) == (2, True)


def test_the_time_of_one_patient_is_taken_from_the_command_line(convert: Run, tmp_path: Path) -> None:
    write(small_baseline(), tmp_path / "src/b")
    write(small_delayed(injected_at=None), tmp_path / "src/d")
    assert convert("src", "--out", "results")[0] == 3
    assert convert("src", "--out", "results", "--injection-time", TOLD)[0] == 0


def test_a_chosen_pair_is_the_only_one_converted(convert: Run, tmp_path: Path) -> None:
    case_id = small_pair(tmp_path / "src", "P1")
    small_pair(tmp_path / "src", "P2")
    pair = ["--baseline", make_uid("P1", 1, 1), "--delayed", make_uid("P1", 1, 2), "--injection-time", TOLD]
    assert convert("src", "--out", "results", *pair)[0] == 0
    assert conversions(tmp_path / "journal") == [case_id]


def test_a_table_names_dicom_pairs_and_their_cases(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src", "P1")
    write(small_baseline("P2", series=4), tmp_path / "src/P1/more")
    (tmp_path / "pairs.csv").write_text(
        "baseline,delayed,case,injection_time\n"
        f"src/P1/before,src/P1/after,one,{TOLD}\n"
        f"src/P1/before,src/P1/after,two,2024-05-14T09:20\n"
        "src/P1/before,src/P1,three,\n"
        "src/P1/before,src/P1/before,four,\n"
    )
    status, _, _ = convert("--manifest", "pairs.csv", "--out", "results")
    found = {line["case_id"]: (line["outcome"], line["reasons"]) for line in summary(tmp_path / "results")}
    assert found == {
        "one": ("predicted", ""),
        "two": ("predicted", ""),
        "three": ("refused", "NOT_ONE_SERIES"),
        "four": ("refused", "SAME_SERIES"),
    }
    assert status == 3


def test_a_conflict_keeps_the_name_that_the_table_gives(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    write(small_baseline(RescaleSlope="1", RescaleIntercept="7")[:1], tmp_path / "src/P1/before/again")
    (tmp_path / "pairs.csv").write_text("baseline,delayed,case\nsrc/P1/before,src/P1/after,one\n")
    assert convert("--manifest", "pairs.csv", "--out", "results")[0] == 3
    assert [(line["case_id"], line["reasons"]) for line in summary(tmp_path / "results")] == [
        ("one", "CONFLICTING_INSTANCES")
    ]


def test_a_copy_in_another_encoding_is_left_out_and_the_notes_say_so(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    write(encode(small_baseline(), JPEGLSLossless), tmp_path / "src/P1/before/again")
    status, out, _ = convert("src", "--out", "results")
    assert (status, "62 hold the image of another one (in another encoding" in out) == (0, True)


def test_one_pair_in_two_rows_is_one_case_unless_the_rows_differ(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    row = "src/P1/before,src/P1/after"
    (tmp_path / "pairs.csv").write_text(f"baseline,delayed,injection_time\n{row},\n{row},{TOLD}\n")
    assert convert("--manifest", "pairs.csv", "--out", "results")[0] == 0  # the header says the same time
    assert len(conversions(tmp_path / "journal")) == 1
    (tmp_path / "pairs.csv").write_text(f"baseline,delayed,injection_time\n{row},\n{row},2024-05-14T09:20\n")
    status, _, err = convert("--manifest", "pairs.csv", "--out", "results")
    assert (status, "two different cases would be called" in err) == (2, True)


def test_a_name_in_the_table_that_is_another_cases_id_is_told(convert: Run, tmp_path: Path) -> None:
    other = small_pair(tmp_path / "src", "P1")
    small_pair(tmp_path / "src", "P2")
    (tmp_path / "pairs.csv").write_text(
        f"baseline,delayed,case\nsrc/P1/before,src/P1/after,\nsrc/P2/before,src/P2/after,{other}\n"
    )
    status, _, err = convert("--manifest", "pairs.csv", "--out", "results")
    assert (status, f"would be called {other}" in err) == (2, True)


def test_a_nifti_row_is_converted_refused_or_held_back_by_its_hours(convert: Run, tmp_path: Path) -> None:
    for name in ("b.nii", "d.nii"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), dtype="<i2"), np.eye(4)), tmp_path / name)
    (tmp_path / "pairs.csv").write_text(
        "baseline,delayed,case,hours_after_injection\nb.nii,d.nii,a,\nb.nii,d.nii,b,5\nb.nii,d.nii,c,1.5\n"
    )
    status, _, _ = convert("--manifest", "pairs.csv", "--out", "results")
    assert status == 3
    assert {line["case_id"]: line["reasons"] for line in summary(tmp_path / "results")} == {
        "a": "INJECTION_TIME_MISSING",
        "b": "DELAYED_OUTSIDE_WINDOW",
        "c": "",
    }


def test_a_nifti_file_that_is_none_refuses_its_row_only(convert: Run, tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    (tmp_path / "b.nii").write_bytes(b"no image")
    (tmp_path / "pairs.csv").write_text(
        "baseline,delayed,case,hours_after_injection\nb.nii,b.nii,a,1.5\nsrc/P1/before,src/P1/after,b,\n"
    )
    assert convert("--manifest", "pairs.csv", "--out", "results")[0] == 3
    assert {line["case_id"]: line["reasons"] for line in summary(tmp_path / "results")} == {
        "a": "FILE_UNREADABLE",
        "b": "",
    }


def test_a_bids_dataset_is_made_when_asked_for_and_named(convert: Run, tmp_path: Path) -> None:
    write(small_delayed("P2"), tmp_path / "src")
    status, out, _ = convert("src", "--out", "results", "--bids")
    (line,) = summary(tmp_path / "results")
    assert (status, "BIDS dataset: results/bids" in out) == (3, True)
    table = (tmp_path / "results/bids/participants.tsv").read_text()
    assert f"sub-{line['case_id']}\t1\trefused\tBASELINE_MISSING\t" in table
    assert "results/bids" not in convert("src", "--out", "others")[1]
    assert not (tmp_path / "others/bids").exists()


def test_a_bids_dataset_that_was_not_asked_for_again_is_said_to_be_left(convert: Run, tmp_path: Path) -> None:
    write(small_delayed("P2"), tmp_path / "src")
    convert("src", "--out", "results", "--bids")
    _, out, _ = convert("src", "--out", "results")
    assert "results/bids is of an earlier run and was left as it is; --bids brings it up to date" in out


def test_names_that_give_one_bids_label_end_the_run_before_it_begins(convert: Run, tmp_path: Path) -> None:
    for name in ("b.nii", "d.nii"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), dtype="<i2"), np.eye(4)), tmp_path / name)
    (tmp_path / "pairs.csv").write_text("baseline,delayed,case\nb.nii,d.nii,p-1\nb.nii,d.nii,p_1\n")
    status, _, said = convert("--manifest", "pairs.csv", "--out", "results", "--bids")
    assert (status, "p-1, p_1: would all be sub-p1" in said) == (2, True)
    assert not (tmp_path / "results").exists()
    assert convert("--manifest", "pairs.csv", "--out", "results")[0] == 3


def test_a_bids_dataset_that_cannot_be_written_is_told_before_anything_is_converted(
    convert: Run, tmp_path: Path
) -> None:
    small_pair(tmp_path / "src")
    (tmp_path / "results/bids/README").mkdir(parents=True)
    (tmp_path / "results/bids/dataset_description.json").write_text('{"GeneratedBy": [{"Name": "csf24"}]}')
    status, _, said = convert("src", "--out", "results", "--bids")
    assert (status, "--bids: results/bids: Is a directory; accepted: a folder that can be written" in said) == (2, True)
    assert conversions(tmp_path / "journal") == []


def test_a_disk_that_fills_up_at_the_end_is_said_and_the_cases_are_kept(
    convert: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = small_pair(tmp_path / "src")

    def full(_rows: object, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("service.batch.summary.write_summary", full)
        status, _, err = convert("src", "--out", "results")
    assert status == 2
    assert "summary.csv: No space left on device; accepted: a folder" in " ".join(err.split())
    assert "1 cases are done" in " ".join(err.split())

    assert convert("src", "--out", "results")[0] == 0
    assert conversions(tmp_path / "journal") == [case_id]
