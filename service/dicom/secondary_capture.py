"""The prediction as Secondary Capture images, one per plane: the object that every archive takes.

Built on plain data sets, not on ``highdicom.sc.SCImage``: that has no geometry, sources or window, and stamps
the clock into three places, so that a retry would not give the same bytes.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from service.dicom.derived_common import Derivation
from service.dicom.predicted_images import predicted_images

ROLE = "secondary-capture"


def secondary_captures(case: Derivation) -> tuple[Dataset, ...]:
    """Secondary Capture Image Storage (PS3.3 A.8.1), in Instance Number order."""
    images = predicted_images(case, role=ROLE, sop_class=SecondaryCaptureImageStorage, modality="OT")
    for image in images:
        set_capture(image)
    return images


def set_capture(dataset: Dataset) -> None:
    """SC Equipment and SC Image (PS3.3 C.8.6.1, C.8.6.2): a synthetic image, made when its content was."""
    dataset.ConversionType = "SYN"
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = dataset.ContentDate, dataset.ContentTime
