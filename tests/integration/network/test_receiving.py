"""What senders see of the listener; the senders are DCMTK's."""

from __future__ import annotations

from threading import Event

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from service.errors import StorageUnavailable
from service.network.admission import accept_policy
from service.network.requests import AssociationRequest, Rejection
from tests.builders import dcmtk
from tests.builders.network import Inbox, associate, encoded_dataset, outgoing, write_series
from tests.builders.programs import needs, wait_until

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@needs("echoscu")
def test_an_echo_is_answered(listen):
    assert dcmtk.echoscu(listen().port).status == 0


@needs("storescu")
def test_a_series_arrives_byte_for_byte_with_who_sent_it(listen, series):
    inbox = Inbox()
    assert dcmtk.storescu(listen(receive=inbox).port, series, calling="SCANNER").status == 0
    assert [item.encoded_dataset for item in inbox.instances] == [encoded_dataset(path) for path in series]
    assert [item.sop_instance_uid for item in inbox.instances] == [i.sop_instance_uid for i in outgoing(series)]
    first = inbox.instances[0]
    assert (first.calling_ae, first.calling_address) == ("SCANNER", "127.0.0.1")
    assert (first.sop_class_uid, first.transfer_syntax_uid) == (MRImageStorage, ExplicitVRLittleEndian)


@needs("storescu")
@pytest.mark.parametrize(
    ("transfer_syntax", "option"),
    [
        (ImplicitVRLittleEndian, "-xi"),
        (DeflatedExplicitVRLittleEndian, "-xd"),
        (JPEGLSLossless, "-xt"),
        (JPEG2000Lossless, "-xv"),
        (RLELossless, "-xr"),
    ],
    ids=["implicit", "deflated", "JPEG-LS", "JPEG 2000", "RLE"],
)
def test_compressed_and_other_encodings_are_kept_as_they_are(listen, tmp_path, transfer_syntax, option):
    paths = write_series(tmp_path, 2, transfer_syntax=transfer_syntax)
    inbox = Inbox()
    outcome = dcmtk.storescu(listen(receive=inbox).port, paths, option)
    assert outcome.status == 0, outcome.text
    assert [item.transfer_syntax_uid for item in inbox.instances] == [transfer_syntax] * 2
    if transfer_syntax != DeflatedExplicitVRLittleEndian:  # DCMTK deflates again, in its own way
        assert [item.encoded_dataset for item in inbox.instances] == [encoded_dataset(path) for path in paths]


@needs("dcmcjpeg")
@pytest.mark.parametrize(("option", "syntax"), [("+e1", "1.2.840.10008.1.2.4.70"), ("+el", "1.2.840.10008.1.2.4.57")])
def test_both_kinds_of_lossless_jpeg_arrive(listen, series, tmp_path, option, syntax):
    compressed = tmp_path / "jpeg.dcm"
    assert dcmtk.run("dcmcjpeg", option, series[0], compressed).status == 0
    inbox = Inbox()
    proposing = ("-xs",) if option == "+e1" else ()
    assoc = None if proposing else associate(listen(receive=inbox).port, (MRImageStorage, syntax))
    if assoc is not None:
        assert assoc.send_c_store(compressed).Status == 0
        assoc.release()
    else:
        assert dcmtk.storescu(listen(receive=inbox).port, [compressed], *proposing).status == 0
    assert inbox.instances[0].transfer_syntax_uid == syntax
    assert inbox.instances[0].encoded_dataset == encoded_dataset(compressed)


@needs("storescu")
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (RuntimeError("ledger of SIMULATED^Network fell over"), "Error: CannotUnderstand"),
        (StorageUnavailable("the disk is full"), "Refused: OutOfResources"),
        (0xA900, "Error: DataSetDoesNotMatchSOPClass"),
    ],
    ids=["a fault", "no space", "refused by the receiver"],
)
def test_a_failed_instance_is_reported_to_the_sender_and_the_next_one_is_taken(listen, series, capsys, answer, status):
    inbox = Inbox(answers=[0x0000, answer])
    outcome = dcmtk.storescu(listen(receive=inbox).port, series)
    assert outcome.text.count(f"({status})") == 1, outcome.text
    assert outcome.text.count("(Success)") == 3
    assert "SIMULATED" not in capsys.readouterr().out  # the log quotes no exception from elsewhere


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_instance_uid_that_is_no_uid_is_refused(listen, series):
    inbox = Inbox()
    assoc = associate(listen(receive=inbox).port, MRImageStorage)
    path = series[0]
    uid = outgoing([path])[0].sop_instance_uid.encode()
    path.write_bytes(path.read_bytes().replace(uid, b"../../etc/passwd".ljust(len(uid), b"x")))
    assert assoc.send_c_store(path).Status == 0x0117
    assoc.release()
    assert inbox.instances == []


def test_what_mr_studies_hold_besides_images_is_taken_and_a_ct_is_not(listen):
    port = listen().port
    assoc = associate(port, SECONDARY_CAPTURE, CT_IMAGE_STORAGE)
    assert [str(context.abstract_syntax) for context in assoc.accepted_contexts] == [SECONDARY_CAPTURE]
    assoc.release()


def test_of_several_transfer_syntaxes_none_with_loss_is_chosen(listen):
    near_lossless, jpeg_2000 = "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"
    assoc = associate(listen().port, (MRImageStorage, [jpeg_2000, near_lossless, JPEGLSLossless]))
    assert assoc.accepted_contexts[0].transfer_syntax == [JPEGLSLossless]
    assoc.release()


@needs("echoscu")
def test_echoscu_is_told_which_ae_title_is_wrong(listen):
    refused: list[tuple[str, Rejection]] = []
    port = listen(
        admit=accept_policy(["SCANNER"], False, "CSF24", lambda: True),
        on_refused=lambda refusal: refused.append((refusal.calling_ae, refusal.why)),
    ).port
    assert dcmtk.echoscu(port, calling="SCANNER").status == 0
    assert "Calling AE Title Not Recognized" in dcmtk.echoscu(port, calling="STRANGER").text
    assert "Called AE Title Not Recognized" in dcmtk.echoscu(port, calling="SCANNER", called="OTHER").text
    wait_until(lambda: len(refused) == 2)
    assert refused == [
        ("STRANGER", Rejection.CALLING_AE_TITLE_NOT_RECOGNISED),
        ("SCANNER", Rejection.CALLED_AE_TITLE_NOT_RECOGNISED),
    ]


@needs("storescu")
def test_without_room_the_association_is_refused_before_anything_is_sent(listen, series):
    inbox = Inbox()
    policy = accept_policy([], True, None, lambda: False)
    outcome = dcmtk.storescu(listen(receive=inbox, admit=policy).port, series)
    assert "Temporary Congestion" in outcome.text
    assert inbox.instances == []


@needs("echoscu")
def test_an_association_that_cannot_be_judged_is_refused(listen):
    def admit(_: AssociationRequest) -> None:
        raise OSError("the disk cannot be asked")

    assert "Temporary Congestion" in dcmtk.echoscu(listen(admit=admit).port).text


@needs("echoscu")
def test_beyond_the_limit_associations_are_refused_and_then_taken_again(listen):
    refused: list[Rejection] = []
    port = listen(max_associations=2, on_refused=lambda refusal: refused.append(refusal.why)).port
    held = [associate(port, VERIFICATION) for _ in range(2)]
    assert "Local Limit Exceeded" in dcmtk.echoscu(port).text
    wait_until(lambda: refused == [Rejection.LOCAL_LIMIT_EXCEEDED])
    for assoc in held:
        assoc.release()
    wait_until(lambda: dcmtk.echoscu(port).status == 0)


@needs("storescu")
@pytest.mark.parametrize("options", [(), ("--abort",)], ids=["released", "aborted"])
def test_the_end_of_an_association_is_told(listen, series, options):
    ended = Event()
    dcmtk.storescu(listen(on_released=ended.set).port, series, *options)
    assert ended.wait(5)


def _request(calling: str = "SCANNER", called: str = "CSF24", address: str = "10.0.0.7") -> AssociationRequest:
    return AssociationRequest(calling_ae=calling, called_ae=called, calling_address=address)


def test_with_no_ae_titles_named_only_this_machine_may_call():
    admit = accept_policy([], False, "CSF24", lambda: True)
    assert admit(_request()) is Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert admit(_request(address=address)) is None
    assert admit(_request(address="fe80::1%eth0")) is Rejection.CALLING_AE_TITLE_NOT_RECOGNISED


def test_promiscuous_takes_any_caller_but_still_its_own_name_only():
    admit = accept_policy([], True, "CSF24", lambda: True)
    assert admit(_request(calling="ANYONE")) is None
    assert admit(_request(called="OTHER")) is Rejection.CALLED_AE_TITLE_NOT_RECOGNISED
    assert accept_policy([], True, None, lambda: True)(_request(called="OTHER")) is None


def test_a_named_ae_title_may_call_from_anywhere_and_case_matters():
    admit = accept_policy(("SCANNER",), False, "CSF24", lambda: True)
    assert admit(_request()) is None
    assert admit(_request(calling="Scanner")) is Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
    assert admit(_request(calling="OTHER", address="127.0.0.1")) is Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
