"""csf24-training: simulate, prepare, fit, evaluate, compare, export and more; says so without its extra."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.errors import Csf24Error, UsageError
from training import cli_compare, cli_figures, cli_reader_study

if TYPE_CHECKING:
    from training.prepared import PreparedCohort

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Simulate, train and export models for csf24.")
app.add_typer(cli_reader_study.app, name="reader-study")
app.command()(cli_figures.figures)
app.command()(cli_compare.compare)
app.command()(cli_compare.calibrate)
_out = Console()
_NEEDED = ("torch", "onnx", "scipy", "pyamg", "skimage", "onnxruntime", "statsmodels", "krippendorff", "pingouin")

RecipeName = Annotated[str, typer.Argument(help="A shipped recipe (volume3d, paper2d-small, paper) or a .toml file.")]
_PREPARED_HELP = "Folder written by `prepare`; may be given more than once."


class Format(StrEnum):
    """How simulated patients are written."""

    NPZ = "npz"
    DICOM = "dicom"
    NIFTI = "nifti"


def main() -> None:
    """Entry point of the console script."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _out.print(f"csf24-training needs {', '.join(missing)}: pip install 'csf24\\[cpu,training]'")
        raise SystemExit(2)
    try:
        app()
    except Csf24Error as error:
        _out.print(str(error), style="red", markup=False)
        raise SystemExit(1) from error


@app.command()
def simulate(
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for the cohort.")] = None,
    patients: Annotated[int, typer.Option(min=1, help="Of 136, 31 are for testing.")] = 136,
    seed: int = 24,
    format: Annotated[Format, typer.Option(help="npz is what `prepare` reads.")] = Format.NPZ,
    template: Annotated[
        Path | None, typer.Option(help="T1 whole head in MNI space (NAME.nii.gz, NAMEbet.nii.gz beside it) to bend.")
    ] = None,
    demo_patient: Annotated[Path | None, typer.Option(help="Write the demo's patient into this folder.")] = None,
) -> None:
    """Write a cohort of simulated patients, all visits of the founding paper; or the demo's patient.

    Patients that are there already are kept.
    """
    from training.simulate.cohort import simulate_patient  # noqa: PLC0415 - needs the extra
    from training.simulate.deliver import write_demo_patient, write_dicom, write_nifti  # noqa: PLC0415
    from training.simulate.files import simulate_cohort  # noqa: PLC0415
    from training.simulate.templates import load_template  # noqa: PLC0415

    if demo_patient is not None:
        _out.print(f"{write_demo_patient(demo_patient)}")
        return
    if out is None:
        raise typer.BadParameter("give --out DIR or --demo-patient DIR")
    head = load_template(template) if template else None
    if format is Format.NPZ:
        for path in simulate_cohort(out, patients, seed, head):
            _out.print(f"{path}")
        return
    write = write_dicom if format is Format.DICOM else write_nifti
    for index in range(patients):
        patient = simulate_patient(seed, index, template=head)
        files = write(patient, out / patient.name)
        _out.print(f"{out / patient.name}: {len(files)} files")


@app.command()
def head_atlas(
    *,
    mni: Annotated[Path, typer.Option(help="Folder with the ICBM152 2009a tissue maps (nilearn's).", exists=True)],
    head: Annotated[Path, typer.Option(help="A whole T1 head in MNI space (mricron-data's ch2.nii.gz).", exists=True)],
    other: Annotated[list[Path] | None, typer.Option(help="Further T1 heads (NIfTI), any pose.")] = None,
    out: Annotated[Path, typer.Option(help="The atlas.")] = Path("service/imaging/head_atlas.npz"),
) -> None:
    """Make the average head that the service finds its way by."""
    from training.head_atlas import TissueMaps, make_atlas, write_atlas  # noqa: PLC0415 - needs the extra
    from training.simulate.templates import read_nifti  # noqa: PLC0415

    atlas = make_atlas(TissueMaps.read(mni), read_nifti(head), [read_nifti(path) for path in other or []])
    write_atlas(atlas, out)
    _out.print(f"{out}")


@app.command()
def prepare(
    *,
    recipe: RecipeName,
    out: Annotated[Path, typer.Option(help="Folder for the tensors and the report.")],
    cohort: Annotated[Path | None, typer.Option(help="Folder written by `simulate`.", exists=True)] = None,
    manifest: Annotated[Path | None, typer.Option(help="Your own patients' visits (CSV).", exists=True)] = None,
    keep_refused: Annotated[
        bool, typer.Option("--keep-refused", help="With --cohort: judge on those too whom the service refuses.")
    ] = False,
) -> None:
    """A cohort -> model inputs and answers, read, checked and prepared as the service does; tells what is left out."""
    from rich.progress import Progress  # noqa: PLC0415

    from training.own_data.source import OwnSource  # noqa: PLC0415 - needs the extra
    from training.prepared import Source, prepare_cohort, report_text  # noqa: PLC0415
    from training.settings import load_recipe  # noqa: PLC0415
    from training.simulate.source import SimulatedSource  # noqa: PLC0415

    chosen = load_recipe(recipe)
    if (cohort is None) == (manifest is None):
        raise typer.BadParameter("give either --cohort (simulated) or --manifest (your own patients)")
    if manifest is not None:
        if keep_refused:
            raise typer.BadParameter("--keep-refused is for simulated patients; of yours, none that is refused is used")
        source: Source = OwnSource(manifest, chosen)
    elif cohort is not None:
        source = SimulatedSource(cohort, keep_refused=keep_refused)
    with Progress(console=_out) as progress:
        task = progress.add_task(chosen.name, total=sum(map(len, source.split.values())))
        outcomes = prepare_cohort(source, out, chosen, on_patient=lambda: progress.advance(task))
    _out.print(report_text(outcomes, source.simulated), markup=False, highlight=False)
    if not any(outcome.examples for outcome in outcomes):
        raise UsageError(f"no patient can be used; {out}/report.csv says why")


@app.command()
def fit(
    *,
    recipe: RecipeName,
    prepared: Annotated[list[Path], typer.Option(exists=True, help=_PREPARED_HELP)],
    run: Annotated[Path, typer.Option(help="Folder for checkpoints and the log; an unfinished run goes on.")],
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="One is fastest on a machine that is shared.")] = 1,
    max_minutes: Annotated[float | None, typer.Option(help="Stop by then, learning rate annealed to zero.")] = None,
) -> None:
    """Train a network."""
    from rich.progress import Progress  # noqa: PLC0415

    from training.fit import fit as fit_network  # noqa: PLC0415 - needs the extra
    from training.loading import load_cohorts, load_examples  # noqa: PLC0415

    chosen, cohorts = load_cohorts(recipe, prepared)
    if seed is not None:
        chosen = replace(chosen, training=replace(chosen.training, seed=seed))
    train = load_examples(cohorts, "train")
    validation = load_examples(cohorts, "val")
    if not train or not validation:
        raise UsageError(f"nothing to fit: {len(train)} training and {len(validation)} validation examples")
    with Progress(console=_out) as progress:
        result = fit_network(
            chosen, train, validation, run, threads=threads, max_minutes=max_minutes, progress=progress
        )
    facts = {
        "simulated": any(cohort.simulated for cohort in cohorts),
        "train_patients": sum(len(cohort.names("train")) for cohort in cohorts),
        "train_patients_bent": sum(cohort.facts["bent"] for cohort in cohorts),
        "train_examples": len(train),
        "validation_patients": len(validation),
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "minutes": round(result.minutes, 1),
        "threads": threads,
        "max_minutes": max_minutes,
        "seed": chosen.training.seed,
    }
    (run / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    _out.print(f"best validation loss {result.best_validation_loss:.5f} in epoch {result.best_epoch}: {result.best}")


@app.command()
def evaluate(
    *,
    recipe: RecipeName,
    prepared: Annotated[list[Path], typer.Option(exists=True, help=_PREPARED_HELP)],
    run: Annotated[Path, typer.Option(exists=True)],
) -> None:
    """Figures on the held-out patients of the first cohort, beside the baselines; kept in RUN, with pictures."""
    from training.evaluate import evaluate as figures_of  # noqa: PLC0415 - needs the extra
    from training.evaluate import write_figures  # noqa: PLC0415
    from training.figures.label import label  # noqa: PLC0415
    from training.figures.pictures import FILE, write_pictures  # noqa: PLC0415
    from training.loading import load_cohorts, load_examples, load_network  # noqa: PLC0415

    chosen, cohorts = load_cohorts(recipe, prepared)
    first, test = cohorts[0], cohorts[0].load("test")
    if not test:
        raise UsageError(f"{first.folder} has no test patient that could be used; its report.csv says why")
    network = load_network(chosen, run)
    simulated = any(cohort.simulated for cohort in cohorts)
    train = load_examples(cohorts, "train")
    figures = figures_of(network, chosen, train, test)
    figures["simulated"] = simulated
    figures["anatomy"] = "head, alignment, fat reference and checks by the service's own code"
    figures["refused"] = len([name for name in first.split["test"] if name in first.refused])
    figures["kept_although_refused"] = len([name for name in first.names("test") if name in first.kept])
    write_figures(figures, run / "figures.json")
    write_pictures(network, chosen, test, first.names("test"), run / FILE, simulated=simulated)
    columns = list(figures["rows"]["model"])
    table = Table("method", *columns, title=f"{label(simulated)}: {len(test)} held out")
    for method, row in figures["rows"].items():
        table.add_row(method, *(f"{row[c]:.5f}" for c in columns))
    _out.print(table)


@app.command()
def export(
    *,
    recipe: RecipeName,
    prepared: Annotated[list[Path], typer.Option(exists=True, help=_PREPARED_HELP)],
    run: Annotated[Path, typer.Option(exists=True)],
    out: Annotated[Path, typer.Option(help="The models' folder.")] = Path("onnx_models"),
    version: str = "0.1.0",
) -> None:
    """The best weights -> OUT/<name>-<version>/, verified with onnxruntime."""
    from training.calibrate import read_calibration  # noqa: PLC0415 - needs the extra
    from training.export import export as export_network  # noqa: PLC0415
    from training.loading import load_cohorts, load_network  # noqa: PLC0415
    from training.reach import read_reach  # noqa: PLC0415

    chosen, cohorts = load_cohorts(recipe, prepared)
    facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
    figures = json.loads((run / "figures.json").read_text(encoding="utf-8"))
    facts["commands"] = _commands(recipe, cohorts, run, facts=facts, version=version)
    facts["cohorts"] = [cohort.facts.get("seed") for cohort in cohorts]
    facts["visits"] = asdict(chosen.visits)
    example = (cohorts[0].load("test") or cohorts[0].load("val"))[0].tensor[None]
    # by where the data of the run came from and of the folders named now: neither can talk the other out of it
    simulated = facts.get("simulated") is not False or any(cohort.simulated for cohort in cohorts)
    directory = export_network(
        load_network(chosen, run),
        chosen,
        example,
        version=version,
        out=out,
        simulated=simulated,
        training=facts,
        metrics=figures,
        calibration=read_calibration(run),
        reach=read_reach(run),
    )
    _out.print(f"{directory}")


def _commands(
    recipe: str, cohorts: list[PreparedCohort], run: Path, *, facts: dict[str, Any], version: str
) -> list[str]:
    lines = []
    for cohort in cohorts:
        lines += cohort.facts["commands"]
        lines.append(f"csf24-training prepare {recipe} {cohort.facts['option']} --out {cohort.folder}")
    folders = " ".join(f"--prepared {cohort.folder}" for cohort in cohorts)
    limit = f" --max-minutes {facts['max_minutes']:g}" if facts.get("max_minutes") else ""
    command = f"csf24-training fit {recipe} {folders} --run {run} --seed {facts['seed']}"
    lines.append(f"{command} --threads {facts['threads']}{limit}")
    lines.append(f"csf24-training evaluate {recipe} {folders} --run {run}")
    if (run / "calibration.json").exists():
        unusual = " --refuse-unusual" if (run / "reach.json").exists() else ""
        lines.append(f"csf24-training calibrate {recipe} {folders} --run {run}{unusual}")
    lines.append(f"csf24-training export {recipe} {folders} --run {run} --version {version}")
    return lines
