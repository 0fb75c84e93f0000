from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from service.batch.table import TableRow, read_table
from service.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("before", "after", "other, with comma"):
        (tmp_path / name).mkdir()
    for name in ("before.nii.gz", "after.nii"):
        (tmp_path / name).touch()
    return tmp_path


def table(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def rows(folder: Path, text: str) -> tuple[TableRow, ...]:
    return read_table(table(folder, text))


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        rows(folder, text)
    heading, *found = str(caught.value).split("\n  - ")
    assert heading == f"{folder / 'pairs.csv'} cannot be used:"
    return found


def test_dicom_and_nifti_pairs_stand_in_one_table(folder: Path) -> None:
    found = rows(
        folder,
        "baseline,delayed,case,injection_time,hours_after_injection\n"
        "before,after,one,2026-03-04T09:30,\n"
        "before.nii.gz,after.nii,,,1.5\n",
    )
    assert found == (
        TableRow(line=2, case="one", baseline=folder / "before", delayed=folder / "after",
                 injection_time=datetime(2026, 3, 4, 9, 30), hours_after_injection=None),
        TableRow(line=3, case="", baseline=folder / "before.nii.gz", delayed=folder / "after.nii",
                 injection_time=None, hours_after_injection=1.5),
    )  # fmt: skip
    assert [row.nifti for row in found] == [False, True]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffbaseline;delayed\r\nbefore;after\r\n",
        " Baseline , DELAYED \n\n,\n before , after \n",
        'delayed,baseline\n"after","before"\n',
    ],
    ids=["spreadsheet", "spaces and blank lines", "quoted, other order"],
)
def test_a_table_as_programs_write_it_is_read(folder: Path, text: str) -> None:
    (row,) = rows(folder, text)
    assert (row.baseline, row.delayed) == (folder / "before", folder / "after")


def test_hours_with_a_decimal_comma_are_read_where_semicolons_separate(folder: Path) -> None:
    heading = "\ufeffbaseline;delayed;case;hours_after_injection\r\n"
    found = rows(
        folder,
        heading + "before.nii.gz;after.nii;a;1,5\r\nbefore.nii.gz;after.nii;b;1.25\r\nbefore.nii.gz;after.nii;c;2\r\n",
    )
    assert [row.hours_after_injection for row in found] == [1.5, 1.25, 2.0]
    (fault,) = faults(folder, heading + "before.nii.gz;after.nii;a;1,5,0\r\n")
    assert fault == "line 2: hours_after_injection: found '1,5,0'; accepted: a number, e.g. 1.5"


def test_a_decimal_comma_among_separating_commas_is_ambiguous_and_a_fault(folder: Path) -> None:
    heading = "baseline,delayed,hours_after_injection\n"
    assert faults(folder, heading + 'before.nii.gz,after.nii,"1,5"\n') == [
        "line 2: hours_after_injection: found '1,5'; accepted: a number, e.g. 1.5"
    ]
    (fault,) = faults(folder, heading + "before.nii.gz,after.nii,1,5\n")
    assert fault.startswith("line 2: found 4 cells; accepted: 3")


def test_only_numbers_lose_their_comma(folder: Path) -> None:
    (folder / "1,5").mkdir()
    (row,) = rows(folder, "baseline;delayed\n1,5;after\n")
    assert row.baseline == folder / "1,5"


def test_a_path_with_a_comma_is_quoted(folder: Path) -> None:
    (row,) = rows(folder, 'baseline,delayed\nbefore,"other, with comma"\n')
    assert row.delayed == folder / "other, with comma"
    assert faults(folder, "baseline,delayed\nbefore,other, with comma\n") == [
        "line 2: found 3 cells; accepted: 2, as in line 1 (quote a path that has a separator)"
    ]


def test_all_faults_are_listed_at_once_with_their_lines(folder: Path) -> None:
    found = faults(
        folder,
        "baseline,delayed,case,injection_time,hours_after_injection\n"
        "nowhere,after,a/b,yesterday,\n"
        "\n"
        ",after.nii,..,,1.5 h\n"
        "before.nii.gz,after,,,\n"
        "before.nii.gz,after.nii,x,2026-03-04T09:30,nan\n"
        "before,after,same,2026-03-04,1.5\n"
        "before,after,twin,,\n"
        "before,after,twin,,\n",
    )
    assert [line.split(":")[0] for line in found] == [
        "line 2", "line 2", "line 2",
        "line 4", "line 4", "line 4",
        "line 5",
        "line 6", "line 6",
        "line 7", "line 7",
        "case 'twin' is named 2 times",
    ]  # fmt: skip
    text = "\n".join(found)
    for part in (
        "baseline: nowhere is not there",
        "case: found 'a/b'; accepted: 1 to 64 letters",
        "injection_time: found 'yesterday'; accepted: ISO 8601",
        "baseline is empty",
        "hours_after_injection: found '1.5 h'; accepted: a number",
        "one of the two is NIfTI and the other is not",
        "injection_time does not help with NIfTI",
        "hours_after_injection: found 'nan'",
        "injection_time: found '2026-03-04'",
        "hours_after_injection is for NIfTI",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    "case", [".hidden", "a b", "summary.csv", "Summary.CSV", "overview.html", "bids", "BIDS", "x" * 65, "é"]
)
def test_a_case_name_must_do_as_a_folder(folder: Path, case: str) -> None:
    (fault,) = faults(folder, f"baseline,delayed,case\nbefore,after,{case}\n")
    assert fault.startswith("line 2: case: found")


@pytest.mark.parametrize(
    ("heading", "fault"),
    [
        ("baseline", "column 'delayed' is missing"),
        ("baseline,delayed,patient", "column 'patient' is unknown; accepted: baseline, delayed, case, injection_time"),
        ("baseline,delayed,delayed", "column 'delayed' stands there 2 times; accepted: once"),
    ],
)
def test_a_wrong_heading_is_told_and_nothing_else(folder: Path, heading: str, fault: str) -> None:
    found = faults(folder, f"{heading}\nnowhere,nothing\n")
    assert len(found) == 1
    assert found[0].startswith(fault)


def test_an_empty_table_is_told(folder: Path) -> None:
    assert faults(folder, "") == ["column 'baseline' is missing", "column 'delayed' is missing"]
    assert faults(folder, "baseline,delayed\n\n") == ["no line below the header"]


def test_a_table_that_cannot_be_read_is_told(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read \(FileNotFoundError\); accepted: a CSV file in UTF-8"):
        read_table(folder / "none.csv")
    (folder / "pairs.csv").write_bytes(b"baseline,delayed\n\xff\xfe,x\n")
    with pytest.raises(UsageError, match=r"cannot be read \(UnicodeDecodeError\)"):
        read_table(folder / "pairs.csv")
