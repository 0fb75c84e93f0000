"""What every derived object of a case says: patient, study, series, equipment, how it came about, what from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from service.dicom import coding
from service.dicom.facts import DerivationFacts, RefluxFacts
from service.dicom.header_values import texts
from service.dicom.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    derived_uid,
    processing_equipment,
    series_number,
    set_equipment,
)
from service.dicom.inherited import ascii_text, inherit, local_time, patient_and_study, put, settle_character_set
from service.dicom.series import SourcePlane, SourceSeries
from service.imaging.quality import QualityReport
from service.imaging.recipe_types import RestoredPrediction

LIMITS_OF_USE = "Research use, not for diagnosis."

_LO_LENGTH, _ST_LENGTH = 64, 1024
_ACQUISITION_EQUIPMENT = ("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Derivation:
    """All that the objects of one prediction are made from.

    Attributes
    ----------
    study
        Whose patient and study attributes they take.
    fat_baseline
        Source units of the baseline per fat unit.
    """

    baseline: SourceSeries
    delayed: SourceSeries
    restored: RestoredPrediction
    facts: DerivationFacts
    study: Literal["baseline", "delayed"]
    fat_baseline: float
    reflux: RefluxFacts | None
    quality: QualityReport

    @property
    def filed(self) -> SourceSeries:
        """The source series in whose study the objects are filed."""
        return self.baseline if self.study == "baseline" else self.delayed

    @property
    def sources(self) -> tuple[SourceSeries, SourceSeries]:
        """Baseline, delayed."""
        return self.baseline, self.delayed

    def uid(self, *parts: str) -> str:
        """A UID for what `parts` name within this case."""
        return derived_uid(
            self.facts, self.baseline.summary.series_instance_uid, self.delayed.summary.series_instance_uid, *parts
        )


def header(
    template: Dataset, facts: DerivationFacts, *, series_uid: str, role: str, source_number: int | None
) -> Dataset:
    """Patient, study, series and equipment attributes of a derived series, with its dates.

    There is no acquisition date or time: nothing was acquired. The dates say when the object was derived,
    in the time zone that `template` states or, without one, that of ``facts.derived_at``.
    """
    made = patient_and_study(template)
    derived_at = local_time(template, facts.derived_at)
    date, time = derived_at.strftime("%Y%m%d"), derived_at.strftime("%H%M%S.%f")
    for event in ("InstanceCreation", "Series", "Content"):
        put(made, f"{event}Date", date)
        put(made, f"{event}Time", time)
    made.SeriesInstanceUID = series_uid
    made.SeriesNumber = series_number(source_number, role)
    inherit(made, template, ("BodyPartExamined",))
    if "BodyPartExamined" not in made:
        put(made, "Laterality", "")  # type 2C: nothing says that the part is unpaired
    set_equipment(made, facts)
    made.ContributingEquipmentSequence = [processing_equipment(facts)]
    made.CodingSchemeIdentificationSequence = [coding.own_scheme_item()]
    settle_character_set(made, template)
    return made


def predicted_header(case: Derivation, role: str, description: str) -> Dataset:
    """`header` of a series of `case`, with its sources named."""
    made = header(
        case.filed.template,
        case.facts,
        series_uid=case.uid(role),
        role=role,
        source_number=case.baseline.summary.header.series_number,
    )
    put(made, "SeriesDescription", description)
    made.RelatedSeriesSequence = [_related_series(series) for series in case.sources]
    made.ContributingEquipmentSequence.extend(_scanners(case))
    settle_character_set(made, case.filed.template)
    return made


def identify(dataset: Dataset, sop_class: UID, sop_instance_uid: str, instance_number: int) -> None:
    """Set SOP class, instance and file meta information (PS3.10 section 7.1)."""
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.InstanceNumber = instance_number
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta


def to_part10(dataset: Dataset) -> bytes:
    """The DICOM file (PS3.10) of a derived object; the same object gives the same bytes."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def set_derivation(dataset: Dataset, case: Derivation) -> None:
    """Derivation of an image in words and codes (General Reference, PS3.3 C.12.4)."""
    put(dataset, "DerivationDescription", derivation_text(case))
    codes = [coding.PREDICTION, coding.SPATIAL_RESAMPLING]
    if len(case.restored.predicted) == 1:
        codes.append(coding.PIXEL_ADDITION)  # baseline + predicted increase, on the baseline's own grid
    dataset.DerivationCodeSequence = [coding.code_item(code) for code in codes]


def derivation_text(case: Derivation) -> str:
    """How the prediction was made, for (0008,2111)."""
    facts, model = case.facts, case.facts.model
    hours = facts.hours_after_injection
    delay = "an unknown time" if hours is None else f"{hours:.2g} h"
    trained = " The model was trained on SIMULATED tracer." if model.simulated_training else ""
    text = (
        f"24 h T1 image PREDICTED by model {model.name} {model.version}; NOT ACQUIRED. {LIMITS_OF_USE}{trained} "
        f"Made from the baseline series and the series acquired {delay} after intrathecal contrast, which was "
        f"aligned to it rigidly; signal referred to orbital fat ({model.mode}). "
        f"Software csf24 {facts.software_version}, model sha256 {model.sha256}, case {facts.case_id}.{replaced(facts)}"
    )
    return ascii_text(text)[:_ST_LENGTH]


def series_description(what: str, facts: DerivationFacts) -> str:
    """Series Description (0008,103E) in at most 64 characters; a long model name gives way, the warning does not.

    One that replaces an earlier result of its case says which of them it is.
    """
    revision = f" rev {facts.replaces + 1}" if facts.replaces else ""
    start, end = f"PREDICTED {what} (csf24 ", f"{revision}) - not acquired"
    return start + ascii_text(facts.model.name)[: _LO_LENGTH - len(start) - len(end)] + end


def replaced(facts: DerivationFacts) -> str:
    """A sentence for a reader who finds an earlier result beside this one; empty for the first."""
    return " REPLACES an earlier result of csf24 for this pair; do not use that one." if facts.replaces else ""


def source_image_item(plane: SourcePlane, *, same_grid: bool) -> Dataset:
    """Item of Source Image Sequence (0008,2112)."""
    item = instance_item(plane.sop_class_uid, plane.sop_instance_uid)
    if plane.frame_number is not None:
        item.ReferencedFrameNumber = plane.frame_number
    item.SpatialLocationsPreserved = "YES" if same_grid else "NO"
    item.PurposeOfReferenceCodeSequence = [coding.code_item(coding.SOURCE_IMAGE)]
    return item


def instance_item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """SOP Instance Reference Macro (PS3.3 Table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def instances_of(series: SourceSeries) -> tuple[SourcePlane, ...]:
    """One plane of every instance, in plane order; a multi-frame instance appears once."""
    return tuple({plane.sop_instance_uid: plane for plane in reversed(series.planes)}.values())[::-1]


def references_by_study(series: Iterable[SourceSeries], *, within: str) -> dict[str, list[Dataset]]:
    """Study Instance UID -> items of a Referenced Series Sequence (0008,1115) with all instances of `series`.

    Parameters
    ----------
    within
        Keyword of the sequence that lists the instances: ReferencedInstanceSequence in images (PS3.3 C.12.2),
        ReferencedSOPSequence in documents (PS3.3 Table C.17-3).
    """
    studies: dict[str, list[Dataset]] = {}
    for source in series:
        item = Dataset()
        item.SeriesInstanceUID = source.summary.series_instance_uid
        references = [instance_item(p.sop_class_uid, p.sop_instance_uid) for p in instances_of(source)]
        setattr(item, within, references)
        studies.setdefault(source.summary.header.study_instance_uid, []).append(item)
    return studies


def study_items(studies: dict[str, list[Dataset]]) -> list[Dataset]:
    """Items that hold a study and its Referenced Series Sequence (Hierarchical SOP Instance Reference)."""
    items = []
    for study_uid, series_items in studies.items():
        item = Dataset()
        item.StudyInstanceUID = study_uid
        item.ReferencedSeriesSequence = series_items
        items.append(item)
    return items


def _related_series(series: SourceSeries) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = series.summary.header.study_instance_uid
    item.SeriesInstanceUID = series.summary.series_instance_uid
    item.PurposeOfReferenceCodeSequence = [coding.code_item(coding.SOURCE_SERIES)]
    return item


def _scanners(case: Derivation) -> Sequence[Dataset]:
    """Contributing Equipment items of what acquired the sources; two series of one scanner give one."""
    items: list[Dataset] = []
    for series in case.sources:
        item = Dataset()
        inherit(item, series.template, ("Manufacturer",))
        if "Manufacturer" not in item:
            continue  # type 1 in this sequence
        item.PurposeOfReferenceCodeSequence = [coding.code_item(coding.ACQUISITION_EQUIPMENT)]
        inherit(item, series.template, _ACQUISITION_EQUIPMENT)
        if item not in items:
            items.append(item)
    return items


def set_lossy_compression(dataset: Dataset, sources: Iterable[SourceSeries]) -> None:
    """Lossy Image Compression (0028,2110): once lossy, always lossy (PS3.3 C.7.6.1.1.5)."""
    lossy = [s.template for s in sources if texts(s.template, "LossyImageCompression") == ("01",)]
    put(dataset, "LossyImageCompression", "01" if lossy else "00")
    if lossy:
        inherit(dataset, lossy[0], ("LossyImageCompressionRatio", "LossyImageCompressionMethod"))
