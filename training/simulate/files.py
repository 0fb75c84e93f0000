"""A cohort on disk: split.json, one .npz per patient, cohort.csv; made patient by patient, resumable."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from training.simulate.cohort import simulate_patient
from training.simulate.patient import load_facts, save_patient
from training.simulate.templates import Template
from training.split import split_patients

_COLUMNS = ("patient", "split", "simulated", "diagnosis", "grade", "reflux_index_24h")


def split_cohort(n: int, seed: int) -> dict[str, list[str]]:
    """`training.split.split_patients` of a simulated cohort's names."""
    return split_patients([f"patient-{i:03d}" for i in range(n)], seed)


def simulate_cohort(folder: Path, n: int, seed: int, template: Template | None = None) -> Iterator[Path]:
    """Write ``split.json``, ``cohort.csv`` and one file per patient; patients already there are kept. Yields each."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = split_cohort(n, seed)
    if template is not None:  # one anatomy, however bent: nothing of it is fit for judging
        parts = {"test": [], "val": [], "train": sorted(name for part in parts.values() for name in part)}
    facts = {"seed": seed, "patients": n, "template": template is not None, "simulated": True, **parts}
    (folder / "split.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for index in range(n):
        path = folder / f"patient-{index:03d}.npz"
        if not path.exists():
            save_patient(simulate_patient(seed, index, template=template), folder)
            write_roster(folder, parts)
        yield path
    write_roster(folder, parts)


def write_roster(folder: Path, parts: dict[str, list[str]]) -> Path:
    """``cohort.csv``: the patients there so far, with split, diagnosis, true grade, and hours of each visit."""
    part_of = {name: part for part, names in parts.items() for name in names}
    rows, windows = [], []
    for path in sorted(folder.glob("patient-???.npz")):
        facts = load_facts(path)
        truth, hours = facts["truth"], facts["hours"]
        windows = list(hours)
        rows.append(
            {
                "patient": path.stem,
                "split": part_of.get(path.stem, ""),
                "simulated": "yes",
                "diagnosis": truth["diagnosis"],
                "grade": truth["grade"],
                "reflux_index_24h": f"{truth['reflux_index']:.3f}",
                **{f"hours {window}": f"{h:.2f}" for window, h in hours.items()},
            }
        )
    target = folder / "cohort.csv"
    partial = target.with_suffix(".part")
    names = [*_COLUMNS, *(f"hours {window}" for window in windows)]
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(target)
    return target
