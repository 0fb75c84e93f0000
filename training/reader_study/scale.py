"""What a reader is asked about each pair of images, and which answers count.

The founding paper (Rieff et al. 2025) asks for one thing, the ventricular reflux grade. The other columns are ours
and may stay empty. The paper's text defines grades 2 to 4; 0 and 1 are worded after Eide et al.'s scheme as it is
commonly cited and must be checked against the original before a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOT_GRADABLE = "NG"
"""Written in place of a grade when the pictures do not allow one."""

GRADES: Mapping[int, str] = MappingProxyType(
    {
        0: "No enrichment of the lateral ventricles",
        1: "Sign of supra-aqueductal reflux, lateral ventricles not enriched (needs images over time)",
        2: "Transient enrichment of the lateral ventricles (needs images over time)",
        3: "Lasting enrichment of the lateral ventricles at 24 h, not isointense with the subarachnoid fluid",
        4: "Lasting enrichment of the lateral ventricles at 24 h, isointense with the subarachnoid fluid",
    }
)

GRADES_AT_24_H = (0, 3, 4)
"""What the images of 24 h alone can show; in the founding paper 1 and 2 did not occur for that reason."""

LOWEST_STRONG_REFLUX = 3
"""Grades from here on are taken together against the rest."""

QUALITY: Mapping[int, str] = MappingProxyType({1: "unusable", 2: "poor", 3: "sufficient", 4: "good", 5: "excellent"})
"""Image quality; not in the founding paper."""

LARGEST_PERCENT = 300.0
"""Of the optional estimate: signal of the lateral ventricles in percent of the subarachnoid fluid at their level."""

LOOKS = ("real", "predicted")
"""Optional guess, with which one sees how far the blinding held."""

COLUMNS = ("study", "reader", "installment", "position", "item", "grade", "quality", "percent", "looks", "comment")
"""Of the rating form, in order; the first five are filled in beforehand."""
