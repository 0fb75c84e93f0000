"""overview.html: every case of a batch with its preview, on one page that needs neither scripts nor a server.

It stands beside the folders of the cases and refers to their previews; of a patient it says no more than summary.csv.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from service.batch.cases import BatchCase, notes_of
from service.batch.convert_case import BatchRequest
from service.batch.layout import OVERVIEW_NAME
from service.cases import CaseOutcome
from service.report import Json, grade_text
from service.result_files import PAGE_NAME, PREVIEW_NAME

_ORDER = (CaseOutcome.FAILED, CaseOutcome.REFUSED, CaseOutcome.PREDICTED)
"""What somebody has to look at comes first."""
_NOTHING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A reason or a warning in words."""

    code: str
    message: str
    measured: str
    limit: str
    warning: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A case; `folder` is a URL relative to the page."""

    case_id: str
    folder: str
    places: tuple[str, ...]
    marks: tuple[str, ...]
    pictured: bool
    paged: bool
    reasons: tuple[_Line, ...]
    hours: str
    grade: str
    seconds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    outcome: str
    rows: tuple[_Row, ...]


def write_overview(rows: Sequence[tuple[BatchCase, Json]], request: BatchRequest, *, planned: int) -> None:
    """Write the page anew, whole or not at all.

    Parameters
    ----------
    planned
        Number of cases of the batch; what is not among `rows` is counted as not yet done.
    """
    path = request.out / OVERVIEW_NAME
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(overview_of(rows, request, planned=planned), encoding="utf-8")
    draft.replace(path)


def overview_of(rows: Sequence[tuple[BatchCase, Json]], request: BatchRequest, *, planned: int) -> str:
    """The page as text; see `write_overview`."""
    ordered = sorted(rows, key=lambda row: row[0].case_id)
    groups = [
        _Group(
            outcome=outcome.value,
            rows=tuple(_row(case, report) for case, report in ordered if report["outcome"] == outcome.value),
        )
        for outcome in _ORDER
    ]
    return _template().render(
        groups=groups,
        total=planned,
        waiting=planned - len(rows),
        version=request.software_version,
        begun=f"{request.now:%Y-%m-%d %H:%M}",
    )


@cache
def _template() -> Template:
    made = Environment(
        loader=PackageLoader("service.batch"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return made.get_template(OVERVIEW_NAME)


def _row(case: BatchCase, report: Json) -> _Row:
    baseline, delayed, others = notes_of(case)
    hours = report["hours_after_injection"]
    return _Row(
        case_id=case.case_id,
        folder=f"{quote(case.case_id)}/",
        places=tuple(note.place for note in (baseline, delayed, *others) if note is not None and note.place),
        marks=tuple(_marks(report)),
        pictured=PREVIEW_NAME in report["outputs"],
        paged=PAGE_NAME in report["outputs"],
        reasons=(*_lines(report["reasons"], warning=False), *_lines(report["warnings"], warning=True)),
        hours=_NOTHING if hours is None else f"{hours:.2f}",
        grade=grade_text(report["reflux"]) or _NOTHING,
        seconds=f"{report['timings_s']['total']:.1f}",
    )


def _marks(report: Json) -> Iterator[str]:
    if report["outcome"] == CaseOutcome.PREDICTED.value and report["model"]["simulated_training"]:
        yield "SIMULATED TRAINING"
    if report["simulated_patient"]:
        yield "SIMULATED PATIENT"


def _lines(reasons: Sequence[Json], *, warning: bool) -> Iterator[_Line]:
    for reason in reasons:
        yield _Line(
            code=reason["code"],
            message=reason["message"],
            measured=_figure(reason["measured"]),
            limit=_figure(reason["limit"]),
            warning=warning,
        )


def _figure(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"
