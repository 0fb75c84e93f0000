"""The main job as a hospital sees it: DCMTK's storescu in, the prediction in a real Orthanc."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from service.cases import CaseOutcome, CaseState
from tests.builders.dcmtk import storescu
from tests.builders.dicom import make_uid
from tests.builders.orthanc import Modality, Orthanc
from tests.builders.patients import delayed_series, unpack_shipped, write
from tests.builders.programs import needs
from tests.builders.service_process import ServiceProcess

pytestmark = [
    needs("Orthanc"),
    needs("storescu"),
    pytest.mark.needs_orthanc,
    pytest.mark.needs_dcmtk,
    pytest.mark.slow,
]
SYNTHETIC = (0x0008, 0x001C)
JPEG_LS = ("-xt",)  # have storescu propose it: the shipped patient is compressed


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """With an Orthanc that it delivers to, as ``service.pacs``."""
    made = ServiceProcess(tmp_path)
    with Orthanc({"csf24": Modality(ae_title="CSF24", port=made.port)}) as pacs:
        made = _redirect(made, pacs)
        made.pacs = pacs
        yield made
        made.stop()


def _redirect(made: ServiceProcess, pacs: Orthanc) -> ServiceProcess:
    with made.config.open("a") as config:
        config.write(
            f'[[destinations]]\nname = "PACS"\nae_title = "{pacs.ae_title}"\nhost = "127.0.0.1"\n'
            f"port = {pacs.dicom_port}\n"
        )
    text = made.config.read_text().replace('["DCMTK"]', f'["DCMTK", "{pacs.ae_title}"]')
    made.config.write_text(text)
    return made


def received(pacs: Orthanc) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(BytesIO(pacs.get(f"instances/{identifier}/file"))) for identifier in pacs.instances()]


def send(service: ServiceProcess, *series: list[Path]) -> None:
    for files in series:
        done = storescu(service.port, files, *JPEG_LS)
        assert done.status == 0 and "Store Failed" not in done.text, done.text[-2000:]


def test_two_series_sent_by_storescu_come_back_as_a_predicted_series_in_orthanc(
    service: ServiceProcess, tmp_path: Path
) -> None:
    baseline, delayed = unpack_shipped(tmp_path / "patient")
    service.start()
    send(service, baseline, delayed)
    (case,) = service.await_settled()
    assert (case.state, case.outcome) == (CaseState.DONE, CaseOutcome.PREDICTED)
    assert case.delivered == case.deliverable == len(baseline)

    objects = received(service.pacs)
    sources = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, baseline)}
    assert len(objects) == len(sources)
    for made in objects:
        source = sources[made.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert made.PatientID == source.PatientID
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            assert made[keyword].value == source[keyword].value, keyword
        assert made[SYNTHETIC].value == "YES"
        assert list(made.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert made.BurnedInAnnotation == "YES"
    # It scrolls in step: instance numbers run along the source's slices.
    by_number = sorted(objects, key=lambda d: int(d.InstanceNumber))
    positions = [tuple(d.ImagePositionPatient) for d in by_number]
    assert positions == sorted(positions) or positions == sorted(positions, reverse=True)

    page = service.get("/").decode()
    assert case.case_id in page
    assert "SIM-24-114" not in page  # the patient's ID
    assert 'csf24_cases{state="done"} 1' in service.get("/metrics").decode()
    assert service.get(f"/cases/{case.case_id}/preview.png").startswith(b"\x89PNG")
    shown = json.loads(service.csf24("cases", "show", case.case_id, "--json").stdout)
    assert (shown["state"], shown["delivered"]) == ("done", len(baseline))
    assert not re.search(r"SIM-24-114|SIMULATED\^", service.log())


def test_a_case_without_an_injection_time_is_held_until_a_person_supplies_it(
    service: ServiceProcess, tmp_path: Path
) -> None:
    baseline, delayed = unpack_shipped(tmp_path / "patient")
    for path in delayed:
        dataset = pydicom.dcmread(path)
        del dataset.ContrastBolusStartTime
        dataset.save_as(path)
    with service.config.open("a") as config:
        config.write("[pairing]\nquiet_seconds = 5\n")
    service.start()
    send(service, baseline, delayed)
    (case,) = service.await_settled()
    assert case.state is CaseState.HELD
    assert [reason.code for reason in case.reasons] == ["INJECTION_TIME_MISSING"]
    assert "--injection-time" in case.reasons[0].message
    assert case.case_id in service.csf24("cases", "list").stdout

    wrong = service.csf24("cases", "release", case.case_id, "--injection-time", "half past nine")
    assert (wrong.returncode, "ISO 8601" in wrong.stderr) == (2, True)
    assert service.csf24("cases", "release", case.case_id, "--injection-time", "2024-05-14T09:10").returncode == 0
    (case,) = service.await_cases(lambda cases: [c.state for c in cases] == [CaseState.DONE])
    assert case.outcome is CaseOutcome.PREDICTED
    assert case.hours_after_injection == pytest.approx(1.43, abs=0.01)

    out = tmp_path / "exported"
    assert service.csf24("cases", "export", case.case_id, "--out", str(out)).returncode == 0
    assert len(list(out.glob(f"{case.case_id}/predicted/*.dcm"))) == len(baseline)


def _sent_twice(baseline: list[Path], late: pydicom.Dataset, folder: Path) -> list[Path]:
    """Another patient, whose second series holds the pixels of the first under other times and UIDs."""
    written = []
    for path in baseline:
        for role in ("before", "after"):
            dataset = pydicom.dcmread(path)
            dataset.PatientID = "P2"
            dataset.StudyInstanceUID = make_uid("P2", "study")
            dataset.SeriesInstanceUID = make_uid("P2", role)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = make_uid("P2", role, path.name)
            if role == "after":
                for keyword in ("AcquisitionTime", "SeriesTime", "ContentTime", "ContrastBolusStartTime",
                                "ContrastBolusRoute", "ContrastBolusAgent"):  # fmt: skip
                    setattr(dataset, keyword, late[keyword].value)
            written.append(folder / f"{role}-{path.name}")
            folder.mkdir(exist_ok=True)
            dataset.save_as(written[-1])
    return written


def test_a_refusal_reaches_the_pacs_with_its_reason_and_other_cases_go_on(
    service: ServiceProcess, tmp_path: Path
) -> None:
    baseline, delayed = unpack_shipped(tmp_path / "patient")
    copied = _sent_twice(baseline, pydicom.dcmread(delayed[0]), tmp_path / "other")
    service.start()
    send(service, copied, baseline, delayed)
    cases = service.await_settled(2)
    assert {case.state for case in cases} == {CaseState.DONE}
    assert {case.outcome for case in cases} == {CaseOutcome.PREDICTED, CaseOutcome.REFUSED}
    (refused,) = [case for case in cases if case.outcome is CaseOutcome.REFUSED]
    assert "SAME_PIXELS" in [reason.code for reason in refused.reasons]
    (notice,) = [d for d in received(service.pacs) if d.PatientID == "P2"]
    assert notice.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    assert notice.PhotometricInterpretation == "RGB"
    assert "NO PREDICTION" in notice.SeriesDescription.upper()
    assert "SAME_PIXELS" in str(notice.get("ImageComments", "")) + str(notice.get("DerivationDescription", ""))


EVERYTHING = """
[outputs]
mr_image = true
parametric_map = true
structured_report = "comprehensive"
encapsulated_pdf = true
"""


def test_what_arrives_while_the_pacs_is_down_is_delivered_when_it_is_back_in_every_form_that_was_asked_for(
    tmp_path: Path,
) -> None:
    baseline, delayed = unpack_shipped(tmp_path / "patient")
    service = ServiceProcess(tmp_path, extra=EVERYTHING)
    with Orthanc({"csf24": Modality(ae_title="CSF24", port=service.port)}) as pacs:
        port, options = pacs.dicom_port, pacs.http_port
    service = _redirect(service, pacs)
    with service:
        send(service, baseline, delayed)
        service.await_cases(lambda cases: [case.state for case in cases] == [CaseState.FAILED])
        assert b"failed" in service.get("/").lower()
        back = Orthanc({"csf24": Modality(ae_title="CSF24", port=service.port)})
        back.dicom_port, back.http_port = port, options
        with back:
            (case,) = service.await_settled(timeout_s=200)
            assert case.state is CaseState.DONE
            objects = received(back)
            kinds = Counter(pydicom.uid.UID(made.SOPClassUID).name for made in objects)
            assert kinds == {
                "Secondary Capture Image Storage": len(baseline),
                "MR Image Storage": len(baseline),
                "Parametric Map Storage": 1,
                "Comprehensive SR Storage": 1,
                "Encapsulated PDF Storage": 1,
            }
            assert {made[SYNTHETIC].value for made in objects if "SR" not in made.SOPClassUID.name} == {"YES"}
            # Orthanc's own viewer draws them
            image = next(made for made in objects if made.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage)
            assert back.get(f"instances/{back.find(image.SOPInstanceUID)}/preview").startswith(b"\x89PNG")


def test_series_of_one_time_point_alone_wait_and_nothing_is_guessed(service: ServiceProcess, tmp_path: Path) -> None:
    files = write(delayed_series(), tmp_path / "lonely")
    service.start()
    assert storescu(service.port, files).status == 0
    ledger = service.ledger()
    try:
        assert ledger.instances.rejected() == ()
        counts = ledger.counts()
    finally:
        ledger.close()
    assert counts.instances == len(files)
    assert [case for case in service.cases() if case.state is not CaseState.HELD] == []
    assert service.pacs.instances() == []


@pytest.mark.parametrize("method", ["move", "get"])
def test_a_baseline_that_is_only_in_the_pacs_is_fetched_when_the_delayed_scan_comes_alone(
    service: ServiceProcess, tmp_path: Path, method: str
) -> None:
    baseline, delayed = unpack_shipped(tmp_path / "patient")
    assert (
        storescu(service.pacs.dicom_port, baseline, *JPEG_LS, called=service.pacs.ae_title, calling="CSF24").status == 0
    )
    with service.config.open("a") as config:
        config.write(f'[priors]\nsource = "PACS"\nmethod = "{method}"\n')
    service.start()
    assert storescu(service.port, delayed, *JPEG_LS).status == 0
    (case,) = service.await_settled()
    assert case.outcome is CaseOutcome.PREDICTED
    assert len(service.pacs.instances()) == len(baseline) + case.deliverable
