"""What is known of a simulated patient without looking at images: diagnosis, concentrations, grade."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.imaging.reflux import ENHANCED_MM, GRADE_3_BELOW, GRADE_4_FROM, SAS_ENHANCED_MM
from service.imaging.volume import Float32
from training.simulate.lattice import TISSUE_FLUID, Cells
from training.simulate.patient import LATE

_UPPER_MM = -20.0  # head frame: above it lies the supratentorial space
_LARGE = {"iNPH": 0.7, "communicating hydrocephalus": 0.3}
_ORDINARY = {"IIH": 0.3, "SIH": 0.2, "arachnoid cyst": 0.15, "pineal cyst": 0.15, "reference": 0.2}


def draw_diagnosis(large_ventricles: bool, rng: np.random.Generator) -> str:
    """One of the diagnoses that such clinics see, in invented proportions; marked as synthetic."""
    odds = _LARGE if large_ventricles else _ORDINARY
    return f"{rng.choice(list(odds), p=list(odds.values()))} (synthetic)"


def measures(cells: Cells, c: Float32) -> dict[str, float]:
    """Concentrations (mM) in the lateral ventricles and the space over the cerebrum, their ratio; tracer in mmol."""
    height = np.argwhere(cells.index >= 0)[:, 0] * cells.grid.spacing[2] + cells.grid.origin[2]
    upper = (~cells.ventricle) & (height > _UPPER_MM)
    ventricle = float(np.average(c, weights=cells.csf * cells.lateral))
    sas = float(np.average(c, weights=cells.csf * upper))
    in_csf, in_brain = (float((of * c).sum() * cells.volume * 1e-6) for of in (cells.csf, TISSUE_FLUID * cells.brain))
    return {
        "ventricle_mm": ventricle,
        "sas_mm": sas,
        "reflux_index": ventricle / max(sas, 1e-9),
        "total_mmol": in_csf + in_brain,
        "csf_mmol": in_csf,
        "brain_mmol": in_brain,
    }


def true_grade(series: Mapping[str, Mapping[str, float]], hours: Mapping[str, float]) -> str:
    """Reflux grade from noise-free concentrations: 0, 2, 3, 4, indeterminate or not gradable.

    By the cut-offs of `service.imaging.reflux`; 2 is a ventricle that was enhanced before 24 h and is not at 24 h.
    Grade 1 (third ventricle alone) is not told apart from 0.
    """
    late = series[LATE]
    if late["ventricle_mm"] <= ENHANCED_MM:
        before = [series[w]["ventricle_mm"] for w in series if hours[w] < hours[LATE]]
        if max(before, default=0.0) > ENHANCED_MM:
            return "2"
        return "0" if late["sas_mm"] >= SAS_ENHANCED_MM else "not gradable"
    if late["sas_mm"] < SAS_ENHANCED_MM:
        return "not gradable"
    ratio = late["reflux_index"]
    return "3" if ratio < GRADE_3_BELOW else "4" if ratio >= GRADE_4_FROM else "indeterminate"
