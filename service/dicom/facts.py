"""What every derived object states about how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Name, version and file hash (lower-case hex) of the model; `mode` is its normalisation."""

    name: str
    version: str
    sha256: str
    mode: str
    simulated_training: bool
    intended_use: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationFacts:
    """Facts that go into headers and reports of derived objects.

    Attributes
    ----------
    fingerprint
        Hex digest of everything but the two series that decides the result (model hash, recipe,
        software version, output settings); UIDs are derived from it and the series' UIDs.
    derived_at
        Aware; the same on every retry, so that retries give the same bytes.
    hours_after_injection
        Of the delayed series; None when unknown.
    software_version
        Of csf24.
    replaces
        How many earlier results of the case were delivered; the objects say that they replace them.
    """

    case_id: str
    fingerprint: str
    derived_at: datetime
    software_version: str
    model: ModelFacts
    hours_after_injection: float | None
    warnings: tuple[Reason, ...] = ()
    replaces: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefluxFacts:
    """The model-derived reflux measure for reports; None and 'not gradable' are answers too."""

    index: float | None
    grade_24h: str
    interval: tuple[float, float] | None
    grade_range: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSelection:
    """Which objects a prediction becomes, and the study they are filed in.

    Attributes
    ----------
    pdf_font_sha256
        Of the font that the page for print has besides its own; another one gives another page.
    """

    secondary_capture: bool = True
    mr_image: bool = False
    parametric_map: bool = False
    structured_report: Literal["off", "basic-text", "comprehensive"] = "off"
    encapsulated_pdf: bool = False
    pdf_font_sha256: str = ""
    study: Literal["baseline", "delayed"] = "baseline"
