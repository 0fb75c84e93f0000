"""The objects a case becomes: a prediction in the forms that were asked for, or a notice of refusal."""

from __future__ import annotations

from pydicom.dataset import Dataset

from service.dicom.derived_common import Derivation, to_part10
from service.dicom.encapsulated_pdf import encapsulated_pdf
from service.dicom.facts import DerivationFacts, OutputSelection, RefluxFacts
from service.dicom.mr_image import mr_images
from service.dicom.parametric_map import parametric_maps
from service.dicom.refusal_notice import derive_refusal
from service.dicom.secondary_capture import secondary_captures
from service.dicom.series import SourceSeries
from service.dicom.structured_report import basic_text_report, comprehensive_report
from service.imaging.quality import QualityReport
from service.imaging.recipe_types import RestoredPrediction

__all__ = ["derive_prediction", "derive_refusal", "to_part10"]


def derive_prediction(
    baseline: SourceSeries,
    delayed: SourceSeries,
    restored: RestoredPrediction,
    facts: DerivationFacts,
    outputs: OutputSelection,
    *,
    fat_baseline: float,
    reflux: RefluxFacts | None,
    quality: QualityReport,
    page: bytes | None = None,
) -> tuple[Dataset, ...]:
    """The selected objects of a prediction, each a complete SOP instance with file meta information.

    The same arguments give the same bytes.

    Parameters
    ----------
    restored
        On the baseline's grid, or two single planes in its frame.
    fat_baseline
        Source units of the baseline per fat unit.
    reflux
        None when the prediction cannot show it.
    page
        The PDF that is encapsulated, when ``outputs.encapsulated_pdf`` asks for it.

    Raises
    ------
    InputRefused
        STUDY_UID_MISSING: the study to file in has no UID.
    """
    case = Derivation(
        baseline=baseline,
        delayed=delayed,
        restored=restored,
        facts=facts,
        study=outputs.study,
        fat_baseline=fat_baseline,
        reflux=reflux,
        quality=quality,
    )
    made: list[Dataset] = []
    if outputs.secondary_capture:
        made += secondary_captures(case)
    if outputs.mr_image:
        made += mr_images(case)
    if outputs.parametric_map:
        made += parametric_maps(case)
    if outputs.structured_report == "basic-text":
        made.append(basic_text_report(case))
    elif outputs.structured_report == "comprehensive":
        made.append(comprehensive_report(case))
    if outputs.encapsulated_pdf:
        if page is None:
            raise ValueError("an encapsulated PDF needs its page")
        made.append(encapsulated_pdf(case, page))
    return tuple(made)
