"""csf24 models: what is installed, and whether it still answers as it did."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from service.config import load_config
from service.errors import ModelError

app = typer.Typer(no_args_is_help=True, help="What is installed; hash and golden answer replayed.")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; without it the embedded defaults.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.command(name="list")
def list_models(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every model that was found: the configured folders' first, then the bundled ones."""
    from service.inference.manifest import load_manifest
    from service.wiring import choose_model, installed_models

    loaded = load_config(config, os.environ)
    rows: list[dict[str, Any]] = []
    try:
        default = choose_model(loaded)
    except ModelError:  # the table is what helps to correct `models.default`
        default = None
    for model in installed_models(loaded):
        manifest = load_manifest(model.directory)
        rows.append(
            {
                "name": model.name,
                "version": model.version,
                "default": model == default,
                "kind": manifest.recipe.kind,
                "mode": manifest.recipe.mode,
                "simulated_training": manifest.simulated_training,
                "sha256": manifest.sha256,
                "intended_use": manifest.intended_use,
                "directory": str(model.directory),
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("model", "default", "input", "normalisation", "trained on", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(
            f"{row['name']} {row['version']}",
            "yes" if row["default"] else "",
            row["kind"],
            row["mode"],
            "SIMULATED patients" if row["simulated_training"] else "acquired images",
        )
    console = Console(soft_wrap=True)
    console.print(table, soft_wrap=False)
    for row in rows:  # hash and folder are there to be copied: whole, whatever the terminal's width
        for line in (f"{row['name']} {row['version']}", f"  sha256 {row['sha256']}", f"  folder {row['directory']}"):
            console.print(line, markup=False, highlight=False)


@app.command()
def verify(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check every model's hash and tensors and replay its golden answer; status 1 if one fails."""
    from service.inference.onnx import load_predictor, verify_parity
    from service.wiring import installed_models

    loaded = load_config(config, os.environ)
    inference = loaded.inference
    rows: list[dict[str, Any]] = []
    for model in installed_models(loaded):
        row: dict[str, Any] = {"name": model.name, "version": model.version, "ok": False}
        try:
            predictor = load_predictor(
                model.directory,
                provider=inference.provider,
                threads=inference.threads,
                require_gpu=inference.require_gpu,
            )
            row["largest_difference"] = verify_parity(model.directory, predictor)
            row["tolerance"] = predictor.manifest.parity_tolerance
            row["provider"] = predictor.identity.provider
            row["ok"] = True
        except ModelError as fault:
            row["problem"] = str(fault)
        rows.append(row)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            name = f"{row['name']} {row['version']}"
            if row["ok"]:
                figures = f"differs by {row['largest_difference']:.1e}, {row['tolerance']:.0e} is allowed"
                typer.echo(f"ok      {name}: golden answer reproduced on {row['provider']} ({figures})")
            else:
                typer.echo(f"FAILED  {name}: {row['problem']}")
    if not rows and not as_json:
        typer.echo("no model was found; `models.path` in the configuration names folders to look in")
    raise typer.Exit(0 if rows and all(row["ok"] for row in rows) else 1)
