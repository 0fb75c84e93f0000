"""A folder for each reader and installment: images, the form to print and the form to fill in."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.errors import UsageError
from training.reader_study.allocation import Presentation
from training.reader_study.dicom_files import Identifiers, item_files
from training.reader_study.images import PLANES, PatientPictures
from training.reader_study.key import REAL, REAL_AGAIN, Key
from training.reader_study.scale import COLUMNS, GRADES, LARGEST_PERCENT, LOOKS, NOT_GRADABLE, QUALITY

RATINGS_FILE = "ratings.csv"
_FORM = "form.html"
_MOMENT = 946_684_800  # 2000-01-01: files must not tell the order in which they were made


def write_packs(key: Key, shown: Mapping[str, PatientPictures], out: Path) -> list[Path]:
    """``out/reader-N/installment-M/{images/NNN_CODE/*.dcm, ratings.csv, form.html}``; returns the folders.

    Raises
    ------
    UsageError
        `out` has something in it already.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; give --out a new folder, so that no pack mixes two studies")
    identifiers = Identifiers(key.seed)
    folders = []
    for reader in range(1, key.readers + 1):
        for installment in range(1, len(key.versions) + 1):
            items = sorted(
                (i for i in key.items if (i.reader, i.installment) == (reader, installment)), key=lambda i: i.position
            )
            folder = out / f"reader-{reader}" / f"installment-{installment}"
            for item in items:
                _write_images(item, shown[item.patient], folder, identifiers, simulated=key.simulated)
            _write(folder / RATINGS_FILE, _ratings_form(key, items).encode("utf-8-sig"))  # spreadsheets ask for a BOM
            _write(folder / _FORM, _printable_form(key, items).encode())
            folders.append(folder)
    for path in [out, *out.rglob("*")]:
        os.utime(path, (_MOMENT, _MOMENT))
    return folders


def templates() -> Environment:
    """The package's pages; they escape everything and stop at a name nobody supplied."""
    return Environment(
        loader=PackageLoader("training.reader_study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _write_images(
    item: Presentation, shown: PatientPictures, folder: Path, identifiers: Identifiers, *, simulated: bool
) -> None:
    version = REAL if item.version == REAL_AGAIN else item.version
    files = item_files(
        item.item, shown.versions[version], shown.grids, PLANES, identifiers=identifiers, simulated=simulated
    )
    for name, content in files.items():
        _write(folder / "images" / f"{item.position:03d}_{item.item}" / name, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _ratings_form(key: Key, items: Sequence[Presentation]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for item in items:
        known = [key.study, item.reader, item.installment, item.position, item.item]
        writer.writerow(known + [""] * (len(COLUMNS) - len(known)))
    return text.getvalue()


def _printable_form(key: Key, items: Sequence[Presentation]) -> str:
    return (
        templates()
        .get_template("form.html")
        .render(
            study=key.study,
            reader=items[0].reader,
            installment=items[0].installment,
            installments=len(key.versions),
            simulated=key.simulated,
            grades={grade: GRADES[grade] for grade in key.grades},
            not_gradable=NOT_GRADABLE,
            quality=QUALITY,
            largest_percent=LARGEST_PERCENT,
            looks=LOOKS,
            ratings_file=RATINGS_FILE,
            items=[(item.position, item.item) for item in items],
        )
    )
