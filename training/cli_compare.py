"""csf24-training compare: models and baselines in one table, on the same held-out patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.errors import UsageError

_out = Console()


def compare(
    *,
    recipe: Annotated[str, typer.Argument(help="A shipped recipe or a .toml file.")],
    prepared: Annotated[list[Path], typer.Option(exists=True, help="As for `fit`; the first one's test patients.")],
    out: Annotated[Path, typer.Option(help="Folder for table.md, table.csv and patients.csv.")],
    run: Annotated[
        list[Path] | None, typer.Option(exists=True, help="A fitted run of this recipe, one for each seed.")
    ] = None,
    model: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Folder of an exported model with the same preprocessing.")
    ] = None,
    physics: Annotated[
        Path | None, typer.Option(exists=True, help="The simulated cohort, for the solver's own row (slow).")
    ] = None,
    fit_physics: Annotated[
        bool, typer.Option("--fit-physics", help="With --physics, also with each patient's own parameters (slower).")
    ] = False,
) -> None:
    """Set a recipe's models beside what they must beat; a recipe marked `release` fails unless they do."""
    from rich.progress import Progress  # noqa: PLC0415

    from training.comparison.physics import PHYSICS, PHYSICS_FITTED, forecasts  # noqa: PLC0415 - needs the extra
    from training.comparison.release import objections  # noqa: PLC0415
    from training.comparison.run import compare as compare_all  # noqa: PLC0415
    from training.comparison.run import exported_answers  # noqa: PLC0415
    from training.comparison.table import write_tables  # noqa: PLC0415
    from training.figures.label import label  # noqa: PLC0415
    from training.loading import load_cohorts, load_examples, load_network  # noqa: PLC0415

    if fit_physics and not physics:
        raise UsageError("--fit-physics wants the simulated cohort: --physics FOLDER")
    chosen, cohorts = load_cohorts(recipe, prepared)
    train = load_examples(cohorts, "train")
    names, test = cohorts[0].names("test"), cohorts[0].load("test")
    if not train or not test:
        raise UsageError(f"nothing to compare: {len(train)} training and {len(test)} test examples")
    networks = {f"network {folder.name}": load_network(chosen, folder) for folder in run or []}
    with Progress(console=_out) as progress:
        task = progress.add_task("methods", total=6 + len(networks) + len(model or []) + (1 if physics else 0))
        further = {}
        if physics:
            further[PHYSICS] = forecasts(physics, names, test, chosen, out / "physics")
            if fit_physics:
                kept = out / "physics-fitted"
                further[PHYSICS_FITTED] = forecasts(physics, names, test, chosen, kept, fitted=True)
        for folder in model or []:
            further[f"exported {folder.name}"] = exported_answers(folder, chosen, test)
        rows = compare_all(networks, chosen, train, test, further=further, on_row=lambda: progress.advance(task))
    said = label(any(cohort.simulated for cohort in cohorts))
    text = write_tables(rows, names, said, out)
    _out.print(text, markup=False, highlight=False, soft_wrap=True)
    if not chosen.release:
        return
    learned = [row for row in rows if row.learned]
    found = objections(learned, [row for row in rows if not row.learned])
    if found:
        raise UsageError(f"{chosen.name} may not be released:\n  - " + "\n  - ".join(found))
    _out.print(f"{chosen.name} beats persistence and the regression; it may be released.")


def calibrate(
    *,
    recipe: Annotated[str, typer.Argument(help="A shipped recipe or a .toml file.")],
    prepared: Annotated[list[Path], typer.Option(exists=True, help="As for `fit`.")],
    run: Annotated[Path, typer.Option(exists=True, help="The fitted run; `export` then takes the calibration along.")],
    refuse_unusual: Annotated[
        bool, typer.Option("--refuse-unusual", help="Also have the service refuse input unlike the training patients'.")
    ] = False,
) -> None:
    """Widen (or narrow) the interval on the validation patients; how it covers the test patients, in RUN."""
    import numpy as np  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from training.calibrate import calibrate as calibrate_run  # noqa: PLC0415 - needs the extra
    from training.calibrate import coverage_table, write_calibration  # noqa: PLC0415
    from training.figures.coverage import draw_coverage  # noqa: PLC0415
    from training.figures.label import is_simulated, label  # noqa: PLC0415
    from training.loading import load_cohorts, load_examples, load_network  # noqa: PLC0415
    from training.reach import find_reach, write_reach  # noqa: PLC0415

    chosen, cohorts = load_cohorts(recipe, prepared)
    network = load_network(chosen, run)
    simulated = is_simulated(run) or any(cohort.simulated for cohort in cohorts)
    validation = load_examples(cohorts, "val")
    found, cost = calibrate_run(network, chosen, validation, simulated=simulated)
    write_calibration(found, run)
    _out.print(cost.text, soft_wrap=True)
    _out.print(f"offsets of the bounds, fat units: {', '.join(f'{v:+.4f}' for v in found.offsets[1:])}")
    names, test = cohorts[0].names("test"), cohorts[0].load("test")
    if refuse_unusual:
        times = len(chosen.preprocessing.time_points)
        reach = find_reach(load_examples(cohorts, "train"), validation, times)
        write_reach(reach, run)
        beyond = sum(reach.distance(example.tensor[None], times) > reach.limit for example in test)
        _out.print(f"INPUT_UNUSUAL beyond a distance of {reach.limit:.2f}: {beyond} of {len(test)} test patients")
    if not test:
        raise UsageError("calibrated, but there is no test patient to show its coverage on")
    covered = coverage_table(network, test, found)
    levels = chosen.preprocessing.quantiles[1:]
    draw_coverage(covered, max(levels) - min(levels), label(simulated), run / "coverage.png")
    table = Table("", *covered["before"], title=f"{label(simulated)}: mean over {len(test)} test patients")
    for when, columns in covered.items():
        table.add_row(when, *(f"{np.nanmean(values):.3f}" for values in columns.values()))
    _out.print(table)
    lines = ["patient,when," + ",".join(covered["before"]) + ",data"]
    for when, columns in covered.items():
        for n, name in enumerate(names):
            values = ",".join(f"{column[n]:.4f}" for column in columns.values())
            lines.append(f"{name},{when},{values},{label(simulated)}")
    (run / "coverage.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
