"""Bad input: a clear reason, every byte kept, and the next patient's case as if nothing had been."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag

from service.cases import Case, CaseOutcome, CaseState
from service.dicom.headers import parse_header
from service.dicom.injection import InjectionTimes
from service.dicom.pairing import pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import StoredInstance
from service.dicom.same_image import same_image
from service.dicom.summaries import summarise
from service.dicom.volumes import read_series_from_bytes
from service.errors import InputRefused, StorageUnavailable
from service.imaging.volume import Grid, Volume
from service.jobs.assembler import Assembler
from service.jobs.memory_queue import MemoryQueue
from service.jobs.reception import Arrival, Receiver, Reception
from service.jobs.retry import RetryPolicy
from service.jobs.spool_conversion import SpoolConversion
from service.jobs.steps import LedgerCaseSteps
from service.storage.ledger import Ledger
from service.storage.part10 import split_file
from service.storage.spool import Spool
from tests.builders.conversions import convert_datasets, converter, pair_of
from tests.builders.dicom import classic_series, enhanced_series, make_uid, to_bytes
from tests.builders.patients import BASELINE_AT, DELAYED_AT, INJECTED_AT, baseline_series, delayed_series
from tests.builders.received import NOON

POLICY = PairingPolicy()
Alter = Callable[[list[Dataset]], list[Dataset]]
Series = list[Dataset]


# --- patients: as many slices as a head has, few voxels in each, since headers alone decide here


@cache
def blocks() -> Volume:
    array = np.random.default_rng(4).integers(0, 3000, (62, 60, 60)).astype(np.float32)
    affine = np.diag([2.4, 2.4, 2.4, 1.0])
    return Volume(array, Grid(array.shape, affine))


def baseline_of(patient: str, **options: object) -> Series:
    """One multi-frame object, so that there are few to send."""
    given = {"patient_id": patient, "series": 1, "acquired_at": BASELINE_AT, **options}
    return enhanced_series(blocks(), **given)


def delayed_of(patient: str, build: Callable[..., Series] = classic_series, **options: object) -> Series:
    given = {"patient_id": patient, "series": 2, "acquired_at": DELAYED_AT, "injected_at": INJECTED_AT, **options}
    return build(blocks(), **given)


def arrival_of(dataset: Dataset, *, lost: int = 0) -> Arrival:
    """As C-STORE brings it; `lost` bytes are missing at its end."""
    content = to_bytes(dataset)
    _, offset = split_file(content)
    return Arrival(
        encoded_dataset=content[offset : len(content) - lost],
        sop_class_uid=str(dataset.file_meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(dataset.file_meta.MediaStorageSOPInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        calling_ae="SCANNER",
    )


class Site:
    """Reception, pairing and conversion of a service, without its network and its processes."""

    def __init__(self, root: Path) -> None:
        self.now = NOON
        self.spool = Spool(root / "spool", min_free_bytes=0)
        self.ledger = Ledger.open(f"sqlite:///{root}/ledger.sqlite")
        self.receiver = Receiver(self.spool, self.ledger, now=lambda: self.now)
        self.queue = MemoryQueue(
            LedgerCaseSteps(
                self.ledger,
                self.spool,
                convert_pair=SpoolConversion(self.spool, converter()),
                send=lambda _destination, _objects: (),
                confirm=lambda _destination, _objects: {},
                destinations=(),
                now=lambda: self.now,
            ),
            policy=RetryPolicy(),
        )
        self.assembler = Assembler(
            self.ledger,
            self.queue,
            summarise=summarise,
            pair=partial(pair, policy=POLICY, injection_times=InjectionTimes()),
        )
        self.sent: set[str] = set()

    def send(self, *arrivals: Arrival) -> list[Reception]:
        self.sent |= {digest(arrival.encoded_dataset) for arrival in arrivals}
        return [self.receiver.receive(arrival) for arrival in arrivals]

    def send_series(self, *series: Series) -> list[Reception]:
        return self.send(*(arrival_of(dataset) for datasets in series for dataset in datasets))

    def wait(self, span: timedelta) -> None:
        self.now += span
        self.assembler.tick(self.now)

    def cases_of(self, patient: str) -> tuple[Case, ...]:
        """Of everything sent under a Patient ID, as far as it stands."""
        uids = [make_uid(patient, 1, series) for series in (1, 2)]
        about = {case: self.ledger.cases.series_of(case.case_id) for case in self.ledger.cases.cases(CaseState.HELD)}
        held = [case for case, series in about.items() if not {*uids}.isdisjoint(series)]
        opened = {case_id for ids in self.ledger.cases.consumers(uids).values() for case_id in ids}
        return (*held, *(self.ledger.cases.case(case_id) for case_id in sorted(opened)))

    def kept(self) -> set[str]:
        """Digests of the data sets in the spool, as the sender sent them."""
        found = set()
        for path in self.spool.root.glob("objects/*/*.dcm"):
            content = path.read_bytes()
            found.add(digest(content[split_file(content)[1] :]))
        return found

    def close(self) -> None:
        self.ledger.close()
        self.spool.close()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


# --- objects that are no instance


def _no_series_uid(dataset: Dataset) -> Dataset:
    del dataset.SeriesInstanceUID
    return dataset


def odd_arrivals() -> dict[str, tuple[Arrival, str]]:
    whole = arrival_of(delayed_of("P1")[5])
    as_text = b"<html>The archive is down for maintenance.</html>"
    return {
        "a web page": (replace(whole, encoded_dataset=as_text), "MISSING_UID"),
        "an empty data set": (replace(whole, encoded_dataset=b""), "NOT_DICOM"),
        "noise": (replace(whole, encoded_dataset=np.random.default_rng(1).bytes(5000)), "MISSING_UID"),
        "a file cut in its header": (replace(whole, encoded_dataset=whole.encoded_dataset[:300]), "MISSING_UID"),
        "an instance without a series": (arrival_of(_no_series_uid(delayed_of("P1")[6])), "MISSING_UID"),
        "another instance than announced": (replace(whole, sop_instance_uid="1.2.3.4"), "UID_MISMATCH"),
    }


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
@pytest.mark.parametrize("what", odd_arrivals())
def test_an_object_that_cannot_be_used_is_kept_aside_with_its_reason(what: str, site: Site) -> None:
    arrival, code = odd_arrivals()[what]
    before, after = site.send(arrival), site.send(arrival_of(delayed_of("P1")[0]))
    assert before[0] in (Reception.NOT_UNDERSTOOD, Reception.MISMATCH)
    assert after == [Reception.KEPT]
    (rejected,) = site.ledger.instances.rejected()
    assert (rejected.reason.code, rejected.sop_instance_uid) == (code, arrival.sop_instance_uid)
    assert len(rejected.reason.message) > 30
    aside = (site.spool.root / rejected.relative_path).read_bytes()
    assert aside.endswith(arrival.encoded_dataset)
    assert site.kept() == site.sent
    assert site.ledger.counts().instances == 1
    site.send(arrival)  # the sender tries again
    assert len(site.ledger.instances.rejected()) == 1


# --- series that make no pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A pair with a fault.

    Attributes
    ----------
    held
        Codes on the held case; empty where only the pixels show the fault.
    chosen
        Codes of the refusal when a person names the two as a pair; None where there are not two.
    """

    baseline: Callable[[str], Series]
    delayed: Callable[[str], Series]
    held: tuple[str, ...]
    chosen: tuple[str, ...] | None


def _altered(alter: Alter, **options: object) -> Callable[[str], Series]:
    return lambda patient: alter(delayed_of(patient, **options))


def _turned(datasets: Series) -> Series:
    for dataset in datasets[::2]:
        dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    return datasets


def _without_pixels(datasets: Series) -> Series:
    for dataset in datasets[10:13]:
        del dataset.PixelData
    return datasets


def _short_pixels(datasets: Series) -> Series:
    """What a file cut on a full disk becomes after an export tool has repaired its lengths."""
    datasets[20].PixelData = datasets[20].PixelData[:700]
    return datasets


def _cut_stream(datasets: Series) -> Series:
    frame = next(generate_frames(datasets[30].PixelData, number_of_frames=1))
    datasets[30].PixelData = encapsulate([frame[: len(frame) // 3]])
    return datasets


def _nan_spacing(datasets: Series) -> Series:
    for dataset in datasets:
        dataset[0x00280030] = RawDataElement(Tag(0x00280030), "DS", 8, b"NaN\\NaN ", 0, False, True, True)
    return datasets


def _huge(datasets: Series) -> Series:
    for dataset in datasets:
        dataset.Rows = dataset.Columns = 65535
    return datasets


def _repeated(datasets: Series) -> Series:
    """A second image in the place of one, under a SOP Instance UID of its own."""
    again = pydicom.dcmread(BytesIO(to_bytes(datasets[40])))
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = make_uid(datasets[40].SOPInstanceUID, "again")
    again.PixelData = again.PixelData[::-1]
    return [*datasets, again]


def _ct(datasets: Series) -> Series:
    for dataset in datasets:
        dataset.Modality = "CT"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    return datasets


BAD: dict[str, Bad] = {
    "wrong modality": Bad(
        baseline=baseline_of,
        delayed=_altered(_ct),
        held=("PARTNER_MISSING", "NOT_AN_MR_IMAGE"),
        chosen=("NOT_A_T1_HEAD_SERIES",),
    ),
    "mixed orientations": Bad(
        baseline=baseline_of,
        delayed=_altered(_turned),
        held=("MIXED_ORIENTATION", "DUPLICATE_POSITION"),
        chosen=("MIXED_ORIENTATION",),
    ),
    "missing pixel data": Bad(
        baseline=baseline_of,
        delayed=_altered(_without_pixels),
        held=("MISSING_PIXEL_DATA",),
        chosen=("MISSING_PIXEL_DATA",),
    ),
    "shortened pixel data": Bad(
        baseline=baseline_of,
        delayed=_altered(_short_pixels),
        held=("MISSING_PIXEL_DATA",),
        chosen=("MISSING_PIXEL_DATA",),
    ),
    "spacing that is not a number": Bad(
        baseline=baseline_of, delayed=_altered(_nan_spacing), held=("NO_SPACING",), chosen=("NO_SPACING",)
    ),
    "huge dimensions": Bad(
        baseline=baseline_of, delayed=_altered(_huge), held=("MISSING_PIXEL_DATA",), chosen=("MISSING_PIXEL_DATA",)
    ),
    "two images in one place": Bad(
        baseline=baseline_of,
        delayed=_altered(_repeated),
        held=("DUPLICATE_POSITION",),
        chosen=("DUPLICATE_POSITION",),
    ),
    "another birth date": Bad(
        baseline=baseline_of,
        delayed=lambda patient: delayed_of(patient, birth_date="19610203"),
        held=("PATIENT_MISMATCH",),
        chosen=("PATIENT_MISMATCH",),
    ),
    "another patient": Bad(
        baseline=baseline_of,
        delayed=lambda patient: delayed_of(f"{patient}-other"),
        held=("PARTNER_MISSING",),
        chosen=("PATIENT_MISMATCH",),
    ),
    "no delayed series": Bad(baseline=baseline_of, delayed=lambda _: [], held=("PARTNER_MISSING",), chosen=None),
    "no baseline": Bad(baseline=lambda _: [], delayed=delayed_of, held=("BASELINE_MISSING",), chosen=None),
    "a compressed image cut short": Bad(
        baseline=baseline_of,
        delayed=_altered(_cut_stream, transfer_syntax=uid.JPEGLSLossless),
        held=(),
        chosen=("PIXELS_UNREADABLE",),
    ),
    "huge dimensions, compressed": Bad(
        baseline=baseline_of,
        delayed=_altered(_huge, transfer_syntax=uid.RLELossless),
        held=(),
        chosen=("MATRIX_TOO_LARGE",),
    ),
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site to which every bad pair was sent, each of a patient of its own, and last a good one; 50 h later."""
    site = Site(tmp_path_factory.mktemp("crowded"))
    for what, bad in BAD.items():
        site.send_series(bad.baseline(what), bad.delayed(what))
    site.send_series(baseline_of("GOOD"), delayed_of("GOOD", enhanced_series))
    site.wait(timedelta(minutes=1))
    (good,) = site.cases_of("GOOD")
    assert good.state is CaseState.QUEUED  # it did not wait for the others
    site.wait(timedelta(hours=50))
    yield site
    site.close()


@pytest.mark.parametrize("what", BAD)
def test_a_bad_pair_is_held_with_its_reason(what: str, crowded: Site) -> None:
    bad, cases = BAD[what], crowded.cases_of(what)
    assert {case.state for case in cases} == {CaseState.HELD if bad.held else CaseState.QUEUED}
    reasons = [reason for case in cases for reason in case.reasons]
    alone = {"PARTNER_MISSING"} if len(cases) > 1 else set()  # of the sound series, once its partner is out
    assert {reason.code for reason in reasons} == set(bad.held) | alone
    assert all(len(reason.message) > 30 for reason in reasons)


def test_nothing_of_all_that_is_lost_and_the_next_patient_s_pair_goes_on(crowded: Site) -> None:
    assert crowded.kept() == crowded.sent
    assert crowded.ledger.instances.rejected() == ()
    (good,) = crowded.cases_of("GOOD")
    assert (good.reasons, good.hours_after_injection) == ((), 1.5)


@pytest.mark.parametrize("what", [name for name, bad in BAD.items() if bad.chosen])
def test_a_bad_pair_that_a_person_has_chosen_is_refused_with_a_notice(what: str) -> None:
    bad = BAD[what]
    conversion = convert_datasets(bad.baseline("BAD"), bad.delayed("BAD"))
    assert conversion.outcome is CaseOutcome.REFUSED
    assert bad.chosen is not None
    codes = {reason.code for reason in conversion.reasons}
    assert set(bad.chosen) <= codes
    assert conversion.course is None
    (notice,) = (pydicom.dcmread(BytesIO(file.content)) for file in conversion.files)
    assert "NO PREDICTION" in notice.SeriesDescription.upper()
    said = str(notice.get("ImageComments", "")) + str(notice.get("DerivationDescription", ""))
    assert any(code in said for code in bad.chosen)
    assert notice.PatientID == "BAD"


# --- instances that come wrong, and then right


def test_two_contents_under_one_uid_are_both_kept_and_a_person_decides(site: Site) -> None:
    delayed = delayed_of("P1")
    site.send_series(baseline_of("P1"), delayed)
    other = pydicom.dcmread(BytesIO(to_bytes(delayed[7])))
    other.PixelData = other.PixelData[::-1]
    assert site.send(arrival_of(other), arrival_of(delayed[7])) == [Reception.KEPT, Reception.KEPT]
    site.send_series(baseline_of("P2"), delayed_of("P2", enhanced_series))
    site.wait(timedelta(minutes=1))
    (case,) = site.cases_of("P1")
    assert case.state is CaseState.HELD
    assert [(reason.code, reason.measured) for reason in case.reasons] == [("CONFLICTING_INSTANCES", 1.0)]
    assert site.kept() == site.sent
    (next_case,) = site.cases_of("P2")
    assert next_case.state is CaseState.QUEUED


def test_an_instance_that_came_cut_is_missed_until_it_comes_whole(site: Site) -> None:
    delayed = delayed_of("P1")
    cut = delayed.pop(30)
    site.send_series(baseline_of("P1"), delayed)
    half = arrival_of(cut, lost=len(to_bytes(cut)) - 700)
    assert site.send(half) == [Reception.NOT_UNDERSTOOD]
    site.wait(timedelta(minutes=61))
    (held,) = site.cases_of("P1")
    assert [reason.code for reason in held.reasons] == ["SERIES_INCOMPLETE"]
    assert site.send(arrival_of(cut)) == [Reception.KEPT]
    site.wait(timedelta(minutes=1))
    (case,) = site.cases_of("P1")
    assert case.state is CaseState.QUEUED
    assert site.kept() == site.sent


def test_an_instance_cut_within_its_pixels_is_named_as_such(site: Site) -> None:
    delayed = delayed_of("P1")
    site.send_series(baseline_of("P1"), delayed[:30], delayed[31:])
    site.send(arrival_of(delayed[30], lost=2000))
    site.wait(timedelta(hours=49))
    codes = {reason.code for case in site.cases_of("P1") for reason in case.reasons}
    codes |= {rejected.reason.code for rejected in site.ledger.instances.rejected()}
    assert site.kept() == site.sent
    assert codes == {"MISSING_PIXEL_DATA", "PARTNER_MISSING"}


@pytest.mark.parametrize(("frames", "code"), [(2**31 - 1, "MISSING_PIXEL_DATA"), (1, "MISSING_GEOMETRY")])
def test_a_multi_frame_object_that_lies_about_its_frames_costs_no_memory(frames: int, code: str) -> None:
    delayed = delayed_of("P1", enhanced_series)
    delayed[0].NumberOfFrames = frames
    conversion = convert_datasets(baseline_of("P1"), delayed)
    assert conversion.outcome is CaseOutcome.REFUSED
    assert code in {reason.code for reason in conversion.reasons}


def test_a_series_without_one_readable_file_is_refused_by_its_code() -> None:
    sound = pair_of(baseline_of("P1"), delayed_of("P1"))
    with pytest.raises(InputRefused, match="NOT_DICOM"):
        converter().convert_dicom(replace(sound, delayed=[b"<html></html>"]))


# --- with conversions


@pytest.mark.slow
def test_what_only_the_pixels_show_is_refused_in_its_turn_and_the_next_case_predicted(site: Site) -> None:
    """Refused while converting, the notice ready to be sent; then a whole head, sent last, is predicted."""
    by_pixels = [what for what, bad in BAD.items() if not bad.held]
    for what in by_pixels:
        site.send_series(BAD[what].baseline(what), BAD[what].delayed(what))
    site.send_series(baseline_series("GOOD"), delayed_series("GOOD"))
    site.wait(timedelta(minutes=1))
    site.queue.drain()
    for what in by_pixels:
        (case,) = site.cases_of(what)
        assert (case.state, case.outcome) == (CaseState.DONE, CaseOutcome.REFUSED)
        assert set(BAD[what].chosen or ()) <= {reason.code for reason in case.reasons}
        folder = site.spool.result_path(case.case_id, 1)
        assert len(list(folder.glob("refusal/*.dcm"))) == 1
        assert not (folder / "predicted").exists()
    (good,) = site.cases_of("GOOD")
    assert (good.state, good.outcome, good.reasons) == (CaseState.DONE, CaseOutcome.PREDICTED, ())
    assert len(list(site.spool.result_path(good.case_id, 1).glob("predicted/*.dcm"))) == 160
    assert site.kept() == site.sent


# --- anything at all

SEEDS = (
    classic_series,
    partial(classic_series, transfer_syntax=uid.ImplicitVRLittleEndian),
    partial(classic_series, transfer_syntax=uid.DeflatedExplicitVRLittleEndian),
    partial(classic_series, transfer_syntax=uid.JPEGLSLossless),
    partial(classic_series, transfer_syntax=uid.RLELossless),
    enhanced_series,
)
SYNTAXES = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.JPEGLSLossless,
    "1.2.3",
)


@cache
def whole_arrivals() -> tuple[Arrival, ...]:
    volume = Volume(blocks().array[:3], Grid((3, 60, 60), blocks().grid.affine))
    return tuple(arrival_of(build(volume)[0]) for build in SEEDS)


@st.composite
def mutated(draw: st.DrawFn) -> Arrival:
    """A real instance; mostly values are overwritten, seldom bytes lost or added, which ends the reading there."""
    arrival = draw(st.sampled_from(whole_arrivals()))
    content = bytearray(arrival.encoded_dataset)
    kind = draw(st.sampled_from(("change", "change", "change", "drop", "double", "insert", "cut")))
    for _ in range(draw(st.integers(1, 5 if kind == "change" else 1))):
        most = len(content) if draw(st.booleans()) else min(len(content), 2500)
        at = draw(st.integers(0, most - 1))
        some = draw(st.binary(min_size=1, max_size=12))
        if kind == "change":
            content[at : at + len(some)] = some[: len(content) - at]
        elif kind == "drop":
            del content[at : at + len(some)]
        elif kind == "double":
            content[at:at] = content[at : at + len(some)]
        elif kind == "insert":
            content[at:at] = some
        else:
            del content[at:]
    syntax = draw(st.sampled_from((*(arrival.transfer_syntax_uid,) * 9, *SYNTAXES)))
    return replace(arrival, encoded_dataset=bytes(content), transfer_syntax_uid=str(syntax))


@st.composite
def random_bytes(draw: st.DrawFn) -> Arrival:
    content = draw(st.binary(max_size=400))
    if draw(st.booleans()):  # as if it began like a data set
        content = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + content
    return replace(
        whole_arrivals()[0], encoded_dataset=content, transfer_syntax_uid=str(draw(st.sampled_from(SYNTAXES)))
    )


ANYTHING = st.one_of(mutated(), mutated(), random_bytes())


@pytest.mark.filterwarnings("ignore")  # pydicom's, on what it makes of the bytes
@given(arrival=ANYTHING)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_arrives_is_kept_and_either_recorded_or_listed_with_a_code(arrival: Arrival, site: Site) -> None:
    (answer,) = site.send(arrival)
    stored = stored_by(site, arrival)
    assert site.spool.read(stored).endswith(arrival.encoded_dataset)
    if answer is Reception.KEPT and not site.ledger.instances.knows(stored.relative_path):
        held = site.ledger.instances.usable(stored.sop_instance_uid)  # the same image in the form that came first
        assert held is not None
        assert same_image(site.spool.read(held), site.spool.read(stored))
        site.spool.discard(stored)
        return
    assert site.ledger.instances.knows(stored.relative_path)
    codes = [
        rejected.reason.code
        for rejected in site.ledger.instances.rejected(10**6)
        if rejected.relative_path == stored.relative_path
    ]
    if answer is Reception.KEPT:
        assert codes == []
    else:
        assert codes == ["UID_MISMATCH"] if answer is Reception.MISMATCH else codes in (["NOT_DICOM"], ["MISSING_UID"])
    site.wait(timedelta(hours=1))  # pairing looks at what has come, whatever it is


@pytest.mark.filterwarnings("ignore")
@given(arrival=ANYTHING)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_what_has_arrived_gives_a_volume_or_a_reason(arrival: Arrival, site: Site) -> None:
    content = site.spool.read(stored_by(site, arrival))
    codes = {"TOO_FEW_SLICES"}
    try:
        summary = summarise([parse_header(content)])
        read_series_from_bytes([content], summary)
    except InputRefused as refusal:
        codes = {reason.code for reason in refusal.reasons}
    assert all(re.fullmatch("[A-Z_]{5,40}", code) for code in codes)


def stored_by(site: Site, arrival: Arrival) -> StoredInstance:
    """Writing the same again changes nothing and tells where it lies."""
    return site.spool.write(
        arrival.encoded_dataset,
        sop_class_uid=arrival.sop_class_uid,
        sop_instance_uid=arrival.sop_instance_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        calling_ae=arrival.calling_ae,
        now=site.now,
    )


def test_a_full_disk_refuses_everything_and_keeps_what_it_has(site: Site, tmp_path: Path) -> None:
    first, second = (arrival_of(dataset) for dataset in delayed_of("P1")[:2])
    site.send(first)
    full = Spool(site.spool.root, min_free_bytes=1 << 60)
    receiver = Receiver(full, site.ledger, now=lambda: NOON)
    for bad in (second, replace(second, encoded_dataset=b"noise")):
        with pytest.raises(StorageUnavailable):
            receiver.receive(bad)
    full.close()
    assert site.kept() == site.sent
    assert site.ledger.counts().instances == 1
