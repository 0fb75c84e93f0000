"""What every figure says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

SIMULATED = "SIMULATED patients, not clinical evidence"
ACQUIRED = "Patients of one cohort; research, not for diagnosis"


def label(simulated: bool) -> str:
    """Of a run, or of several if any of them is simulated."""
    return SIMULATED if simulated else ACQUIRED


def is_simulated(run: Path) -> bool:
    """Whether a run was fitted on simulated patients; so it is unless its ``facts.json`` says otherwise."""
    try:
        facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return facts.get("simulated") is not False


def label_of(runs: Iterable[Path]) -> str:
    """Of all `runs` together."""
    return label(any(map(is_simulated, runs)))


def save(figure: Figure, path: Path, title: str = SIMULATED) -> None:
    """As PNG, without the date and version that matplotlib would write into it."""
    figure.savefig(path, dpi=110, metadata={"Software": "csf24-training figures", "Title": title})
