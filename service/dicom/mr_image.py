"""The prediction as derived MR Image Storage, for viewers and tools that ignore geometry in secondary captures."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from service.dicom.derived_common import Derivation
from service.dicom.inherited import decimal, inherit, put
from service.dicom.predicted_images import predicted_images

ROLE = "mr-image"

_INHERITED = (
    "PatientPosition",
    "MagneticFieldStrength",
    "ImagedNucleus",
    "ImagingFrequency",
    "NumberOfAverages",
)
_INHERITED_TYPE_2 = ("ScanOptions", "EchoTrainLength")
_SCANNING_SEQUENCES = {"SE", "IR", "GR", "EP", "RM"}  # enumerated, PS3.3 C.8.3.1
_SEQUENCE_VARIANTS = {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"}


def mr_images(case: Derivation) -> tuple[Dataset, ...]:
    """MR Image Storage (PS3.3 A.4), in Instance Number order.

    The sequence parameters are the baseline's, because they tell what contrast the prediction imitates; Image Type,
    derivation and description say that nothing was acquired with them.
    """
    images = predicted_images(case, role=ROLE, sop_class=MRImageStorage, modality="MR")
    parameters = _parameters(case)
    for image in images:
        image.update(parameters)
        if float(image.RescaleSlope) == 1 and float(image.RescaleIntercept) == 0:
            for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
                del image[keyword]  # no part of the MR Image IOD, and nothing to say
    return images


def _parameters(case: Derivation) -> Dataset:
    """MR Image (PS3.3 C.8.3.1) from the baseline; Scanning Sequence RM (research mode) where it states none."""
    header, template = case.baseline.summary.header, case.baseline.template
    made = Dataset()
    sequences = [code for code in header.scanning_sequence if code in _SCANNING_SEQUENCES]
    variants = [code for code in header.sequence_variant if code in _SEQUENCE_VARIANTS]
    put(made, "ScanningSequence", sequences or ["RM"])
    put(made, "SequenceVariant", variants or ["NONE"])
    acquisition = header.mr_acquisition_type
    put(made, "MRAcquisitionType", acquisition if acquisition in ("2D", "3D") else "")
    put(made, "RepetitionTime", _decimal_or_empty(header.repetition_time_ms))
    put(made, "EchoTime", _decimal_or_empty(header.echo_time_ms))
    if header.inversion_time_ms is not None or "IR" in sequences:
        put(made, "InversionTime", _decimal_or_empty(header.inversion_time_ms))
    if header.flip_angle_deg is not None:
        put(made, "FlipAngle", decimal(header.flip_angle_deg))
    inherit(made, template, _INHERITED_TYPE_2, always=True)
    inherit(made, template, _INHERITED)
    return made


def _decimal_or_empty(value: float | None) -> str:
    return "" if value is None else decimal(value)
