"""csf24 convert: folders, archives or a table of pairs -> one folder a case, and summary.csv."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from service.batch.layout import BIDS_NAME, OVERVIEW_NAME, SUMMARY_NAME
from service.cases import CaseOutcome
from service.config import load_config
from service.errors import UsageError

if TYPE_CHECKING:
    from service.batch.cases import BatchCase
    from service.offline import Plan
    from service.report import Json

    _Row = tuple[BatchCase, Json, bool]

_EXIT_REFUSED, _EXIT_FAILED, _EXIT_INTERRUPTED = 3, 1, 130
_STYLES = {"predicted": "green", "refused": "yellow", "failed": "red"}


def convert(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOURCE...", help="Folders (any depth, patients mixed), DICOMDIR, .zip, files."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the results; a case already there is not made again.")],
    manifest: Annotated[
        Path | None, typer.Option(help="CSV with columns baseline, delayed [, case, injection_time, ...]; also NIfTI.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to use, as `csf24 models list` shows it.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Series Instance UID of the baseline; with --delayed.")] = None,
    delayed: Annotated[str | None, typer.Option(help="Series Instance UID of the 1-2 h scan; with --baseline.")] = None,
    injection_time: Annotated[
        str | None, typer.Option(help="ISO 8601, local unless it has an offset; for the one patient in the sources.")
    ] = None,
    bids: Annotated[
        bool, typer.Option("--bids", help="Also write DIR/bids, a BIDS derivatives dataset (NIfTI), DIR being --out.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Cases at a time; each takes 2-4 GB of memory.")] = 1,
    config: Annotated[Path | None, typer.Option(help="TOML file; without it the embedded defaults.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports instead of a table.")] = False,
) -> None:
    """Convert offline. Status 0: all predicted; 3: some refused; 1: some failed; 2: wrong usage; 130: interrupted."""
    from service.batch.claim import claimed
    from service.batch.run import run_batch
    from service.batch.summary import write_summary
    from service.case_actions import parse_time
    from service.monitoring.log import configure_logging
    from service.offline import LOG_LEVEL, Choice, plan_batch

    loaded = load_config(config, os.environ)
    configure_logging(LOG_LEVEL, loaded.logging.format, sys.stderr)
    choice = Choice(
        sources=tuple(sources or ()),
        table=manifest,
        baseline_uid=baseline,
        delayed_uid=delayed,
        injection_time=parse_time(injection_time) if injection_time else None,
    )
    console = Console(stderr=True)
    rows: list[_Row] = []
    try:
        with _progress(console) as progress:
            reading = progress.add_task("reading headers", total=None)
            plan = plan_batch(
                choice, loaded, out=out, model=model, bids=bids, on_file=lambda: progress.advance(reading)
            )
            progress.update(reading, total=plan.files, completed=plan.files)
            converting = progress.add_task("converting", total=len(plan.cases))
            with claimed(out):
                _describe_dataset(plan)
                try:
                    for row in run_batch(plan.cases, plan.request, plan.make_converter, jobs=jobs):
                        rows.append(row)
                        progress.advance(converting)
                        if not row[2]:
                            progress.console.print(_line(row[1]), highlight=False)
                            with suppress(OSError):  # what is wrong with the folder is said at the end
                                _write_overview(rows, plan)
                finally:
                    write_summary([(case, report) for case, report, _ in rows], out / SUMMARY_NAME)
                    _write_overview(rows, plan)
                    _describe_dataset(plan)
    except KeyboardInterrupt:
        console.print(f"interrupted after {len(rows)} cases; the same command goes on from there", highlight=False)
        raise typer.Exit(_EXIT_INTERRUPTED) from None
    except OSError as fault:  # of the folder as a whole; what befalls one case is in its report
        raise UsageError(
            f"{fault.filename or out}: {fault.strerror}; accepted: a folder that can be written, with room in it; "
            f"{len(rows)} cases are done, and the same command goes on from there"
        ) from fault
    if as_json:
        typer.echo(json.dumps([report for _, report, _ in rows], indent=2))
    else:
        _summarise(rows, plan, out)
    raise typer.Exit(_status(rows))


def _write_overview(rows: list[_Row], plan: Plan) -> None:
    """After each case, so that a long batch can be followed; summary.csv, which programs wait for, comes at the end."""
    from service.batch.overview import write_overview

    write_overview([(case, report) for case, report, _ in rows], plan.request, planned=len(plan.cases))


def _describe_dataset(plan: Plan) -> None:
    """Before the first case, so that a folder that cannot be written is told at once, and after the last."""
    from service.batch.bids.dataset import describe_dataset

    if plan.request.bids is None:
        return
    try:
        describe_dataset(plan.request.bids, plan.request.software_version)
    except OSError as fault:
        raise UsageError(
            f"--bids: {plan.request.bids.root}: {fault.strerror}; accepted: a folder that can be written"
        ) from fault


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _line(report: Json) -> str:
    outcome = report["outcome"]
    seconds = f"{report['timings_s']['total']:.1f} s"
    return f"{report['case_id']}  [{_STYLES[outcome]}]{outcome}[/]  {' '.join(_codes(report))}  {seconds}"


def _codes(report: Json) -> list[str]:
    return [reason["code"] for reason in report["reasons"]]


def _summarise(rows: list[_Row], plan: Plan, out: Path) -> None:
    from service.report import grade_text

    console = Console(soft_wrap=True)
    table = Table(
        Column("case", overflow="fold"),
        Column("outcome, why", overflow="fold"),  # on lines of their own: beside it the codes would be broken
        "hours",
        Column("reflux grade 24 h", max_width=14),
        "seconds",
        title="csf24 convert",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    for _, report, _ in sorted(rows, key=lambda row: row[0].case_id):
        hours = report["hours_after_injection"]
        table.add_row(
            report["case_id"],
            "\n".join([f"[{_STYLES[report['outcome']]}]{report['outcome']}[/]", *dict.fromkeys(_codes(report))]),
            "" if hours is None else f"{hours:.2f}",
            grade_text(report["reflux"]),
            f"{report['timings_s']['total']:.1f}",
        )
    console.print(table)
    for _, report, _ in rows:
        for reason in report["reasons"]:
            console.print(f"{report['case_id']}  {reason['code']}: {reason['message']}", markup=False, highlight=False)
    counts = Counter(report["outcome"] for _, report, _ in rows)
    said = ", ".join(f"{counts[o.value]} {o.value}" for o in CaseOutcome)
    kept = sum(kept for _, _, kept in rows)
    earlier = f"; {kept} of them from an earlier run" if kept else ""
    console.print(f"{len(rows)} cases: {said}{earlier}. {plan.passed_over}", markup=False, highlight=False)
    made = f"{out / SUMMARY_NAME}, {out / OVERVIEW_NAME} (open it in a browser)"
    console.print(f"Results: {out}/<case>/, {made}", markup=False, highlight=False)
    if plan.request.bids is not None:
        console.print(f"BIDS dataset: {out / BIDS_NAME}", markup=False, highlight=False)
    elif (out / BIDS_NAME).is_dir():
        left = "is of an earlier run and was left as it is; --bids brings it up to date"
        console.print(f"{out / BIDS_NAME} {left}", markup=False, highlight=False)
    trained = "Predicted images are from a model trained on SIMULATED tracer. " if plan.simulated_training else ""
    console.print(f"{trained}Research use, not for diagnosis.", markup=False, highlight=False)


def _status(rows: list[_Row]) -> int:
    outcomes = {report["outcome"] for _, report, _ in rows}
    if CaseOutcome.FAILED.value in outcomes:
        return _EXIT_FAILED
    return _EXIT_REFUSED if CaseOutcome.REFUSED.value in outcomes else 0
