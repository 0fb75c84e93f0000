from __future__ import annotations

import struct
import warnings
import zlib
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from service.dicom.headers import parse_header, parse_received, read_header
from service.errors import InputRefused
from service.storage.part10 import encode_head, split_file
from tests.builders.dicom import (
    classic_series,
    enhanced_series,
    legacy_converted_series,
    make_uid,
    ramp_volume,
    to_bytes,
)
from tests.builders.dicom_encoding import LOSSLESS, encode
from tests.builders.real_head import FOLDER, needs_head

SMALL = ramp_volume(shape=(3, 36, 40))
INJECTED = datetime(2024, 5, 14, 6, 50)


def one(**tags: object) -> Dataset:
    return classic_series(SMALL, **tags)[0]


def code_of(refused: pytest.ExceptionInfo[InputRefused]) -> str:
    return refused.value.reasons[0].code


# --- what a good header gives


def test_a_classic_instance_gives_its_facts():
    header = parse_header(to_bytes(classic_series(SMALL, injected_at=INJECTED, issuer="HOSPITAL")[2]))
    assert (header.patient_id, header.issuer_of_patient_id, header.patient_birth_date) == ("P1", "HOSPITAL", "19500101")
    assert header.image_type == ("ORIGINAL", "PRIMARY", "M", "NORM")
    assert (header.scanning_sequence, header.sequence_variant) == (("GR",), ("SP", "MP"))
    assert (header.repetition_time_ms, header.echo_time_ms, header.flip_angle_deg) == (8.0, 3.7, 8.0)
    assert header.pixel_spacing_mm == (1.1, 0.9)
    assert (header.rows, header.columns, header.n_frames, header.instance_number) == (36, 40, 1, 3)
    assert header.positions_mm == pytest.approx((-10.0 + 2 * 1.3,))
    assert header.acquired_at == datetime(2024, 5, 14, 8, 0)
    assert header.contrast_start == INJECTED
    assert (header.contrast_agent, header.contrast_route) == ("Gadobutrol", "INTRATHECAL")
    assert header.has_pixel_data
    assert not header.synthetic_data


@pytest.mark.parametrize("transfer_syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_every_transfer_syntax_gives_the_same_header(transfer_syntax):
    plain = parse_header(to_bytes(one()))
    assert parse_header(to_bytes(one(transfer_syntax=transfer_syntax))) == plain


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian], ids=lambda s: s.name)
@pytest.mark.parametrize("build", [classic_series, enhanced_series, legacy_converted_series])
def test_a_data_set_as_it_came_gives_the_header_of_its_file_and_so_does_a_spoilt_one_if_any(build, syntax):
    """Cut short, lengthened, with bytes changed: what is read without the pixels is what the whole file says."""
    (made,) = encode(build(SMALL, injected_at=INJECTED)[:1], syntax)
    meta, offset = split_file(to_bytes(made))
    whole = to_bytes(made)[offset:]
    assert parse_received(whole, meta.transfer_syntax_uid) == parse_header(to_bytes(made))
    random, read = Random(24), 0
    for _ in range(400):
        spoilt = bytearray(whole)
        if random.random() < 0.3:
            del spoilt[random.randrange(len(spoilt)) :]
        elif random.random() < 0.3:
            spoilt += random.randbytes(20)
        else:
            spoilt[random.randrange(min(len(spoilt), 1500))] = random.randrange(256)
        found = parse_received(bytes(spoilt), meta.transfer_syntax_uid)
        if found is not None:
            read += 1
            assert found == parse_header(encode_head(meta) + spoilt)
    assert read > 100


@pytest.mark.parametrize("transfer_syntax", LOSSLESS[2:], ids=lambda syntax: syntax.name)
def test_other_encodings_are_left_to_who_reads_the_whole_file(transfer_syntax):
    content = to_bytes(one(transfer_syntax=transfer_syntax))
    assert parse_received(content[split_file(content)[1] :], transfer_syntax) is None


@pytest.mark.parametrize("build", [enhanced_series, legacy_converted_series])
def test_a_multi_frame_instance_gives_the_facts_of_the_classic_one(build):
    volume = ramp_volume("oblique", (4, 36, 40))
    classic = [
        parse_header(to_bytes(d))
        for d in classic_series(volume, injected_at=INJECTED, InversionTime="900", ScanningSequence=["GR", "IR"])
    ]
    made = build(volume, injected_at=INJECTED)
    header = parse_header(to_bytes(made[0]))
    assert header.n_frames == 4
    assert sorted(header.positions_mm) == pytest.approx([h.positions_mm[0] for h in classic])
    for name in ("scanning_sequence", "repetition_time_ms", "echo_time_ms", "flip_angle_deg", "slice_thickness_mm",
                 "pixel_spacing_mm", "mr_acquisition_type", "image_orientation", "acquired_at", "contrast_agent",
                 "contrast_start", "body_part", "frame_of_reference_uid", "series_instance_uid"):  # fmt: skip
        expected = ("GR",) if name == "scanning_sequence" else getattr(classic[0], name)
        assert getattr(header, name) == expected, name
    assert header.sequence_variant[0] == "SP"
    assert "INTRATHECAL" in header.contrast_route.upper()


def test_enhanced_inversion_and_echo_terms_become_the_classic_ones():
    made = enhanced_series(SMALL, EchoPulseSequence="BOTH", EchoPlanarPulseSequence="YES")[0]
    modifier = made.SharedFunctionalGroupsSequence[0].MRModifierSequence[0]
    modifier.InversionRecovery, modifier.InversionTimes = "YES", 900.0
    header = read_header(made)
    assert header.scanning_sequence == ("SE", "GR", "IR", "EP")
    assert header.sequence_variant == ("SP", "MP")
    assert header.inversion_time_ms == 900.0


def test_an_enhanced_agent_that_was_prescribed_but_not_given_is_no_agent():
    made = enhanced_series(SMALL, injected_at=INJECTED)[0]
    for groups in made.PerFrameFunctionalGroupsSequence:
        groups.ContrastBolusUsageSequence[0].ContrastBolusAgentAdministered = "NO"
    assert read_header(made).contrast_agent == ""


def test_agent_and_route_are_found_in_their_sequences():
    agent, route = Dataset(), Dataset()
    agent.CodeMeaning, route.CodeMeaning = "Gadobutrol", "Intrathecal route"
    header = read_header(
        one(ContrastBolusAgentSequence=Items([agent]), ContrastBolusAdministrationRouteSequence=Items([route]))
    )
    assert (header.contrast_agent, header.contrast_route) == ("Gadobutrol", "Intrathecal route")


# --- times


def test_the_most_specific_acquisition_time_wins():
    order = [
        {"AcquisitionDateTime": "20240514101112.5"},
        {"AcquisitionDate": "20240514", "AcquisitionTime": "091011"},
        {"ContentDate": "20240514", "ContentTime": "0809"},
        {"SeriesDate": "20240514", "SeriesTime": "070809"},
    ]
    nothing = dict.fromkeys([k for stated in order for k in stated])
    expected = [datetime(2024, 5, 14, 10, 11, 12, 500000), datetime(2024, 5, 14, 9, 10, 11),
                datetime(2024, 5, 14, 8, 9), datetime(2024, 5, 14, 7, 8, 9), None]  # fmt: skip
    for start, wanted in enumerate(expected):
        stated: dict[str, object] = dict(nothing)
        for later in order[start:]:
            stated |= later
        assert read_header(one(**stated)).acquired_at == wanted


def test_a_time_is_not_combined_with_the_date_of_another_event():
    header = read_header(
        one(AcquisitionDate=None, AcquisitionTime="235900", ContentDate="20240515", ContentTime="001000")
    )
    assert header.acquired_at == datetime(2024, 5, 15, 0, 10)


def test_the_earliest_frame_dates_an_enhanced_instance():
    made = enhanced_series(SMALL, frame_order=[2, 0, 1])[0]
    made.PerFrameFunctionalGroupsSequence[1].FrameContentSequence[0].FrameAcquisitionDateTime = "20240514073000"
    assert read_header(made).acquired_at == datetime(2024, 5, 14, 7, 30)


@pytest.mark.parametrize(
    ("offset", "zone"),
    [("+0200", timezone(timedelta(hours=2))), ("-0330", timezone(-timedelta(hours=3, minutes=30))), ("+0000", UTC)],
)
def test_the_timezone_offset_makes_times_aware(offset, zone):
    header = read_header(classic_series(SMALL, injected_at=INJECTED, TimezoneOffsetFromUTC=offset)[0])
    assert header.acquired_at == datetime(2024, 5, 14, 8, 0, tzinfo=zone)
    assert header.contrast_start == datetime(2024, 5, 14, 6, 50, tzinfo=zone)


def test_a_date_time_with_its_own_offset_keeps_it():
    made = classic_series(
        SMALL, injected_at=INJECTED, AcquisitionDateTime="20240514060000+0000", TimezoneOffsetFromUTC="+0200"
    )
    header = read_header(made[0])
    assert header.acquired_at == datetime(2024, 5, 14, 6, 0, tzinfo=UTC)
    assert header.contrast_start == datetime(2024, 5, 14, 4, 50, tzinfo=UTC)  # 06:50 on the scanner's clock


def test_an_injection_before_midnight_belongs_to_the_day_before():
    made = classic_series(SMALL, acquired_at=datetime(2024, 5, 15, 0, 40), injected_at=datetime(2024, 5, 14, 23, 15))
    assert read_header(made[0]).contrast_start == datetime(2024, 5, 14, 23, 15)


@pytest.mark.parametrize("clock", ["", "25", "2560", "8:00", "nonsense", "07", "0700\\0800"])
def test_an_unusable_injection_time_is_none(clock):
    assert read_header(one(ContrastBolusStartTime=clock)).contrast_start is None


@pytest.mark.parametrize(
    ("clock", "wanted"), [("07:05:06", (7, 5, 6, 0)), ("070560", (7, 5, 59, 0)), ("070506.25", (7, 5, 6, 250000))]
)
def test_old_separators_leap_seconds_and_fractions_are_read(clock, wanted):
    hour, minute, second, microsecond = wanted
    assert read_header(one(ContrastBolusStartTime=clock)).contrast_start == datetime(
        2024, 5, 14, hour, minute, second, microsecond
    )


# --- counts


def philips_counts(slices: int, echoes: int = 1, **tags: object) -> Dataset:
    dataset = one(**tags)
    block = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x18, "SL", slices)
    block.add_new(0x14, "SL", echoes)
    return dataset


def test_images_in_acquisition_is_preferred_and_philips_counts_stand_in():
    assert read_header(one(ImagesInAcquisition="192")).images_in_acquisition == 192
    assert read_header(philips_counts(170, ImagesInAcquisition="192")).images_in_acquisition == 192
    assert read_header(philips_counts(170)).images_in_acquisition == 170


def test_philips_counts_of_several_echoes_or_of_a_reformatted_series_are_not_trusted():
    assert read_header(philips_counts(170, echoes=2)).images_in_acquisition is None
    assert read_header(philips_counts(170, ImageType=["DERIVED", "SECONDARY", "MPR"])).images_in_acquisition is None


def test_ge_locations_in_acquisition_is_not_a_count_of_images():
    dataset = one()
    dataset.private_block(0x0021, "GEMS_RELA_01", create=True).add_new(0x4F, "SS", 92)
    assert read_header(dataset).images_in_acquisition is None


# --- pixel data without decoding


def test_has_pixel_data_tells_the_truth():
    truncated = one()
    truncated.PixelData = truncated.PixelData[:-2]
    assert read_header(one()).has_pixel_data
    assert not read_header(truncated).has_pixel_data
    assert not read_header(one(PixelData=None)).has_pixel_data
    assert read_header(one(PixelData=None), has_pixel_data=True).has_pixel_data


def test_an_encapsulated_instance_has_pixel_data_only_with_a_fragment_per_frame():
    packed = enhanced_series(SMALL, transfer_syntax=uid.RLELossless)[0]
    assert read_header(packed).has_pixel_data
    packed.NumberOfFrames = 4
    assert not read_header(packed).has_pixel_data


# --- malformed values


@pytest.mark.parametrize("given", ["", "nan", "inf", "1,0", "abc", "1e999", "0", "-1"])
def test_a_spacing_that_is_no_length_is_none(given):
    raw = one(SliceThickness=None, PixelSpacing=None)
    for tag, value in ((0x00180050, given), (0x00280030, f"{given}\\1")):
        raw[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), "DS", len(value), value.encode(), 0, False, True, True
        )
    header = read_header(raw)
    assert header.slice_thickness_mm is None
    assert header.pixel_spacing_mm is None


def test_values_with_too_many_numbers_or_of_the_wrong_kind_are_none():
    header = read_header(
        one(
            EchoTime=["3.7", "7.4"],
            PixelSpacing=["1", "1", "1"],
            ImageOrientationPatient=["1", "0", "0"],
            SeriesNumber=None,
            NumberOfFrames="99999999999",
        )
    )
    assert header.echo_time_ms is None
    assert header.pixel_spacing_mm is None
    assert header.image_orientation is None
    assert header.positions_mm == ()
    assert header.n_frames == 1


def test_malformed_values_are_not_quoted_in_warnings():
    content = to_bytes(one()).replace(b"19500101", b"1950-1-1")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        header = parse_header(content)
    assert header.patient_birth_date == "1950-1-1"
    assert not [w for w in caught if "1950" in str(w.message)]


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "1.2.x", "1..2", "1." * 32 + "1"])
def test_an_instance_without_valid_uids_is_refused(keyword, value):
    dataset = one()
    if value is None:
        del dataset[keyword]
    else:
        dataset[keyword] = pydicom.DataElement(keyword, "UI", value, already_converted=True)
    with pytest.raises(InputRefused) as refused:
        read_header(dataset)
    assert code_of(refused) == "MISSING_UID"
    assert keyword in refused.value.reasons[0].message


def test_uid_components_with_leading_zeros_are_tolerated():
    dataset = one()
    dataset["StudyInstanceUID"].value = "1.2.840.007"
    assert read_header(dataset).study_instance_uid == "1.2.840.007"


# --- files


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + b"\0" * 500, b"hello" * 100, b"\0" * 4096])
def test_other_files_are_not_dicom(content):
    with pytest.raises(InputRefused) as refused:
        parse_header(content)
    assert code_of(refused) == "NOT_DICOM"


def test_a_dicom_file_without_a_study_is_refused_for_its_uids():
    with pytest.raises(InputRefused) as refused:
        parse_header(to_bytes(one(StudyInstanceUID=None)))
    assert code_of(refused) == "MISSING_UID"


@pytest.mark.parametrize("transfer_syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
@pytest.mark.parametrize("with_meta", [True, False])
def test_a_file_without_preamble_is_read(transfer_syntax, with_meta):
    content = to_bytes(one(transfer_syntax=transfer_syntax))
    meta_length = struct.unpack("<I", content[140:144])[0]
    bare = content[132:] if with_meta else content[144 + meta_length :]
    assert parse_header(bare) == parse_header(content)


def test_a_deflated_file_that_explodes_is_not_inflated(monkeypatch):
    monkeypatch.setattr("service.dicom.part10._LARGEST_INFLATED", 10_000_000)
    content = to_bytes(one(transfer_syntax=uid.DeflatedExplicitVRLittleEndian))
    meta_end = 144 + struct.unpack("<I", content[140:144])[0]
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(zlib.decompress(content[meta_end:], -zlib.MAX_WBITS) + b"\0" * 20_000_000) + packer.flush()
    assert len(bomb) < 40_000
    with pytest.raises(InputRefused) as refused:
        parse_header(content[:meta_end] + bomb)
    assert code_of(refused) == "NOT_DICOM"
    assert "inflates" in refused.value.reasons[0].message


def test_deeply_nested_sequences_do_not_break_the_reader():
    nested = b""
    for _ in range(3000):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(nested)) + nested
        nested = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
    content = to_bytes(one())
    meta_end = 144 + struct.unpack("<I", content[140:144])[0]
    with pytest.raises(InputRefused):
        parse_header(content[:meta_end] + nested)
    undefined = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(InputRefused):
        parse_header(content[:meta_end] + undefined * 3000)


GOOD = [
    to_bytes(one()),
    to_bytes(one(transfer_syntax=uid.ImplicitVRLittleEndian)),
    to_bytes(one(transfer_syntax=uid.DeflatedExplicitVRLittleEndian)),
    to_bytes(one(transfer_syntax=uid.RLELossless)),
    to_bytes(enhanced_series(SMALL, injected_at=INJECTED)[0]),
]


def only_refuses(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parse_header(content)
        except InputRefused as refused:
            assert refused.reasons[0].code in {"NOT_DICOM", "MISSING_UID"}


@given(st.sampled_from(GOOD), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files_are_read_or_refused_and_nothing_else(good, data):
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(128, min(len(content), 6000) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    only_refuses(bytes(content[:cut]))


@given(st.sampled_from(GOOD), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_swapped_vrs_are_read_or_refused_and_nothing_else(good, seed):
    rng = np.random.default_rng(seed)
    vrs = [
        b"AE",
        b"AT",
        b"CS",
        b"DA",
        b"DS",
        b"FD",
        b"FL",
        b"IS",
        b"OB",
        b"PN",
        b"SQ",
        b"SS",
        b"UI",
        b"UL",
        b"UN",
        b"??",
    ]
    content = bytearray(good)
    known = [n for n in range(132, min(len(content), 6000)) if bytes(content[n : n + 2]) in vrs]
    for at in rng.choice(known, size=min(4, len(known)), replace=False):
        content[at : at + 2] = vrs[rng.integers(len(vrs))]
    only_refuses(bytes(content))


@given(st.binary(max_size=600))
@settings(max_examples=200, deadline=None)
def test_random_bytes_after_a_prefix_are_read_or_refused_and_nothing_else(tail):
    only_refuses(b"\0" * 128 + b"DICM" + tail)
    only_refuses(b"\x08\x00\x16\x00UI" + tail)


def test_the_same_instance_has_the_same_uids_in_every_build():
    assert parse_header(to_bytes(one())).study_instance_uid == make_uid("P1", 1)


class TestTheRealHead:
    pytestmark = needs_head

    def test_its_series_is_counted_and_timed(self):
        headers = [parse_header(path.read_bytes()) for path in sorted(FOLDER.glob("1301_*.dcm"))]
        assert {h.images_in_acquisition for h in headers} == {len(headers)} == {170}
        assert {h.acquired_at for h in headers} == {datetime(2021, 9, 2, 13, 0, 13, 40000)}
        assert len({round(h.positions_mm[0], 3) for h in headers}) == 170
        assert {h.scanning_sequence for h in headers} == {("GR",)}
