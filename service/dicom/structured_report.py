"""A prediction in words and numbers: Basic Text SR for people, Comprehensive SR (TID 1500) for software.

The reflux index is measured in the predicted image by the software that made it; it is called model-derived
wherever it appears, so that nobody takes it for a rater's grade.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, BasicTextSRStorage, ComprehensiveSRStorage

from service.dicom import coding
from service.dicom.derived_common import (
    LIMITS_OF_USE,
    Derivation,
    identify,
    instances_of,
    predicted_header,
    references_by_study,
    series_description,
    study_items,
)
from service.dicom.identity import MANUFACTURER
from service.dicom.inherited import ascii_text
from service.dicom.series import SourceSeries
from service.errors import Reason

ROLE = "structured-report"

_FINDING = Code("121071", "DCM", "Finding")
_SUMMARY = Code("121077", "DCM", "Conclusion")
_DESCRIPTION = Code("121065", "DCM", "Procedure Description")
_QUALITY = Code("113010", "DCM", "Quality Issue")
_DEVICE = Code("121007", "DCM", "Device")
_LATERAL_VENTRICLE = Code("66720007", "SCT", "Lateral ventricle of brain")
_IMAGING = Code("363679005", "SCT", "Imaging procedure")
_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS


def basic_text_report(case: Derivation) -> Dataset:
    """Basic Text SR (PS3.3 A.35.1): case, model, times, reflux index, every check, warnings, limits of use."""
    root = hd.sr.ContainerContentItem(name=coding.REPORT_TITLE, is_content_continuous=False)
    root.ContentSequence = [
        hd.sr.TextContentItem(name=name, value=ascii_text(text), relationship_type=_CONTAINS)
        for name, text in (
            (_DESCRIPTION, _what(case)),
            (_FINDING, reflux_text(case)),
            (_QUALITY, _checks(case)),
            *((_QUALITY, f"Warning {_reason(reason)}") for reason in _warnings(case)),
            (_SUMMARY, _limits(case)),
        )
    ]
    return _document(case, root, BasicTextSRStorage, (case.baseline, case.delayed))


def comprehensive_report(case: Derivation) -> Dataset:
    """Comprehensive SR (PS3.3 A.35.3) with a TID 1500 measurement report.

    The image library lists every instance of both series; the measurement group has the reflux index with its
    interval as measurement uncertainty, and the grade, both with the algorithm's identification (TID 4019).
    """
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(
                observer_type=_DEVICE,
                observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                    uid=case.uid("device"),
                    name="csf24",
                    manufacturer_name=MANUFACTURER,
                    model_name=f"{case.facts.model.name} {case.facts.model.version}",
                ),
            )
        ),
        procedure_reported=_IMAGING,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
        imaging_measurements=[_reflux_group(case)],
        referenced_images=[_stand_in(series, number) for series in case.sources for number in _first_planes(series)],
    )
    return _document(case, report[0], ComprehensiveSRStorage, case.sources)


def reflux_text(case: Derivation) -> str:
    """The reflux index in words."""
    found = case.reflux
    if found is None or found.index is None:
        return "Model-derived ventricular reflux index: not gradable from this prediction."
    interval = "" if found.interval is None else f", interval {found.interval[0]:.2f} to {found.interval[1]:.2f}"
    allowed = "" if found.grade_range is None else f" (the model's own bounds allow {' to '.join(found.grade_range)})"
    return (
        f"Model-derived ventricular reflux index {found.index:.2f}{interval} (lateral ventricles over subarachnoid "
        f"space, tracer concentration in the PREDICTED 24 h image); model-derived 24 h grade: {found.grade_24h}"
        f"{allowed}. Not validated against raters."
    )


def _document(case: Derivation, root: Dataset, sop_class: UID, evidence: Sequence[SourceSeries]) -> Dataset:
    """SR Document Series and General (PS3.3 C.17.1, C.17.2) around a content tree."""
    made = predicted_header(case, ROLE, series_description("24 h report", case.facts))
    made.Modality = "SR"
    del made.RelatedSeriesSequence  # documents name their sources as evidence
    made.ReferencedPerformedProcedureStepSequence = []
    made.PerformedProcedureCodeSequence = []
    made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    studies = references_by_study(evidence, within="ReferencedSOPSequence")
    here = str(made.StudyInstanceUID)
    made.CurrentRequestedProcedureEvidenceSequence = study_items({here: studies.pop(here)})
    if studies:
        made.PertinentOtherEvidenceSequence = study_items(studies)
    made.update(root)
    identify(made, sop_class, case.uid(ROLE, str(sop_class)), 1)
    return made


def _reflux_group(case: Derivation) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    facts, found = case.facts, case.reflux
    algorithm = hd.sr.AlgorithmIdentification(
        name=f"csf24 model-derived reflux on {facts.model.name}",
        version=f"csf24 {facts.software_version}, model {facts.model.version}",
        manufacturer=MANUFACTURER,
        parameters=[
            f"model sha256 {facts.model.sha256}",
            f"normalisation {facts.model.mode}",
            ascii_text(_limits(case)),
        ],
    )
    measurements = []
    if found is not None and found.index is not None:
        low, high = found.interval or (found.index, found.index)
        uncertainty = hd.sr.MeasurementProperties(
            upper_measurement_uncertainty=round(high - found.index, 4),
            lower_measurement_uncertainty=round(found.index - low, 4),
        )
        measurements.append(
            hd.sr.Measurement(
                name=coding.REFLUX_INDEX,
                value=round(found.index, 4),
                unit=coding.NO_UNITS,
                properties=uncertainty if found.interval else None,
            )
        )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=case.uid(ROLE, "reflux"), identifier=f"csf24 {facts.case_id} model-derived reflux, PREDICTED 24 h"
        ),
        finding_sites=[hd.sr.FindingSite(_LATERAL_VENTRICLE)],
        algorithm_id=algorithm,
        measurements=measurements or None,
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(name=coding.REFLUX_GRADE, value=_grade_code(found.grade_24h if found else ""))
        ],
    )


def _grade_code(grade: str) -> Code:
    return {
        "0": Code("GRADE-0", coding.OWN_SCHEME, "Model-derived grade 0"),
        "3": Code("GRADE-3", coding.OWN_SCHEME, "Model-derived grade 3"),
        "4": Code("GRADE-4", coding.OWN_SCHEME, "Model-derived grade 4"),
        "indeterminate": Code("GRADE-UNCLEAR", coding.OWN_SCHEME, "Indeterminate"),
    }.get(grade, Code("GRADE-NONE", coding.OWN_SCHEME, "Not gradable"))


def _first_planes(series: SourceSeries) -> range:
    return range(len(instances_of(series)))


def _stand_in(series: SourceSeries, number: int) -> Dataset:
    """What highdicom's image library reads of an instance (TID 1602, 1604)."""
    plane = instances_of(series)[number]
    grid = series.volume.grid
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = plane.sop_class_uid, plane.sop_instance_uid
    item.Modality = "MR"
    item.Rows, item.Columns = grid.shape[1:]
    item.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
    item.SliceThickness = series.summary.header.slice_thickness_mm or grid.spacing[2]
    item.SpacingBetweenSlices = grid.spacing[2]
    item.ImageOrientationPatient = [*grid.directions[:, 0], *grid.directions[:, 1]]
    item.ImagePositionPatient = list(plane.position)
    if series.volume.frame_of_reference_uid:
        item.FrameOfReferenceUID = series.volume.frame_of_reference_uid
    return item


def _what(case: Derivation) -> str:
    facts, model = case.facts, case.facts.model
    hours = facts.hours_after_injection
    delay = "at an unknown time" if hours is None else f"{hours:.2f} h"
    return (
        f"Case {facts.case_id}: 24 h T1 image PREDICTED, not acquired. Model {model.name} {model.version} "
        f"(sha256 {model.sha256}, normalisation {model.mode}), software csf24 {facts.software_version}. "
        f"Sources: baseline series {case.baseline.summary.series_instance_uid} and series "
        f"{case.delayed.summary.series_instance_uid}, acquired {delay} after intrathecal contrast."
    )


def _checks(case: Derivation) -> str:
    lines = [
        f"{check.code}: {'pass' if check.passed else check.action.lower()}, "
        f"measured {'-' if check.measured is None else f'{check.measured:g}'}, limit {check.limit}"
        for check in case.quality.checks
    ]
    return "Checks of input and result.\n" + ("\n".join(lines) or "None were made.")


def _warnings(case: Derivation) -> tuple[Reason, ...]:
    known = {reason.code: reason for reason in (*case.quality.warnings, *case.facts.warnings)}
    return tuple(known.values())


def _reason(reason: Reason) -> str:
    figures = "" if reason.measured is None else f" Measured {reason.measured}, limit {reason.limit}."
    return f"{reason.code}: {reason.message}{figures}"


def _limits(case: Derivation) -> str:
    trained = " The model was trained on SIMULATED tracer." if case.facts.model.simulated_training else ""
    return f"{LIMITS_OF_USE}{trained} Intended use: {case.facts.model.intended_use}"
