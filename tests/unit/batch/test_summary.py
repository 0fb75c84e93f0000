from __future__ import annotations

import csv
from pathlib import Path

from service.batch.cases import DicomCase, NiftiCase, RefusedCase, SeriesNote
from service.batch.sources import FileSource
from service.batch.summary import COLUMNS, write_summary
from service.cases import CaseOutcome
from service.errors import Reason
from service.report import bare_report, series_report
from tests.builders.batch import cases_below, small_pair

MISSING = Reason(code="BASELINE_MISSING", message="None was received.")
OTHER = Reason(code="FAT_SMALL", message="Little fat.")


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_case_is_a_line_in_order_of_its_id(tmp_path: Path) -> None:
    small_pair(tmp_path / "src")
    (pair,) = cases_below(tmp_path / "src")
    assert isinstance(pair, DicomCase)
    nifti = NiftiCase(
        case_id="b", baseline=FileSource(path=Path("x/a.nii")), delayed=FileSource(path=Path("x/b.nii")),
        hours_after_injection=1.25,
    )  # fmt: skip
    alone = RefusedCase(
        case_id="a", reasons=(MISSING, OTHER), delayed=SeriesNote(place="d"),
        others=(SeriesNote(place="e, f"), SeriesNote(place="g")),
    )  # fmt: skip
    predicted = bare_report(pair.case_id, CaseOutcome.PREDICTED, (), "0.1.0", hours_after_injection=1.5) | {
        "warnings": [{"code": "SCANNER_DIFFERS"}, {"code": "FAT_SMALL"}],
        "baseline": series_report(pair.baseline.facts),
        "delayed": series_report(pair.delayed.facts),
        "model": {"name": "volume3d", "version": "0.1.0"},
        "reflux": {"index": 0.0, "grade_24h": "0", "grade_range": ["0", "3"]},
        "timings_s": {"read": 1.0, "total": 12.3},
    }
    write_summary(
        [
            (pair, predicted),
            (nifti, bare_report("b", CaseOutcome.FAILED, (), "0.1.0")),
            (alone, bare_report("a", CaseOutcome.REFUSED, alone.reasons, "0.1.0")),
        ],
        tmp_path / "summary.csv",
    )
    first, second, third = lines(tmp_path / "summary.csv")
    empty = dict.fromkeys(COLUMNS, "") | {"total_s": "0.0"}
    assert first == empty | {
        "case_id": "a", "outcome": "refused", "reasons": "BASELINE_MISSING FAT_SMALL", "delayed_source": "d",
        "other_sources": "e, f; g",
    }  # fmt: skip
    assert second == empty | {
        "case_id": "b", "outcome": "failed", "baseline_source": "x/a.nii", "delayed_source": "x/b.nii",
    }  # fmt: skip
    assert third == {
        "case_id": pair.case_id,
        "outcome": "predicted",
        "reasons": "",
        "warnings": "SCANNER_DIFFERS FAT_SMALL",
        "baseline_series_uid": pair.baseline.series_uid,
        "delayed_series_uid": pair.delayed.series_uid,
        "hours_after_injection": "1.5",
        "model": "volume3d 0.1.0",
        "reflux_index": "0.0",
        "reflux_grade_24h": "0",
        "reflux_grade_range": "0 to 3",
        "total_s": "12.3",
        "baseline_source": str(tmp_path / "src/P1/before"),
        "delayed_source": str(tmp_path / "src/P1/after"),
        "other_sources": "",
    }


def test_a_new_summary_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text("an older one that is longer\n" * 50)
    write_summary([], path)
    assert path.read_text().splitlines() == [",".join(COLUMNS)]
    assert [found.name for found in tmp_path.iterdir()] == ["summary.csv"]
