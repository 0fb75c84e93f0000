"""Every plane of a prediction as a grey image: banner, stored values, geometry, derivation, sources."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import UID

from service.dicom.banner import burn_in
from service.dicom.derived_common import (
    LIMITS_OF_USE,
    Derivation,
    identify,
    predicted_header,
    replaced,
    series_description,
    set_derivation,
    set_lossy_compression,
    source_image_item,
)
from service.dicom.predicted_planes import PredictedPlane, predicted_planes, set_geometry
from service.dicom.stored_values import Window, rescale_for, set_pixels, window_of
from service.imaging.volume import Float32

IMAGE_TYPE = ("DERIVED", "SECONDARY", "OTHER", "PREDICTED_24H")


def predicted_images(case: Derivation, *, role: str, sop_class: UID, modality: str) -> tuple[Dataset, ...]:
    """One data set per plane, in Instance Number order, complete but for what only their own IOD asks for.

    Stored values are real values of the baseline's units through one rescale for the whole series; the banner
    alone differs from the prediction.
    """
    window = window_of(case.baseline)
    rescale = rescale_for(case.restored.predicted, case.baseline, window)
    common = predicted_header(case, role, series_description("24 h T1", case.facts))
    common.Modality = modality
    common.ImageType = list(IMAGE_TYPE)
    common.SyntheticData = "YES"
    common.BurnedInAnnotation = "YES"
    common.ImageComments = image_comment(case)
    set_derivation(common, case)
    set_lossy_compression(common, case.sources)
    images = []
    for plane in predicted_planes(case):
        image = Dataset()
        image.update(common)
        identify(image, sop_class, case.uid(role, plane.name), plane.instance_number)
        image.SourceImageSequence = [source_image_item(source, same_grid=plane.same_grid) for source in plane.sources]
        set_geometry(image, plane, case)
        set_pixels(image, _with_banner(plane, case, window), rescale, window)
        images.append(image)
    return tuple(images)


def image_comment(case: Derivation) -> str:
    """Image Comments (0020,4000): what viewers show beside the picture."""
    trained = " Model trained on SIMULATED tracer." if case.facts.model.simulated_training else ""
    warnings = "".join(f" Warning {reason.code}." for reason in case.facts.warnings)
    return f"PREDICTED 24 h image, NOT ACQUIRED.{replaced(case.facts)} {LIMITS_OF_USE}{trained}{warnings}"


def _with_banner(plane: PredictedPlane, case: Derivation, window: Window) -> Float32:
    simulated = case.facts.model.simulated_training
    return burn_in(plane.values, black=window.low, white=window.high, simulated_training=simulated)
