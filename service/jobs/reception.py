"""Reception: an arriving instance becomes a file, then a row; only then is it acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import structlog

from service.dicom.headers import parse_header, parse_received
from service.dicom.records import InstanceHeader, StoredInstance
from service.dicom.same_image import same_image
from service.errors import InputRefused, Reason, StorageUnavailable
from service.storage.instance_ledger import Rebuilt
from service.storage.ledger import Ledger
from service.storage.part10 import FileMeta, encode_head
from service.storage.spool import Spool, content_digest

_HELPERS = 8
_log = structlog.get_logger()
_MISMATCH = Reason(
    code="UID_MISMATCH",
    message="The data set names another SOP Instance than the C-STORE request; the sender must be corrected.",
)


class Reception(Enum):
    """What became of an arriving object."""

    KEPT = "kept"  # durable, or already held, be it in another encoding
    NOT_UNDERSTOOD = "not understood"  # kept aside with the reason, never used
    MISMATCH = "mismatch"  # the data set contradicts the request; kept aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An object as it came off the wire: the encoded data set without file meta information."""

    encoded_dataset: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str


class Receiver:
    """Takes arriving objects into spool and ledger; any number of threads may call it."""

    def __init__(self, spool: Spool, ledger: Ledger, *, now: Callable[[], datetime]) -> None:
        self._spool = spool
        self._ledger = ledger
        self._now = now
        self._helpers = ThreadPoolExecutor(_HELPERS, thread_name_prefix="reception")

    def receive(self, arrival: Arrival, *, tell: Callable[[InstanceHeader], None] = lambda _: None) -> Reception:
        """Make the object durable, whatever it is, and record it.

        Parameters
        ----------
        tell
            Told the header of an object that was recorded.

        Raises
        ------
        StorageUnavailable
            Nothing was acknowledged; the peer has to send it again.
        """
        now = self._now()
        # Beside the write, which mostly waits for the disk.
        hashing = self._helpers.submit(content_digest, arrival.encoded_dataset, arrival.transfer_syntax_uid)
        parsing = self._helpers.submit(_header_of, arrival)
        stored = self._spool.write(
            arrival.encoded_dataset,
            sop_class_uid=arrival.sop_class_uid,
            sop_instance_uid=arrival.sop_instance_uid,
            transfer_syntax_uid=arrival.transfer_syntax_uid,
            calling_ae=arrival.calling_ae,
            now=now,
            digest=hashing.result,
        )
        try:
            header = parsing.result()
        except InputRefused as refusal:
            self._set_aside(stored, refusal.reasons[0], now)
            return Reception.MISMATCH if refusal.reasons[0] is _MISMATCH else Reception.NOT_UNDERSTOOD
        if not self._is_held(stored):
            self._ledger.instances.record(stored, header)
        tell(header)
        return Reception.KEPT

    def close(self) -> None:
        """Receive nothing more."""
        self._helpers.shutdown()

    def recover(self) -> Rebuilt:
        """Record what the spool holds and the ledger does not know: after a kill, or after the ledger was lost."""
        return self._ledger.instances.rebuild_from(self._spool, self._header, now=self._now(), is_held=self._is_held)

    def _header(self, stored: StoredInstance) -> InstanceHeader:
        return _checked(parse_header(self._spool.read(stored)), stored.sop_instance_uid)

    def _is_held(self, stored: StoredInstance) -> bool:
        """Whether its image is recorded already, in another encoding or with other words in its header.

        Then the file goes, so that no conflict is seen where there is none. Pixels are decoded only where a SOP
        Instance UID came with two contents. Two that arrive at one moment may miss each other and be recorded as a
        conflict, until one of them is sent again.
        """
        if not self._spool.has_another(stored):
            return False
        held = self._ledger.instances.usable(stored.sop_instance_uid)
        if held is None or held.relative_path == stored.relative_path:
            return False
        try:
            same = same_image(self._spool.read(held), self._spool.read(stored))
        except StorageUnavailable:
            # Either the one that is held is damaged, or another association has just discarded this one as the same.
            return not self._spool.holds(stored)
        if same:
            if self._ledger.instances.knows(stored.relative_path):
                self._ledger.instances.forget([stored.relative_path])
            self._spool.discard(stored)
            _log.info("an image came again in another form", held=held.relative_path, again=stored.relative_path)
        return same

    def _set_aside(self, stored: StoredInstance, reason: Reason, now: datetime) -> None:
        self._ledger.instances.reject(
            reason,
            sop_instance_uid=stored.sop_instance_uid,
            calling_ae=stored.calling_ae,
            relative_path=stored.relative_path,
            at=now,
        )
        _log.warning("object set aside", code=reason.code, calling_ae=stored.calling_ae, file=stored.relative_path)


def _header_of(arrival: Arrival) -> InstanceHeader:
    header = parse_received(arrival.encoded_dataset, arrival.transfer_syntax_uid)
    if header is None:
        head = encode_head(
            FileMeta(
                sop_class_uid=arrival.sop_class_uid,
                sop_instance_uid=arrival.sop_instance_uid,
                transfer_syntax_uid=arrival.transfer_syntax_uid,
                calling_ae=arrival.calling_ae,
            )
        )
        header = parse_header(head + arrival.encoded_dataset)
    return _checked(header, arrival.sop_instance_uid)


def _checked(header: InstanceHeader, sop_instance_uid: str) -> InstanceHeader:
    if header.sop_instance_uid != sop_instance_uid:
        raise InputRefused(_MISMATCH)
    return header
