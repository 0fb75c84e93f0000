"""The frames of single-frame and multi-frame objects, and where a frame's attributes are kept."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from service.dicom import header_values as read

_TIMING = "MRTimingAndRelatedParametersSequence"
_MACROS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "FrameAcquisitionDateTime": "FrameContentSequence",
    "FrameReferenceDateTime": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "RepetitionTime": _TIMING,
    "FlipAngle": _TIMING,
    "EffectiveEchoTime": "MREchoSequence",
    "InversionRecovery": "MRModifierSequence",
    "InversionTimes": "MRModifierSequence",
    "Spoiling": "MRModifierSequence",
    "MagnetizationTransfer": "MRImagingModifierSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "ComplexImageComponent": "MRImageFrameTypeSequence",
    "ContrastBolusAgentAdministered": "ContrastBolusUsageSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "AnatomicRegionSequence": "FrameAnatomySequence",
}
_UNASSIGNED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image plane of an instance.

    Attributes
    ----------
    number
        1-based frame number; None in a single-frame instance.
    own, shared
        Items of Per-Frame (5200,9230) and Shared (5200,9229) Functional Groups Sequence; empty in a
        single-frame instance.
    root
        The instance's data set.
    """

    number: int | None
    own: Dataset
    shared: Dataset
    root: Dataset

    def holder(self, keyword: str) -> Dataset:
        """The data set that states `keyword` for this frame.

        Looked up in the frame's functional group, the shared one, the attributes that a legacy conversion
        could not assign (PS3.3 C.7.6.25), then the top level; the top level when none has it.
        """
        if self.number is None:
            return self.root
        sequences = (_MACROS[keyword], *_UNASSIGNED) if keyword in _MACROS else _UNASSIGNED
        for groups in (self.own, self.shared):
            for sequence in sequences:
                if sequence in groups and keyword in (item := read.first_item(groups, sequence)):
                    return item
        return self.root

    def private_number(self, group: int, creator: str, element: int) -> float | None:
        """A private number, in the same order of places.

        Philips keeps what its single-frame objects have at the top level in the item of (2005,xx0F),
        creator 'Philips MR Imaging DD 005', of each frame.
        """
        for groups in (self.own, self.shared):
            for place in (groups, *(read.first_item(groups, name) for name in _UNASSIGNED), _philips_item(groups)):
                found = read.private_number(place, group, creator, element)
                if found is not None:
                    return found
        return read.private_number(self.root, group, creator, element)


def frames_of(dataset: Dataset) -> list[Frame]:
    """All frames in stored order; a multi-frame instance has as many as its per-frame groups."""
    per_frame = read.items(dataset, "PerFrameFunctionalGroupsSequence")
    if not per_frame:
        return [Frame(number=None, own=Dataset(), shared=Dataset(), root=dataset)]
    shared = read.first_item(dataset, "SharedFunctionalGroupsSequence")
    return [Frame(number=n, own=own, shared=shared, root=dataset) for n, own in enumerate(per_frame, start=1)]


def stated_frame_count(dataset: Dataset) -> int:
    """Number of Frames (0028,0008), 1 when absent."""
    return max(read.integer(dataset, "NumberOfFrames") or 1, 1)


def _philips_item(groups: Dataset) -> Dataset:
    value = read.private_value(groups, 0x2005, "Philips MR Imaging DD 005", 0x0F)
    return next(iter(read.items_of(value)), Dataset())
