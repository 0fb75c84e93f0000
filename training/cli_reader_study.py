"""csf24-training reader-study: blinded packs for readers, and what their ratings say."""

from __future__ import annotations

import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Blinded packs for readers, and the agreement of their ratings.")
_out = Console()


class Grades(StrEnum):
    """Which grades the form offers."""

    AT_24_H = "24h"
    ALL = "0-4"


@app.command()
def make(
    *,
    cohort: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="PATIENT/{baseline,delayed,late}: a DICOM series each.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the packs: reader-N/installment-M.")],
    key: Annotated[Path, typer.Option(help="New file for the key; not within the packs.")],
    model: Annotated[
        list[str] | None, typer.Option(help="A model's folder or shipped name, repeatable; volume3d by default.")
    ] = None,
    readers: Annotated[int, typer.Option(min=1)] = 3,
    grades: Annotated[Grades, typer.Option(help="24h: 0, 3, 4. 0-4: all, as the founding paper.")] = Grades.AT_24_H,
    reread: Annotated[bool, typer.Option(help="Show the real images a second time, in an installment more.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="To repeat an allocation. By default drawn, and kept in the key.")
    ] = None,
) -> None:
    """Write blinded packs of real and predicted 24 h images, and their key."""
    from training.reader_study.make import make_study  # noqa: PLC0415 - needs the extra
    from training.reader_study.scale import GRADES, GRADES_AT_24_H  # noqa: PLC0415

    made = make_study(
        cohort=cohort,
        models=model or ["volume3d"],
        readers=readers,
        grades=GRADES_AT_24_H if grades is Grades.AT_24_H else tuple(GRADES),
        reread=reread,
        seed=secrets.randbits(60) if seed is None else seed,
        out=out,
        key_file=key,
        tell=lambda line: _out.print(line, markup=False, highlight=False, soft_wrap=True),
    )
    patients = f"{len(made.patients)} {'SIMULATED ' if made.simulated else ''}patients"
    _out.print(
        f"Study {made.study}: {patients}, {len(made.left_out)} left out, {made.readers} readers, "
        f"{len(made.versions)} installments. Packs: {out}. Key, not for readers: {key}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def score(
    *,
    ratings: Annotated[list[Path], typer.Argument(exists=True, help="Filled-in forms, or folders with ratings*.csv.")],
    key: Annotated[Path, typer.Option(exists=True, help="Written by `make`.")],
    out: Annotated[Path, typer.Option(help="Folder for agreement.json, two tables and report.html.")],
    allow_missing: Annotated[bool, typer.Option(help="Go on although some items have no grade.")] = False,
    draws: Annotated[int, typer.Option(min=100, help="Of the bootstrap over patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 24,
) -> None:
    """Check the ratings and write transition matrices and agreement."""
    from training.reader_study.analysis import analyse  # noqa: PLC0415 - needs the extra
    from training.reader_study.key import read_key  # noqa: PLC0415
    from training.reader_study.ratings import find_forms, read_ratings  # noqa: PLC0415
    from training.reader_study.report import write_report  # noqa: PLC0415
    from training.reader_study.tables import print_figures  # noqa: PLC0415

    opened = read_key(key)
    given = read_ratings(find_forms(ratings), opened, allow_missing=allow_missing)
    with _out.status("computing") as status:
        figures = analyse(opened, given, draws=draws, seed=seed, tell=status.update)
    print_figures(figures, opened, _out)
    for path in write_report(figures, opened, out):
        _out.print(f"{path}", markup=False, highlight=False)
