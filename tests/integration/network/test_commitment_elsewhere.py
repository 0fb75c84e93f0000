"""Reports on storage commitment that come to another process than asked, by way of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from pydicom.uid import generate_uid
from pynetdicom import evt

from service.errors import StorageUnavailable
from service.network.commitment import Commitments
from service.network.storage_scu import OutgoingInstance
from service.report_box import LedgerReportBox
from service.storage.ledger import Ledger
from tests.builders.network import QUICK, outgoing, scripted_peer
from tests.builders.programs import wait_until
from tests.builders.received import NOON
from tests.integration.network.test_commitment import COMMITMENT, _report, _send_report


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[tuple[Ledger, Ledger]]:
    """Of a worker and of a listener."""
    opened = [Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") for _ in range(2)]
    yield opened[0], opened[1]
    for ledger in opened:
        ledger.close()


@pytest.fixture
def items(series) -> list[OutgoingInstance]:
    return outgoing(series)


def through(ledger: Ledger) -> Commitments:
    return Commitments(LedgerReportBox(ledger.commitments, lambda: NOON))


def test_a_report_to_another_process_ends_the_wait_of_the_one_that_asked(ledgers, listen, items):
    worker, listener = map(through, ledgers)
    port = listen(on_commitment=listener.record).port
    statuses: list[int] = []

    def report_soon(event: evt.Event) -> tuple[int, None]:
        report = _report(event.action_information.TransactionUID, items[:3], items[3:])
        Thread(target=lambda: statuses.append(_send_report(port, report, 2))).start()
        return 0x0000, None

    with scripted_peer([(evt.EVT_N_ACTION, report_soon)], COMMITMENT) as pacs:
        answers = worker.request(pacs, QUICK, items, transaction_uid=generate_uid(), wait_s=10)
    assert answers is not None
    assert [answers[item.sop_instance_uid] for item in items] == [True, True, True, False]
    wait_until(lambda: statuses == [0x0000])


def test_a_late_one_counts_the_next_time_that_is_asked(ledgers, listen, items):
    worker, listener = map(through, ledgers)
    port = listen(on_commitment=listener.record).port
    uids = [item.sop_instance_uid for item in items]
    asked = generate_uid()
    with scripted_peer([(evt.EVT_N_ACTION, lambda _: (0x0000, None))], COMMITMENT) as pacs:
        assert worker.request(pacs, QUICK, items, transaction_uid=asked, wait_s=0.2) is None
        assert _send_report(port, _report(asked, items)) == 0x0000
        assert worker.reported_late(pacs, uids) == frozenset(uids)
    assert _send_report(port, _report(asked, items)) == 0x0115  # told once; nobody waits any more


def test_a_report_that_cannot_be_kept_is_answered_so_that_it_comes_again(ledgers, listen, items, monkeypatch):
    listener = through(ledgers[1])
    port = listen(on_commitment=listener.record).port

    def fail(*_: object) -> bool:
        raise StorageUnavailable("the ledger failed: OperationalError")

    monkeypatch.setattr(ledgers[1].commitments, "put", fail)
    assert _send_report(port, _report(generate_uid(), items)) == 0x0110
