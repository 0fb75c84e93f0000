"""csf24 cases: the day-to-day operation, on the ledger that the service uses (running or not)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from service.cases import Case, CaseState
from service.config import Config, load_config
from service.errors import PermanentError, UsageError

if TYPE_CHECKING:
    from service.case_actions import CaseActions
    from service.storage.ledger import Ledger

_BY = "a person"  # the shell knows who; a history that others read need not
app = typer.Typer(no_args_is_help=True, help="List, show, retry, release, discard and export cases.")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The service's TOML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
CaseId = Annotated[str, typer.Argument(metavar="CASE", help="As `csf24 cases list` shows it.")]


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Config, Ledger]]:
    from service.storage.ledger import Ledger

    loaded = load_config(config, os.environ)
    storage = loaded.storage
    if storage.ledger_file is not None and not storage.ledger_file.is_file():
        raise UsageError(
            f"{storage.ledger_file}: no such file, so no service has run with this configuration; "
            "give the service's own file with --config"
        )
    ledger = Ledger.open(storage.ledger_url)
    try:
        yield loaded, ledger
    finally:
        ledger.close()


def _actions(config: Config, ledger: Ledger) -> CaseActions:
    from service.app import utc_now
    from service.case_actions import CaseActions

    return CaseActions(ledger, config, utc_now)


@app.command(name="list")
def list_cases(
    *,
    state: Annotated[list[CaseState] | None, typer.Option(help="Only these; may be repeated.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Cases, the last changed first."""
    with _opened(config) as (_, ledger):
        cases = ledger.cases.cases(*(state or ()))
        waiting = () if state else ledger.waiting.all()
    if as_json:
        typer.echo(json.dumps([_document(case) for case in cases], indent=2))
        return
    # Reasons below the state, each on a line of its own: beside it the longest would not fit into 80 columns.
    table = Table(
        Column("case", no_wrap=True),
        Column("state, reasons", overflow="fold"),
        Column("hours", no_wrap=True),
        Column("sent", no_wrap=True),
        Column("changed, UTC", no_wrap=True),
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    for case in cases:
        ended = f", {case.outcome.value}" if case.outcome and case.state is CaseState.DONE else ""
        table.add_row(
            case.case_id,
            "\n".join([case.state.value + ended, *dict.fromkeys(reason.code for reason in case.reasons)]),
            _hours(case),
            f"{case.delivered}/{case.deliverable}" if case.deliverable else "",
            f"{case.updated_at:%m-%d %H:%M}",
        )
    Console().print(table if cases else "no cases")
    for wait in waiting:
        codes = " ".join(reason.code for reason in wait.reasons) or "more of the same"
        until = f", until {wait.until:%m-%d %H:%M} UTC" if wait.until else ""
        typer.echo(f"no case yet, {wait.series} series wait{until}: {codes}")


@app.command()
def show(case_id: CaseId, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One case: its reasons, its history, where its result lies."""
    with _opened(config) as (loaded, ledger):
        case = ledger.cases.case(case_id)
        events = ledger.cases.events(case_id)
    result = _result_directory(loaded, case)
    document = _document(case) | {
        "events": [{"at": e.at.isoformat(), "kind": e.kind, "text": e.text} for e in events],
        "result": str(result) if result.is_dir() else None,
    }
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(soft_wrap=True)
    shown = document | {"hours_after_injection": _hours(case)}
    for name in ("case_id", "state", "outcome", "baseline_series_uid", "delayed_series_uid", "injection_time",
                 "hours_after_injection", "revision", "attempts", "delivered", "deliverable", "result"):  # fmt: skip
        console.print(f"{name:22} {shown[name] if shown[name] is not None else ''}", markup=False, highlight=False)
    for reason in case.reasons:
        figures = f" (measured {reason.measured}, limit {reason.limit})" if reason.measured is not None else ""
        console.print(f"\n{reason.code}{figures}\n  {reason.message}", markup=False, highlight=False)
    console.print()
    for event in events:
        console.print(f"{event.at:%Y-%m-%d %H:%M:%S}Z  {event.kind:12} {event.text}", markup=False, highlight=False)


@app.command(name="follow-ups")
def follow_ups(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Predictions held against scans that were acquired at their time; errors in units of orbital fat signal."""
    from service.follow_up_view import follow_up_view

    with _opened(config) as (_, ledger):
        views = [follow_up_view(row) for row in ledger.follow_ups.all()]
    if as_json:
        typer.echo(json.dumps([asdict(view) for view in views], indent=2, default=datetime.isoformat))
        return
    columns = ("hours", "state", "error in fluid", "of the delayed scan", "bias", "scanner")
    table = Table(Column("case", no_wrap=True), *columns, box=box.SIMPLE_HEAD)
    for view in views:
        fluid = view.region("fluid")
        figures = (f"{v:.3f}" for v in (fluid.error, fluid.persistence_error, fluid.bias)) if fluid else ("", "", "")
        state = " ".join((view.state, *(reason.code for reason in view.reasons)))
        simulated = " (SIMULATED patient)" if view.simulated_patient else ""
        table.add_row(view.case_id, f"{view.hours:.1f}", state, *figures, view.scanner + simulated)
    Console().print(table if views else "no scan of the predicted time has come yet")


@app.command()
def retry(case_id: CaseId, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Convert a case that failed or is done anew; the result says that it replaces the earlier one."""
    with _opened(config) as (loaded, ledger):
        _say(_actions(loaded, ledger).retry(case_id, by=_BY), as_json)


@app.command()
def release(
    case_id: CaseId,
    *,
    injection_time: Annotated[str, typer.Option(help="ISO 8601, e.g. 2026-03-04T09:30; local unless it has an offset.")]
    = "",
    baseline: Annotated[str, typer.Option(help="Series Instance UID to use as baseline.")] = "",
    delayed: Annotated[str, typer.Option(help="Series Instance UID to use as the 1-2 h scan.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Queue a held case with what it lacked, or correct the time of one that is done; all checks still apply."""
    with _opened(config) as (loaded, ledger):
        case = _actions(loaded, ledger).release(
            case_id, by=_BY, baseline=baseline, delayed=delayed, injection_time=injection_time
        )
    _say(case, as_json)


@app.command()
def discard(case_id: CaseId, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Close a case that is not done; what was received stays until retention removes it."""
    with _opened(config) as (loaded, ledger):
        _say(_actions(loaded, ledger).discard(case_id, by=_BY), as_json)


@app.command()
def export(
    case_id: CaseId,
    *,
    out: Annotated[Path, typer.Option(help="Folder to make; <out>/<case id>/ must not exist.")],
    config: ConfigFile = None,
) -> None:
    """Copy a case's result (objects, preview, page, report) and its history. Objects and page hold patient data."""
    with _opened(config) as (loaded, ledger):
        case = ledger.cases.case(case_id)
        events = ledger.cases.events(case_id)
    source, target = _result_directory(loaded, case), out / case_id
    if not source.is_dir():
        raise PermanentError(f"case {case_id} is {case.state.value} and has no result to export")
    if target.exists():
        raise UsageError(f"{target} is there already; choose another folder")
    history = _document(case) | {"events": [{"at": e.at.isoformat(), "kind": e.kind, "text": e.text} for e in events]}
    try:
        shutil.copytree(source, target)
        (target / "case.json").write_text(json.dumps(history, indent=2) + "\n", encoding="utf-8")
    except OSError as fault:
        raise PermanentError(f"{target} cannot be written ({fault.strerror or type(fault).__name__})") from fault
    typer.echo(f"{target}")


def _say(case: Case, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_document(case), indent=2))
    else:
        typer.echo(f"case {case.case_id} is {case.state.value}, revision {case.revision}")


def _hours(case: Case) -> str:
    """To half a minute; `_document` has them exactly."""
    return "" if case.hours_after_injection is None else f"{case.hours_after_injection:.2f}"


def _document(case: Case) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "state": case.state.value,
        "outcome": case.outcome.value if case.outcome else None,
        "baseline_series_uid": case.baseline_series_uid,
        "delayed_series_uid": case.delayed_series_uid,
        "injection_time": case.injection_time.isoformat() if case.injection_time else None,
        "hours_after_injection": case.hours_after_injection,
        "reasons": [
            {"code": r.code, "message": r.message, "measured": r.measured, "limit": r.limit} for r in case.reasons
        ],
        "revision": case.revision,
        "attempts": case.attempts,
        "delivered": case.delivered,
        "deliverable": case.deliverable,
        "created_at": case.created_at.isoformat(),
        "updated_at": case.updated_at.isoformat(),
    }


def _result_directory(config: Config, case: Case) -> Path:
    return config.storage.directory / "spool" / "results" / case.case_id / f"r{case.revision}"
