"""What is offered in associations: SOP classes and transfer syntaxes (PS3.4 B.5, PS3.5 annex A)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from service.network import stack as _stack  # noqa: F401 - the library's settings, before anything uses it

VERIFICATION = str(Verification)
STORAGE_COMMITMENT = str(StorageCommitmentPushModel)
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance that storage commitment acts on (PS3.4 J.3.5)."""
STUDY_ROOT_FIND = str(StudyRootQueryRetrieveInformationModelFind)
STUDY_ROOT_MOVE = str(StudyRootQueryRetrieveInformationModelMove)
STUDY_ROOT_GET = str(StudyRootQueryRetrieveInformationModelGet)

MR_IMAGES: tuple[str, ...] = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
)
"""What a prediction can be made from."""

BESIDE_IMAGES: tuple[str, ...] = (
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.ColorSoftcopyPresentationStateStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.EncapsulatedPDFStorage,
    uid.MRSpectroscopyStorage,
    uid.ParametricMapStorage,
    uid.SegmentationStorage,
    uid.SpatialRegistrationStorage,
    uid.RawDataStorage,
)
"""What MR studies hold besides images. A PACS that routes a whole study marks the job as failed when one object
is refused, so these are accepted, and kept like everything that is acknowledged."""

UNCOMPRESSED: tuple[str, ...] = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
TRANSFER_SYNTAXES: tuple[str, ...] = (
    *UNCOMPRESSED,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.JPEGLSLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEG2000Lossless,
    uid.RLELossless,
    uid.JPEG2000,
    uid.JPEGLSNearLossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
)
"""By preference: where a sender proposes several, nothing is compressed for us, and never with loss."""


def verification() -> PresentationContext:
    """C-ECHO. Also proposed beside others, so that a peer without those accepts the association at least."""
    return build_context(VERIFICATION)


def study_root_find() -> PresentationContext:
    """C-FIND in the Study Root model."""
    return build_context(STUDY_ROOT_FIND, list(UNCOMPRESSED))


def study_root_move() -> PresentationContext:
    """C-MOVE in the Study Root model."""
    return build_context(STUDY_ROOT_MOVE, list(UNCOMPRESSED))


def study_root_get() -> PresentationContext:
    """C-GET in the Study Root model."""
    return build_context(STUDY_ROOT_GET, list(UNCOMPRESSED))


def storage_commitment() -> PresentationContext:
    """Requests for storage commitment."""
    return build_context(STORAGE_COMMITMENT, list(UNCOMPRESSED))


def offered_storage() -> list[PresentationContext]:
    """For the listener: every accepted storage SOP class with every transfer syntax."""
    return _storage((*MR_IMAGES, *BESIDE_IMAGES))


def offered_images() -> list[PresentationContext]:
    """For C-GET: the images that a prediction can be made from, with every transfer syntax."""
    return _storage(MR_IMAGES)


def _storage(sop_classes: Iterable[str]) -> list[PresentationContext]:
    return [build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in sop_classes]


def offered_commitment_reports() -> PresentationContext:
    """For the listener: peers report as SCP, by role selection (PS3.7 D.3.3.4) or, as some do, without."""
    context = storage_commitment()
    context.scu_role = context.scp_role = True
    return context


def proposed_storage(kinds: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """For sending: contexts for (SOP class, transfer syntax), one transfer syntax each.

    With several in one context the peer chooses, and may choose one that the file does not have. Uncompressed
    little endian objects can be sent in either VR encoding, so both are proposed.
    """
    proposed: dict[tuple[str, str], None] = {}
    for sop_class, transfer_syntax in kinds:
        for syntax in UNCOMPRESSED if transfer_syntax in UNCOMPRESSED else (transfer_syntax,):
            proposed[sop_class, syntax] = None
    return [build_context(sop_class, syntax) for sop_class, syntax in proposed]


def accepted_classes(contexts: Sequence[PresentationContext]) -> set[str]:
    """SOP classes of accepted contexts."""
    return {sop_class for sop_class, _ in accepted_pairs(contexts)}


def accepted_pairs(contexts: Sequence[PresentationContext]) -> set[tuple[str, str]]:
    """(SOP class, transfer syntax) of accepted contexts."""
    return {(str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in contexts}
