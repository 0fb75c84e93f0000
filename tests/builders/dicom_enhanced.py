"""Multi-frame MR made from single-frame instances: Enhanced MR by hand, Legacy Converted by highdicom."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta

from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

_TOP_LEVEL = (
    "SpecificCharacterSet",
    "StudyDate",
    "SeriesDate",
    "ContentDate",
    "StudyTime",
    "SeriesTime",
    "ContentTime",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "ReferringPhysicianName",
    "SeriesDescription",
    "ManufacturerModelName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "BodyPartExamined",
    "MagneticFieldStrength",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "ProtocolName",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "AcquisitionNumber",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_ORGANIZATION = generate_uid(entropy_srcs=["csf24-tests", "dimension organization"])


def legacy_converted_from(classic: Sequence[Dataset], sop_instance_uid: str) -> Dataset:
    """highdicom's conversion of PS3.3 A.71, frames in its own order."""
    first = classic[0]
    return LegacyConvertedEnhancedMRImage(
        legacy_datasets=[copy.deepcopy(dataset) for dataset in classic],
        series_instance_uid=first.SeriesInstanceUID,
        series_number=int(first.SeriesNumber),
        sop_instance_uid=sop_instance_uid,
        instance_number=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def enhanced_from(classic: Sequence[Dataset], number: int) -> Dataset:
    """One Enhanced MR Image Storage object; frame order as given. Timing is shared, places are per frame."""
    first = classic[0]
    ds = Dataset()
    for keyword in _TOP_LEVEL:
        if keyword in first:
            setattr(ds, keyword, first[keyword].value)
    ds.SOPClassUID = EnhancedMRImageStorage
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["csf24-tests", first.SeriesInstanceUID, "enhanced", str(number)])
    ds.InstanceNumber = number
    ds.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    ds.PixelPresentation, ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique = "MONOCHROME", "VOLUME", "NONE"
    ds.ComplexImageComponent, ds.AcquisitionContrast = "MAGNITUDE", "T1"
    ds.ContentQualification, ds.BurnedInAnnotation, ds.LossyImageCompression = "RESEARCH", "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.ResonantNucleus, ds.ApplicableSafetyStandardAgency, ds.KSpaceFiltering = "1H", "IEC", "NONE"
    ds.AcquisitionDateTime = f"{first.AcquisitionDate}{first.AcquisitionTime}"
    ds.AcquisitionDuration = 300.0
    ds.NumberOfFrames = len(classic)
    ds.AcquisitionContextSequence = Items()
    _add_contrast(ds, first)
    _add_pulse_sequence(ds)
    _add_dimensions(ds)
    ds.SharedFunctionalGroupsSequence = Items([_shared(first)])
    ds.PerFrameFunctionalGroupsSequence = Items([_per_frame(frame, n) for n, frame in enumerate(classic)])
    ds.PixelData = b"".join(bytes(frame.PixelData)[: _plane_bytes(frame)] for frame in classic)
    ds.PixelData += b"\0" * (len(ds.PixelData) % 2)
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _plane_bytes(frame: Dataset) -> int:
    return int(frame.Rows * frame.Columns * frame.BitsAllocated // 8)


def _add_contrast(ds: Dataset, first: Dataset) -> None:
    if "ContrastBolusAgent" not in first:
        return
    agent = _code("418285008", "SCT", "Gadobutrol")
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = Items([_code("72607000", "SCT", "Intrathecal route")])
    agent.ContrastBolusIngredientCodeSequence = Items([_code("105879004", "SCT", "Gadolinium")])
    agent.ContrastBolusVolume, agent.ContrastBolusIngredientConcentration = "0.5", "1"
    profile = Dataset()
    profile.ContrastBolusVolume, profile.ContrastBolusStartTime = "0.5", first.ContrastBolusStartTime
    profile.ContrastBolusStopTime = first.ContrastBolusStartTime
    agent.ContrastAdministrationProfileSequence = Items([profile])
    ds.ContrastBolusAgentSequence = Items([agent])


def _add_pulse_sequence(ds: Dataset) -> None:
    ds.PulseSequenceName, ds.MRAcquisitionType, ds.EchoPulseSequence = "T1TFE", "3D", "GRADIENT"
    ds.MultiPlanarExcitation, ds.PhaseContrast, ds.TimeOfFlightContrast = "NO", "NO", "NO"
    ds.SteadyStatePulseSequence, ds.EchoPlanarPulseSequence = "LONGITUDINAL", "NO"
    ds.SaturationRecovery, ds.SpectrallySelectedSuppression = "NO", "NONE"
    ds.OversamplingPhase, ds.GeometryOfKSpaceTraversal = "NONE", "RECTILINEAR"
    ds.SegmentedKSpaceTraversal, ds.RectilinearPhaseEncodeReordering = "SINGLE", "LINEAR"
    ds.NumberOfKSpaceTrajectories, ds.CoverageOfKSpace = 1, "FULL"


def _add_dimensions(ds: Dataset) -> None:
    organization = Dataset()
    organization.DimensionOrganizationUID = _ORGANIZATION
    ds.DimensionOrganizationSequence = Items([organization])
    indices = []
    for pointer in (Tag("StackID"), Tag("InStackPositionNumber")):
        index = Dataset()
        index.DimensionOrganizationUID = _ORGANIZATION
        index.DimensionIndexPointer = pointer
        index.FunctionalGroupPointer = Tag("FrameContentSequence")
        indices.append(index)
    ds.DimensionIndexSequence = Items(indices)


def _shared(first: Dataset) -> Dataset:
    groups = Dataset()
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    groups.PixelMeasuresSequence = Items([measures])
    orientation = Dataset()
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    groups.PlaneOrientationSequence = Items([orientation])
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = Items([_code(codes.SCT.Head.value, "SCT", "Head")])
    groups.FrameAnatomySequence = Items([anatomy])
    transformation = Dataset()
    transformation.RescaleIntercept = first.get("RescaleIntercept", "0")
    transformation.RescaleSlope = first.get("RescaleSlope", "1")
    transformation.RescaleType = "US"
    groups.PixelValueTransformationSequence = Items([transformation])
    window = Dataset()
    window.WindowCenter, window.WindowWidth = first.WindowCenter, first.WindowWidth
    groups.FrameVOILUTSequence = Items([window])
    _add_mr_groups(groups, first)
    return groups


def _add_mr_groups(groups: Dataset, first: Dataset) -> None:
    frame_type = Dataset()
    frame_type.FrameType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    frame_type.PixelPresentation, frame_type.VolumetricProperties = "MONOCHROME", "VOLUME"
    frame_type.VolumeBasedCalculationTechnique = "NONE"
    frame_type.ComplexImageComponent, frame_type.AcquisitionContrast = "MAGNITUDE", "T1"
    groups.MRImageFrameTypeSequence = Items([frame_type])
    timing = Dataset()
    timing.RepetitionTime, timing.FlipAngle = first.RepetitionTime, first.FlipAngle
    timing.EchoTrainLength, timing.RFEchoTrainLength, timing.GradientEchoTrainLength = 1, 0, 1
    rate = Dataset()
    rate.SpecificAbsorptionRateDefinition, rate.SpecificAbsorptionRateValue = "IEC_WHOLE_BODY", 0.1
    timing.SpecificAbsorptionRateSequence = Items([rate])
    timing.GradientOutputType, timing.GradientOutput = "DB_DT", 10.0
    mode = Dataset()
    mode.OperatingModeType, mode.OperatingMode = "STATIC FIELD", "IEC_NORMAL"
    timing.OperatingModeSequence = Items([mode])
    groups.MRTimingAndRelatedParametersSequence = Items([timing])
    echo = Dataset()
    echo.EffectiveEchoTime = float(first.EchoTime)
    groups.MREchoSequence = Items([echo])
    modifier = Dataset()
    modifier.InversionRecovery, modifier.FlowCompensation, modifier.Spoiling = "NO", "NONE", "RF"
    if "InversionTime" in first:
        modifier.InversionRecovery, modifier.InversionTimes = "YES", float(first.InversionTime)
    modifier.T2Preparation, modifier.SpectrallySelectedExcitation, modifier.SpatialPresaturation = "NO", "NONE", "NONE"
    modifier.PartialFourier, modifier.ParallelAcquisition = "NO", "NO"
    groups.MRModifierSequence = Items([modifier])
    imaging = Dataset()
    imaging.MagnetizationTransfer, imaging.BloodSignalNulling, imaging.Tagging = "NONE", "NO", "NONE"
    imaging.TransmitterFrequency, imaging.PixelBandwidth = 127.7, "271"
    groups.MRImagingModifierSequence = Items([imaging])
    averages = Dataset()
    averages.NumberOfAverages = 1.0
    groups.MRAveragesSequence = Items([averages])
    field_of_view = Dataset()
    field_of_view.InPlanePhaseEncodingDirection = "ROW"
    field_of_view.MRAcquisitionFrequencyEncodingSteps = int(first.Columns)
    field_of_view.MRAcquisitionPhaseEncodingStepsInPlane = int(first.Rows)
    field_of_view.MRAcquisitionPhaseEncodingStepsOutOfPlane = 1
    field_of_view.PercentSampling, field_of_view.PercentPhaseFieldOfView = "100", "100"
    groups.MRFOVGeometrySequence = Items([field_of_view])
    receive = Dataset()
    receive.ReceiveCoilName, receive.ReceiveCoilManufacturerName, receive.ReceiveCoilType = "HEAD", "", "MULTICOIL"
    receive.QuadratureReceiveCoil = "NO"
    element = Dataset()
    element.MultiCoilElementName, element.MultiCoilElementUsed = "E1", "YES"
    receive.MultiCoilDefinitionSequence = Items([element])
    groups.MRReceiveCoilSequence = Items([receive])
    transmit = Dataset()
    transmit.TransmitCoilName, transmit.TransmitCoilManufacturerName, transmit.TransmitCoilType = "BODY", "", "BODY"
    groups.MRTransmitCoilSequence = Items([transmit])


def _per_frame(frame: Dataset, n: int) -> Dataset:
    groups = Dataset()
    content = Dataset()
    started = _moment(frame) + timedelta(seconds=n)
    content.FrameAcquisitionDateTime = content.FrameReferenceDateTime = started.strftime("%Y%m%d%H%M%S.%f")
    content.FrameAcquisitionDuration, content.StackID = 1000.0, "1"
    content.InStackPositionNumber = int(frame.InstanceNumber)
    content.DimensionIndexValues = [1, int(frame.InstanceNumber)]
    groups.FrameContentSequence = Items([content])
    position = Dataset()
    position.ImagePositionPatient = frame.ImagePositionPatient
    groups.PlanePositionSequence = Items([position])
    if "ContrastBolusAgent" in frame:
        usage = Dataset()
        usage.ContrastBolusAgentNumber, usage.ContrastBolusAgentAdministered = 1, "YES"
        usage.ContrastBolusAgentDetected = "YES"
        groups.ContrastBolusUsageSequence = Items([usage])
    private = frame.get((0x2005, 0x100E))
    if private is not None:
        inner = Dataset()
        inner.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", private.value)
        groups.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", Items([inner]))
    return groups


def _moment(frame: Dataset) -> datetime:
    return datetime.strptime(f"{frame.AcquisitionDate}{frame.AcquisitionTime}", "%Y%m%d%H%M%S.%f")


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
