"""Coverage of the interval in every test patient, before and after calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from service.imaging.volume import Float64
from training.figures.label import save


def draw_coverage(found: Mapping[str, Mapping[str, Float64]], nominal: float, said: str, path: Path) -> None:
    """One panel a region; a dot for each patient, a bar for the mean, a line where it should be."""
    regions = [name for name in found["before"] if name != "width"]
    figure = Figure(figsize=(2.6 * len(regions), 3.2), layout="constrained")
    for axis, region in zip(figure.subplots(1, len(regions), squeeze=False, sharey=True)[0], regions, strict=True):
        for place, when in enumerate(("before", "after")):
            shares = found[when][region]
            spread = np.linspace(-0.12, 0.12, len(shares)) + place
            axis.plot(spread, shares, "o", markersize=3, alpha=0.7)
            axis.hlines(np.nanmean(shares), place - 0.25, place + 0.25, color="black")
        axis.axhline(nominal, color="grey", linestyle="--", linewidth=0.8)
        axis.set(xticks=[0, 1], xticklabels=["own quantiles", "calibrated"], title=region, xlim=(-0.5, 1.5))
    figure.axes[0].set_ylabel("share of voxels in the interval")
    figure.suptitle(f"{said}: coverage in each test patient, nominal {nominal:.0%}", fontsize=8)
    save(figure, path, said)
