"""The page for print as Encapsulated PDF: wraps the document, draws nothing."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from service.dicom import coding
from service.dicom.derived_common import (
    Derivation,
    identify,
    instance_item,
    instances_of,
    predicted_header,
    replaced,
    series_description,
)
from service.dicom.inherited import put

ROLE = "encapsulated-pdf"
MIME_TYPE = "application/pdf"


def encapsulated_pdf(case: Derivation, page: bytes) -> Dataset:
    """Encapsulated PDF Storage (PS3.3 A.45.1): `page`, with both series as its source instances.

    The module has no place for related series, and asks for an Acquisition DateTime, which stays empty: nothing was
    acquired.
    """
    description = series_description("24 h page", case.facts)
    made = predicted_header(case, ROLE, description)
    made.Modality = "DOC"
    del made.RelatedSeriesSequence
    made.ConversionType = "SYN"
    made.SyntheticData = "YES"
    put(made, "AcquisitionDateTime", "")
    made.BurnedInAnnotation = "YES"
    made.RecognizableVisualFeatures = "YES"
    made.SourceInstanceSequence = [
        instance_item(plane.sop_class_uid, plane.sop_instance_uid)
        for series in case.sources
        for plane in instances_of(series)
    ]
    put(made, "DocumentTitle", f"{description}.{replaced(case.facts)}")
    made.ConceptNameCodeSequence = [coding.code_item(coding.REPORT_TITLE)]
    made.VerificationFlag = "UNVERIFIED"
    made.MIMETypeOfEncapsulatedDocument = MIME_TYPE
    made.EncapsulatedDocumentLength = len(page)
    made.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    identify(made, EncapsulatedPDFStorage, case.uid(ROLE, "page"), 1)
    return made
