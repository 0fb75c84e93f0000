"""csf24-training: simulate, prepare, fit, evaluate, export, figures, reader-study; says so without its extra."""

from __future__ import annotations

import importlib.util
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.errors import Csf24Error
from training import cli_figures, cli_reader_study

if TYPE_CHECKING:
    from training.settings import TrainingRecipe

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Simulate, train and export models for csf24.")
app.add_typer(cli_reader_study.app, name="reader-study")
app.command()(cli_figures.figures)
_out = Console()
_NEEDED = ("torch", "onnx", "scipy", "onnxruntime", "statsmodels", "krippendorff", "pingouin")

RecipeName = Annotated[str, typer.Argument(help="A shipped recipe (volume3d, paper2d-small, paper) or a .toml file.")]
Cohort = Annotated[Path, typer.Option(help="Folder written by `simulate`; may be given more than once.", exists=True)]


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
    patients: Annotated[int, typer.Option(min=1)] = 60,
    seed: int = 24,
    format: Annotated[Format, typer.Option(help="npz is what `prepare` reads.")] = Format.NPZ,
    template: Annotated[
        Path | None, typer.Option(help="T1 whole head in MNI space (NAME.nii.gz, NAMEbet.nii.gz beside it) to bend.")
    ] = None,
    demo_patient: Annotated[Path | None, typer.Option(help="Write the demo's patient into this folder.")] = None,
) -> None:
    """Write a cohort of simulated patients, or the demo's patient."""
    from training.simulate.cohort import simulate_cohort, simulate_patient  # noqa: PLC0415 - needs the extra
    from training.simulate.deliver import write_demo_patient, write_dicom, write_nifti  # noqa: PLC0415
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
    *, recipe: RecipeName, cohort: Cohort, out: Annotated[Path, typer.Option(help="Folder for the tensors.")]
) -> None:
    """Cohort -> model inputs and targets, through the service's own preparation."""
    from training.prepare import prepare_cohort  # noqa: PLC0415 - needs the extra
    from training.settings import load_recipe  # noqa: PLC0415

    chosen = load_recipe(recipe)
    written = prepare_cohort(cohort, out, chosen.preprocessing, chosen.training.variants, chosen.training.seed)
    _out.print(f"{len(written)} examples in {out}")


@app.command()
def fit(
    *,
    recipe: RecipeName,
    cohort: Annotated[list[Path], typer.Option(exists=True, help="For their split.json; may be repeated.")],
    prepared: Annotated[list[Path], typer.Option(exists=True, help="Of each cohort, in the same order.")],
    run: Annotated[Path, typer.Option(help="Folder for checkpoints and the log; an unfinished run goes on.")],
    threads: Annotated[int, typer.Option(min=1, help="One is fastest on a machine that is shared.")] = 1,
    max_minutes: Annotated[float | None, typer.Option(help="Stop by then, learning rate annealed to zero.")] = None,
) -> None:
    """Train a network."""
    from rich.progress import Progress  # noqa: PLC0415

    from training.fit import fit as fit_network  # noqa: PLC0415 - needs the extra

    chosen, parts = _load(recipe, cohort, prepared)
    with Progress(console=_out) as progress:
        result = fit_network(
            chosen, parts["train"], parts["val"], run, threads=threads, max_minutes=max_minutes, progress=progress
        )
    facts = {
        "train_patients": parts["train_patients"],
        "train_patients_bent": parts["bent"],
        "train_examples": len(parts["train"]),
        "validation_patients": len(parts["val"]),
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
    cohort: Annotated[list[Path], typer.Option(exists=True)],
    prepared: Annotated[list[Path], typer.Option(exists=True)],
    run: Annotated[Path, typer.Option(exists=True)],
) -> None:
    """Figures on the held-out patients of the first cohort, beside the baselines; kept in RUN, with pictures."""
    from training.evaluate import evaluate as figures_of  # noqa: PLC0415 - needs the extra
    from training.evaluate import write_figures  # noqa: PLC0415
    from training.figures.pictures import FILE, write_pictures  # noqa: PLC0415
    from training.prepare import prepare_as_served  # noqa: PLC0415
    from training.simulate.cohort import load_patient  # noqa: PLC0415

    chosen, parts = _load(recipe, cohort, prepared)
    served = {
        name: prepare_as_served(load_patient(cohort[0] / f"{name}.npz"), chosen.preprocessing)
        for name in parts["test_names"]
    }
    found = {name: example for name, example in served.items() if example is not None}
    test, network = list(found.values()), _network(chosen, run)
    figures = figures_of(network, chosen, parts["train"], test)
    figures["anatomy"] = "found by the service's own find_anatomy and fat reference; registration is the true one"
    figures["refused"] = len(served) - len(test)
    write_figures(figures, run / "figures.json")
    write_pictures(network, chosen, test, list(found), run / FILE)
    columns = list(figures["rows"]["model"])
    table = Table("method", *columns, title=f"SIMULATED, {len(test)} held-out patients")
    for method, row in figures["rows"].items():
        table.add_row(method, *(f"{row[c]:.5f}" for c in columns))
    _out.print(table)


@app.command()
def export(
    *,
    recipe: RecipeName,
    cohort: Annotated[list[Path], typer.Option(exists=True)],
    prepared: Annotated[list[Path], typer.Option(exists=True)],
    run: Annotated[Path, typer.Option(exists=True)],
    out: Annotated[Path, typer.Option(help="The models' folder.")] = Path("onnx_models"),
    version: str = "0.1.0",
) -> None:
    """The best weights -> OUT/<name>-<version>/, verified with onnxruntime."""
    from training.export import export as export_network  # noqa: PLC0415 - needs the extra

    chosen, parts = _load(recipe, cohort, prepared)
    facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
    figures = json.loads((run / "figures.json").read_text(encoding="utf-8"))
    facts["commands"] = _commands(recipe, cohort, prepared, run, facts=facts, version=version)
    facts["cohorts"] = [json.loads((c / "split.json").read_text(encoding="utf-8")).get("seed") for c in cohort]
    example = parts["test"][0].tensor[None]
    directory = export_network(
        _network(chosen, run), chosen, example, version=version, out=out, training=facts, metrics=figures
    )
    _out.print(f"{directory}")


def _load(recipe: str, cohorts: list[Path], prepared: list[Path]) -> tuple[TrainingRecipe, dict[str, Any]]:
    from training.prepare import load_part  # noqa: PLC0415 - needs the extra
    from training.settings import load_recipe  # noqa: PLC0415

    if len(cohorts) != len(prepared):
        raise typer.BadParameter("give one --prepared for each --cohort, in the same order")
    chosen = load_recipe(recipe)
    variants = chosen.training.variants
    parts: dict[str, Any] = {"train": [], "val": [], "test": [], "train_patients": 0, "bent": 0, "test_names": []}
    for number, (cohort, tensors) in enumerate(zip(cohorts, prepared, strict=True)):
        split = json.loads((cohort / "split.json").read_text(encoding="utf-8"))
        parts["train"] += load_part(tensors, split["train"], variants)
        parts["val"] += load_part(tensors, split["val"], 1)
        parts["train_patients"] += len(split["train"])
        parts["bent"] += len(split["train"]) if split.get("template") else 0
        if number == 0:  # later cohorts only help to train
            parts["test"] = load_part(tensors, split["test"], 1)
            parts["test_names"] = split["test"]
    return chosen, parts


def _network(recipe: TrainingRecipe, run: Path) -> Any:  # noqa: ANN401 - torch is imported only where it is needed
    import torch  # noqa: PLC0415

    from training.model import build  # noqa: PLC0415

    network = build(recipe)
    network.load_state_dict(torch.load(run / "best.pt", weights_only=True))
    return network.eval()


def _commands(
    recipe: str, cohorts: list[Path], prepared: list[Path], run: Path, *, facts: dict[str, Any], version: str
) -> list[str]:
    lines = []
    for cohort, tensors in zip(cohorts, prepared, strict=True):
        split = json.loads((cohort / "split.json").read_text(encoding="utf-8"))
        bent = " --template /usr/share/mricron/templates/ch2.nii.gz" if split.get("template") else ""
        lines.append(
            f"csf24-training simulate --out {cohort} --patients {split['patients']} --seed {split['seed']}{bent}"
        )
        lines.append(f"csf24-training prepare {recipe} --cohort {cohort} --out {tensors}")
    pairs = " ".join(f"--cohort {c} --prepared {p}" for c, p in zip(cohorts, prepared, strict=True))
    limit = f" --max-minutes {facts['max_minutes']:g}" if facts.get("max_minutes") else ""
    lines.append(f"csf24-training fit {recipe} {pairs} --run {run} --threads {facts['threads']}{limit}")
    lines.append(f"csf24-training evaluate {recipe} {pairs} --run {run}")
    lines.append(f"csf24-training export {recipe} {pairs} --run {run} --version {version}")
    return lines
