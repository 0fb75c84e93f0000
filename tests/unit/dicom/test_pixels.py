from __future__ import annotations

from io import BytesIO

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.sequence import Sequence as Items

from service.dicom.pixels import real_planes, real_values
from service.errors import InputRefused
from service.imaging.volume import Volume
from tests.builders.dicom import classic_series, enhanced_series, legacy_converted_series, ramp_volume, to_bytes
from tests.builders.dicom_encoding import LOSSLESS, LOSSY, encode

VOLUME = ramp_volume(shape=(3, 36, 40))
COMPRESSED = [syntax for syntax in (*LOSSLESS, *LOSSY) if syntax.is_encapsulated]


def name_of(syntax: uid.UID) -> str:
    return syntax.name


def smooth_volume(highest: float = 3000.0) -> Volume:
    """Lossy encoders are only faithful to images that look like images."""
    k, j, i = np.meshgrid(*(np.linspace(0, 3, n) for n in VOLUME.array.shape), indexing="ij")
    return VOLUME.with_array(np.rint(highest * (0.5 + 0.5 * np.sin(i + j) * np.cos(j + k))).astype(np.float32))


def decoded_by_gdcm(dataset: Dataset, path) -> np.ndarray:
    """Stored values of a file, decoded by GDCM and rescaled by SimpleITK: (frames, rows, columns)."""
    path.write_bytes(to_bytes(dataset))
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    array = sitk.GetArrayFromImage(reader.Execute())
    return array if array.ndim == 3 else array[None]


def refusal(dataset: Dataset) -> str:
    with pytest.raises(InputRefused) as refused:
        real_values(dataset)
    return refused.value.reasons[0].code


# --- transfer syntaxes


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=name_of)
def test_lossless_syntaxes_return_every_value(syntax, signed):
    volume = VOLUME.with_array(VOLUME.array - 1500) if signed else VOLUME
    for k, dataset in enumerate(classic_series(volume, transfer_syntax=syntax)):
        np.testing.assert_array_equal(real_values(dataset)[0], volume.array[k])


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name_of)
def test_compressed_syntaxes_agree_with_gdcm(syntax, tmp_path):
    tags = {"BitsStored": 12, "HighBit": 11}
    if syntax == uid.JPEGBaseline8Bit:
        dataset = eight_bit(smooth_volume(250), syntax)
    else:
        dataset = classic_series(smooth_volume(), transfer_syntax=syntax, **tags)[1]
    ours, theirs = real_values(dataset), decoded_by_gdcm(dataset, tmp_path / "one.dcm")
    # two JPEG decoders may round the inverse cosine transform differently by one stored step
    step = float(dataset.get("RescaleSlope", 1))
    np.testing.assert_allclose(ours, theirs, atol=1.01 * step if syntax in LOSSY else 0)


def eight_bit(volume: Volume, syntax: uid.UID) -> Dataset:
    plain = classic_series(volume)[1]
    plain.BitsAllocated, plain.BitsStored, plain.HighBit = 8, 8, 7
    plain.PixelData = volume.array[1].astype(np.uint8).tobytes()
    return encode([plain], syntax)[0]


@pytest.mark.parametrize("syntax", LOSSY, ids=name_of)
def test_lossy_syntaxes_stay_close_to_the_original(syntax):
    volume = smooth_volume(250) if syntax == uid.JPEGBaseline8Bit else smooth_volume()
    if syntax == uid.JPEGBaseline8Bit:
        dataset = eight_bit(volume, syntax)
    else:
        dataset = classic_series(volume, transfer_syntax=syntax, BitsStored=12, HighBit=11)[1]
    error = np.abs(real_values(dataset)[0] - volume.array[1]).max()
    assert error <= (2 if syntax == uid.JPEGLSNearLossless else 0.02 * volume.array.max())


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless], ids=name_of)
def test_frames_of_a_multi_frame_instance_come_in_stored_order(syntax):
    dataset = enhanced_series(VOLUME, frame_order=[2, 0, 1], transfer_syntax=syntax)[0]
    np.testing.assert_array_equal(real_values(dataset), VOLUME.array[[2, 0, 1]])


def test_big_endian_words_agree_with_gdcm(tmp_path):
    dataset = classic_series(VOLUME, transfer_syntax=uid.ExplicitVRBigEndian)[0]
    np.testing.assert_array_equal(real_values(dataset), decoded_by_gdcm(dataset, tmp_path / "big.dcm"))


def test_our_decoders_give_what_the_other_installed_ones_give():
    for syntax in (uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEGLosslessSV1, uid.JPEGLossless):
        dataset = classic_series(VOLUME, transfer_syntax=syntax)[0]
        other, _ = get_decoder(syntax).as_array(dataset, raw=True, decoding_plugin="gdcm")
        np.testing.assert_array_equal(real_values(dataset)[0], other)


def test_gdcm_encoded_jpeg_lossless_is_read(tmp_path):
    plain, packed = tmp_path / "plain.dcm", tmp_path / "packed.dcm"
    plain.write_bytes(to_bytes(classic_series(VOLUME)[0]))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.PixmapToPixmap() if hasattr(change, "PixmapToPixmap") else change.GetOutput())
    assert writer.Write()
    dataset = pydicom.dcmread(packed)
    assert dataset.file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1
    np.testing.assert_array_equal(real_values(dataset)[0], VOLUME.array[0])


# --- rescale


@pytest.mark.parametrize("build", [classic_series, enhanced_series, legacy_converted_series])
@pytest.mark.parametrize("rescale", [(2.5, 0.0), (0.25, -100.0)])
def test_rescale_slope_and_intercept_are_applied(build, rescale):
    slope, intercept = rescale
    volume = VOLUME.with_array(VOLUME.array * slope + intercept)
    planes = np.concatenate([real_values(d) for d in build(volume, rescale=rescale)])
    # every plane holds different values, so the order of the converter's frames does not matter
    np.testing.assert_allclose(np.sort(planes, axis=None), np.sort(volume.array, axis=None), rtol=1e-6)


def test_rescale_agrees_with_simpleitk(tmp_path):
    dataset = classic_series(VOLUME.with_array(VOLUME.array * 0.5 - 7), rescale=(0.5, -7.0))[0]
    np.testing.assert_allclose(real_values(dataset), decoded_by_gdcm(dataset, tmp_path / "one.dcm"), rtol=1e-6)


def test_philips_values_follow_the_published_formula():
    """Chenevert 2014: FP = (SV * RS + RI) / (RS * SS)."""
    dataset = classic_series(VOLUME)[0]
    stored = dataset.pixel_array.astype(np.float64)
    slope, intercept, scale_slope = 2.36166056166056, -12.5, np.float32(0.0074692885391414165)
    dataset.RescaleSlope, dataset.RescaleIntercept = "2.36166056166056", "-12.5"
    dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", scale_slope)
    expected = (stored * slope + intercept) / (slope * float(scale_slope))
    np.testing.assert_allclose(real_values(dataset)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("build", [classic_series, enhanced_series, legacy_converted_series])
def test_philips_scale_slopes_are_found_wherever_the_object_keeps_them(build):
    volume = VOLUME.with_array(VOLUME.array * 4)
    planes = np.concatenate([real_values(d) for d in build(volume, rescale=(2.0, 0.0), philips_scale_slope=0.25)])
    np.testing.assert_array_equal(np.sort(planes, axis=None), np.sort(volume.array, axis=None))


def test_the_same_signal_with_other_philips_slopes_gives_the_same_values():
    """Two series of one patient, scaled by the scanner to fill 12 bits each in its own way."""
    volume = VOLUME.with_array(VOLUME.array * 8)
    once = real_values(classic_series(volume, rescale=(2.0, 0.0), philips_scale_slope=0.125)[0])
    again = real_values(classic_series(volume, rescale=(0.5, 0.0), philips_scale_slope=0.5)[0])
    np.testing.assert_array_equal(once, again)


def test_a_philips_scale_slope_of_another_creator_or_of_zero_is_ignored():
    for creator, value in (("SOMEBODY ELSE", 0.5), ("Philips MR Imaging DD 001", 0.0)):
        dataset = classic_series(VOLUME, rescale=(1.0, 0.0))[0]
        dataset.private_block(0x2005, creator, create=True).add_new(0x0E, "FL", value)
        np.testing.assert_array_equal(real_values(dataset)[0], VOLUME.array[0])


def test_a_philips_scale_slope_survives_implicit_vr():
    volume = VOLUME.with_array(VOLUME.array * 4)
    dataset = classic_series(volume, philips_scale_slope=0.25, transfer_syntax=uid.ImplicitVRLittleEndian)[0]
    np.testing.assert_array_equal(real_values(dataset)[0], volume.array[0])


def mapping(slope: float, intercept: float) -> Dataset:
    item = Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    return item


def test_a_real_world_mapping_is_used_only_without_a_rescale():
    bare = classic_series(VOLUME, RealWorldValueMappingSequence=Items([mapping(3.0, 5.0)]))[0]
    np.testing.assert_array_equal(real_values(bare)[0], VOLUME.array[0] * 3 + 5)
    rescaled = classic_series(
        VOLUME, RescaleSlope="2", RescaleIntercept="0", RealWorldValueMappingSequence=Items([mapping(3.0, 5.0)])
    )[0]
    np.testing.assert_array_equal(real_values(rescaled)[0], VOLUME.array[0] * 2)


@pytest.mark.parametrize(
    "tags",
    [
        {"ModalityLUTSequence": Items([Dataset()])},
        {"RescaleSlope": "0", "RescaleIntercept": "0"},
        {"RealWorldValueMappingSequence": Items([mapping(3.0, 5.0), mapping(1.0, 0.0)])},
        {"RealWorldValueMappingSequence": Items([Dataset()])},
    ],
    ids=["modality LUT", "slope 0", "two mappings", "mapping by table"],
)
def test_values_that_are_no_straight_line_are_refused(tags):
    assert refusal(classic_series(VOLUME, **tags)[0]) == "RESCALE_UNUSABLE"


def test_a_rescale_that_is_no_number_is_refused_and_an_empty_one_is_none():
    broken = classic_series(VOLUME)[0]
    for value, code in ((b"1,0 ", "RESCALE_UNUSABLE"), (b"nan ", "RESCALE_UNUSABLE")):
        broken[0x00281053] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(0x00281053), "DS", len(value), value, 0, False, True, True
        )
        assert refusal(broken) == code
    empty = classic_series(VOLUME, RescaleSlope="", RescaleIntercept="")[0]
    np.testing.assert_array_equal(real_values(empty)[0], VOLUME.array[0])


# --- what pixels may look like


def test_padding_holds_no_signal():
    dataset = classic_series(VOLUME, RescaleSlope="1", RescaleIntercept="100", PixelPaddingValue=0)[0]
    stored = dataset.pixel_array
    assert (stored == 0).any()
    np.testing.assert_array_equal(real_values(dataset)[0], np.where(stored == 0, 0, stored + 100.0))
    dataset.PixelPaddingRangeLimit = 1000
    np.testing.assert_array_equal(real_values(dataset)[0], np.where(stored <= 1000, 0, stored + 100.0))


def test_a_negative_padding_value_written_as_unsigned_is_recognised():
    volume = VOLUME.with_array(np.where(VOLUME.array == 0, -2000, VOLUME.array))
    dataset = classic_series(volume)[0]
    dataset.add(pydicom.DataElement("PixelPaddingValue", "US", 65536 - 2000))
    np.testing.assert_array_equal(real_values(dataset)[0], VOLUME.array[0])


@pytest.mark.parametrize(
    "tags",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"PhotometricInterpretation": None},
    ],
)
def test_only_monochrome2_is_read(tags):
    dataset = classic_series(VOLUME, **tags)[0]
    dataset.PixelData = bytes(dataset.PixelData) * 3
    assert refusal(dataset) == "NOT_GREYSCALE"


def test_signed_values_without_sign_extension_are_extended():
    """PS3.5 8.1.1 leaves open what stands above Bits Stored."""
    signed = VOLUME.with_array(VOLUME.array % 4096 - 2000)
    dataset = classic_series(signed, BitsStored=12, HighBit=11)[0]
    words = np.frombuffer(dataset.PixelData, dtype="<u2") & 0x0FFF
    dataset.PixelData = words.astype("<u2").tobytes()
    np.testing.assert_array_equal(real_values(dataset)[0], signed.array[0])


def test_an_overlay_above_bits_stored_is_dropped_and_anything_else_there_refused():
    dataset = classic_series(VOLUME, BitsStored=12, HighBit=11)[0]
    words = np.frombuffer(dataset.PixelData, dtype="<u2").copy()
    words[::5] |= 0x1000
    dataset.PixelData = words.tobytes()
    assert refusal(dataset) == "PIXELS_UNREADABLE"
    dataset.add_new(0x60000102, "US", 12)
    np.testing.assert_array_equal(real_values(dataset)[0], VOLUME.array[0])


@pytest.mark.parametrize(
    "tags",
    [
        {"BitsAllocated": 12},
        {"BitsStored": 17},
        {"HighBit": 14},
        {"PixelRepresentation": 2},
        {"BitsStored": 0, "HighBit": 0},
    ],
)
def test_contradicting_pixel_descriptions_are_refused(tags):
    assert refusal(classic_series(VOLUME, **tags)[0]) in {"PIXELS_UNREADABLE", "MISSING_PIXEL_DATA"}


@pytest.mark.parametrize(
    ("keyword", "dtype", "bits"), [("FloatPixelData", "<f4", 32), ("DoubleFloatPixelData", "<f8", 64)]
)
def test_float_pixels_are_real_values_already(keyword, dtype, bits):
    dataset = classic_series(VOLUME, PixelData=None, BitsAllocated=bits)[0]
    setattr(dataset, keyword, (VOLUME.array[0] / 7).astype(dtype).tobytes())
    np.testing.assert_allclose(real_values(dataset)[0], VOLUME.array[0] / 7, rtol=1e-6)


# --- damaged and hostile pixel data


def test_missing_and_short_pixel_data_are_refused():
    assert refusal(classic_series(VOLUME, PixelData=None)[0]) == "MISSING_PIXEL_DATA"
    short = classic_series(VOLUME)[0]
    short.PixelData = short.PixelData[:-2]
    assert refusal(short) == "MISSING_PIXEL_DATA"


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s.is_encapsulated], ids=name_of)
def test_a_damaged_stream_is_refused(syntax):
    dataset = classic_series(VOLUME, transfer_syntax=syntax)[0]
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: len(frame) // 3]])
    assert refusal(dataset) == "PIXELS_UNREADABLE"
    dataset.PixelData = encapsulate([b"\xff\xd8" + b"\x5a" * 200])
    assert refusal(dataset) == "PIXELS_UNREADABLE"


@pytest.mark.parametrize("syntax", [s for s in COMPRESSED if s != uid.JPEGBaseline8Bit], ids=name_of)
def test_a_frame_of_another_size_than_stated_is_refused(syntax):
    dataset = classic_series(smooth_volume(), transfer_syntax=syntax, BitsStored=12, HighBit=11)[0]
    dataset.Rows = 18
    assert refusal(dataset) == "PIXELS_UNREADABLE"


def test_a_stream_that_announces_a_huge_image_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr("service.dicom.pixels.get_decoder", lambda syntax: pytest.fail("the decoder was called"))
    for syntax, marker, at in ((uid.JPEGLosslessSV1, b"\xff\xc3", 5), (uid.JPEGLSLossless, b"\xff\xf7", 5)):
        dataset = classic_series(VOLUME, transfer_syntax=syntax)[0]
        frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        start = frame.index(marker) + at
        frame[start : start + 4] = b"\xff\xf0\xff\xf0"
        dataset.PixelData = encapsulate([bytes(frame)])
        assert refusal(dataset) == "PIXELS_UNREADABLE"
    dataset = classic_series(VOLUME, transfer_syntax=uid.JPEG2000Lossless)[0]
    frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    frame[8:16] = b"\0\1\0\0\0\1\0\0"
    dataset.PixelData = encapsulate([bytes(frame)])
    assert refusal(dataset) == "PIXELS_UNREADABLE"


def test_a_header_that_announces_a_huge_matrix_is_refused_before_anything_is_decoded():
    dataset = classic_series(VOLUME, transfer_syntax=uid.RLELossless)[0]
    dataset.Rows = dataset.Columns = 65535
    assert refusal(dataset) == "MATRIX_TOO_LARGE"


def test_more_or_fewer_frames_than_described_are_refused():
    dataset = enhanced_series(VOLUME)[0]
    del dataset.PerFrameFunctionalGroupsSequence[2]
    assert refusal(dataset) == "PIXELS_UNREADABLE"


def test_a_video_is_refused_as_not_supported():
    dataset = classic_series(VOLUME, transfer_syntax=uid.RLELossless)[0]
    dataset.file_meta.TransferSyntaxUID = uid.UID("1.2.840.10008.1.2.4.102")
    with pytest.raises(InputRefused, match="is not supported"):
        real_values(dataset)


def test_a_private_transfer_syntax_is_refused():
    dataset = classic_series(VOLUME)[0]
    dataset.file_meta.TransferSyntaxUID = uid.UID("1.2.3.4")
    assert refusal(dataset) == "PIXELS_UNREADABLE"


def test_planes_are_decoded_one_at_a_time():
    dataset = enhanced_series(VOLUME)[0]
    planes = real_planes(pydicom.dcmread(BytesIO(to_bytes(dataset))))
    np.testing.assert_array_equal(next(planes), VOLUME.array[0])
    np.testing.assert_array_equal(next(planes), VOLUME.array[1])
