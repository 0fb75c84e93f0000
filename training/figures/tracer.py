"""Tracer in the head over time: simulated patients beside the published measurements that they are to resemble.

Points: the one volunteer of Riseth et al. 2025 (doi:10.1101/2025.07.23.25331971), 0.5 mmol gadobutrol, at 4.4, 24, 48
and 70 h. With one volunteer nothing is known of the spread; the band is half to one and a half times what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from service.errors import UsageError
from service.imaging.volume import Float64
from training.figures.label import SIMULATED, save
from training.simulate.patient import load_facts

Rows = list[list[object]]
DOSE_MMOL = 0.5
HOURS = (4.4, 24.0, 48.0, 70.0)
MEASURED: Mapping[str, tuple[float, ...]] = {
    "total": (0.0784, 0.118, 0.0858, 0.0506),
    "brain": (0.0164, 0.0519, 0.0453, 0.0293),
    "csf": (0.0615, 0.0655, 0.0401, 0.0212),
}
"""mmol."""
BAND = (0.5, 1.5)
_TITLES = {"total": "whole head", "brain": "brain tissue", "csf": "fluid"}
_SPREAD = ("median", "10th percentile", "90th percentile")
_LATEST_H = 80.0  # the visit four weeks later is next to nothing


def draw_tracer(cohort: Path, path: Path) -> Rows:
    """A line for each patient of a simulated cohort, their median, and the band; returns a row a visit with the spread.

    Raises
    ------
    UsageError
        There is no simulated patient, or a version made it that did not note these amounts.
    """
    windows, hours, amounts = _courses(cohort)
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    for axis, (name, measured) in zip(figure.subplots(1, len(MEASURED)), MEASURED.items(), strict=True):
        shown = 100 * np.array(measured) / DOSE_MMOL
        axis.fill_between(HOURS, BAND[0] * shown, BAND[1] * shown, color="tab:orange", alpha=0.25)
        axis.plot(HOURS, shown, "o-", color="tab:orange", label="measured, one volunteer (Riseth 2025)")
        for course in range(len(hours)):
            axis.plot(hours[course], amounts[name][course], color="tab:blue", alpha=0.2, linewidth=0.8)
        axis.plot(np.median(hours, axis=0), np.median(amounts[name], axis=0), color="black", label="simulated, median")
        axis.set(title=_TITLES[name], xlabel="hours after the injection", ylim=(0, None))
    figure.axes[0].set_ylabel("% of the dose")
    figure.axes[0].legend(fontsize=7)
    figure.suptitle(
        f"{SIMULATED}: {len(hours)} of them beside a measurement; band: half to one and a half of it", fontsize=8
    )
    save(figure, path)
    quantiles = {name: np.percentile(of, [50, 10, 90], axis=0) for name, of in amounts.items()}
    heads = [f"{name}, % of dose, {which}" for name in amounts for which in _SPREAD]
    return [
        ["visit", "median hours", "patients", *heads],
        *(
            [
                window,
                f"{np.median(hours[:, n]):.2f}",
                len(hours),
                *(f"{q[n]:.2f}" for of in quantiles.values() for q in of),
            ]
            for n, window in enumerate(windows)
        ),
    ]


def _courses(cohort: Path) -> tuple[list[str], Float64, dict[str, Float64]]:
    """Visits by name, their hours ``(patients, visits)``, and per cent of the dose by place, alike."""
    facts = [load_facts(path) for path in sorted(cohort.glob("patient-???.npz"))]
    if not facts or any(
        f"{name}_mmol" not in visit for f in facts for visit in f["truth"]["visits"].values() for name in MEASURED
    ):
        raise UsageError(f"{cohort}: found no patients that `csf24-training simulate` of this version made")
    windows = [w for w, h in sorted(facts[0]["hours"].items(), key=lambda item: item[1]) if 0 < h < _LATEST_H]
    hours = np.array([[f["hours"][w] for w in windows] for f in facts])
    amounts = {
        name: 100 / DOSE_MMOL * np.array([[f["truth"]["visits"][w][f"{name}_mmol"] for w in windows] for f in facts])
        for name in MEASURED
    }
    return windows, hours, amounts
