"""What every figure says of itself."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

SIMULATED = "SIMULATED patients, not clinical evidence"
"""Of all runs: training reads the simulator's patients only."""


def save(figure: Figure, path: Path) -> None:
    """As PNG, without the date and version that matplotlib would write into it."""
    figure.savefig(path, dpi=110, metadata={"Software": "csf24-training figures", "Title": SIMULATED})
