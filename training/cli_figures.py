"""csf24-training figures: the founding paper's figures and table for one's own runs and reading; tracer curves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from service.errors import UsageError

if TYPE_CHECKING:
    from training.figures.pictures import RunPictures

_out = Console()
_PAIR = 2


def figures(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the pictures (.png) and their numbers (.csv).")],
    run: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Evaluated run, or one for each loss: figure 5.")
    ] = None,
    baseline_run: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Run(s) that were given the baseline alone: figure 4.")
    ] = None,
    reading: Annotated[
        Path | None, typer.Option(exists=True, help="agreement.json of `reader-study score`: figure 6.")
    ] = None,
    cohort: Annotated[
        Path | None, typer.Option(exists=True, help="Simulated cohort: its tracer over time beside what was measured.")
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option(help="Patient to show, repeatable; by default the first held-out ones.")
    ] = None,
) -> None:
    """Draw figures 4, 5, 6 and A1 and table 2, and a cohort's tracer curves, as far as what they need is given."""
    from training.figures.curves import draw_curves  # noqa: PLC0415 - needs the extra
    from training.figures.errors_table import as_markdown, errors_table  # noqa: PLC0415
    from training.figures.matrices import draw_matrices  # noqa: PLC0415
    from training.figures.panels import draw_cases  # noqa: PLC0415
    from training.figures.pictures import read_pictures  # noqa: PLC0415
    from training.figures.tracer import draw_tracer  # noqa: PLC0415

    runs, baseline_runs = run or [], baseline_run or []
    if not (runs or baseline_runs or reading or cohort):
        raise UsageError("nothing to draw: give --run, --baseline-run, --reading or --cohort")
    out.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[list[object]]] = {}
    if baseline_runs:
        read = [read_pictures(folder) for folder in baseline_runs]
        tables["figure4"] = draw_cases(read, _cases(case, read, 1), "baseline", out / "figure4.png")
    if runs:
        read = [read_pictures(folder) for folder in runs]
        tables["figure5"] = draw_cases(read, _cases(case, read, _PAIR), read[0].inputs[-1], out / "figure5.png")
    if runs or baseline_runs:
        tables["figureA1"] = draw_curves([*baseline_runs, *runs], out / "figureA1.png")
        tables["table2"] = errors_table([*baseline_runs, *runs])
        (out / "table2.md").write_text(as_markdown(tables["table2"], [*baseline_runs, *runs]), encoding="utf-8")
    if reading:
        tables["figure6"] = draw_matrices(reading, out / "figure6.png")
    if cohort:
        tables["tracer"] = draw_tracer(cohort, out / "tracer.png")
    for name, rows in tables.items():
        with (out / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    for path in sorted(out.glob("*.*")):
        _out.print(f"{path}", markup=False, highlight=False, soft_wrap=True)


def _cases(asked: list[str] | None, runs: list[RunPictures], count: int) -> list[str]:
    return list(asked or runs[0].cases)[:count]
