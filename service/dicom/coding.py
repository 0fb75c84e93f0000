"""Coded concepts that derived objects use, with the context group (PS3.16) each comes from."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

OWN_SCHEME = "99CSF24"
"""Private designator (PS3.16 section 8.2: "99" prefix) for what no standard code says."""

PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")  # CID 7005
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202
SOURCE_SERIES = Code("121323", "DCM", "Source series for image processing operation")  # CID 7210
SPATIAL_RESAMPLING = Code("113085", "DCM", "Spatial resampling")  # CID 7203
PIXEL_ADDITION = Code("113042", "DCM", "Pixel by pixel addition")  # CID 7203
PIXEL_DIVISION = Code("113046", "DCM", "Pixel by pixel division")  # CID 7203
NO_UNITS = Code("1", "UCUM", "no units")  # CID 82

# CID 7203 is extensible and has no code for an image that a trained model made.
PREDICTION = Code("PREDICTION", OWN_SCHEME, "Image predicted by a machine learning model")
PREDICTED_INCREASE = Code("INCREASE-PER-FAT", OWN_SCHEME, "Predicted signal increase per orbital fat signal")
REFLUX_INDEX = Code("REFLUX-INDEX", OWN_SCHEME, "Model-derived ventricular reflux index")
REFLUX_GRADE = Code("REFLUX-GRADE", OWN_SCHEME, "Model-derived 24 h ventricular reflux grade")
REPORT_TITLE = Code("REPORT", OWN_SCHEME, "Predicted 24 h image: research summary")


def code_item(code: Code) -> Dataset:
    """Item of a code sequence (PS3.3 Table 8.8-1, basic attributes)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def own_scheme_item() -> Dataset:
    """Item of Coding Scheme Identification Sequence (0008,0110) for `OWN_SCHEME`."""
    item = Dataset()
    item.CodingSchemeDesignator = OWN_SCHEME
    item.CodingSchemeName = "csf24 concepts"
    item.CodingSchemeResponsibleOrganization = "csf24"
    return item
