"""Sending and confirming as the steps of a case see it: destinations by name, objects by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.auditing import Auditor
from service.config import Config
from service.errors import RetryableError
from service.jobs.results import ResultObject
from service.jobs.steps import SendResult
from service.network.commitment import Commitments
from service.network.confirmation import confirm
from service.network.storage_scu import OutgoingInstance, store
from service.wiring import local_entity, peers


class Delivery:
    """The peers, as the steps of a case see them."""

    def __init__(self, config: Config, commitments: Commitments, auditor: Auditor) -> None:
        self._local = local_entity(config)
        self._peers = peers(config)
        self._commitments = commitments
        self._auditor = auditor

    @property
    def destinations(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._peers)

    def send(self, destination: str, objects: Sequence[ResultObject]) -> Sequence[SendResult]:
        """`service.jobs.steps.Send`."""
        peer, _ = self._peers[destination]
        self._auditor.sending(peer, objects)
        try:
            results = store(peer, self._local, _outgoing(objects))
        except RetryableError as fault:
            self._auditor.sent(peer, objects, failed=str(fault))
            raise
        accepted = {result.sop_instance_uid for result in results if result.accepted}
        self._auditor.sent(peer, [item for item in objects if item.sop_instance_uid in accepted])
        missing = [item for item in objects if item.sop_instance_uid not in accepted]
        self._auditor.sent(peer, missing, failed="not accepted")
        return [
            SendResult(sop_instance_uid=result.sop_instance_uid, accepted=result.accepted, status=result.status)
            for result in results
        ]

    def confirm(self, destination: str, objects: Sequence[ResultObject]) -> Mapping[str, bool]:
        """`service.jobs.steps.Confirm`."""
        peer, settings = self._peers[destination]
        return confirm(
            peer,
            self._local,
            _outgoing(objects),
            commitment=settings.commitment,
            wait_s=settings.commitment_wait_s,
            commitments=self._commitments,
        )


def _outgoing(objects: Sequence[ResultObject]) -> list[OutgoingInstance]:
    return [
        OutgoingInstance(sop_class_uid=item.sop_class_uid, sop_instance_uid=item.sop_instance_uid, path=item.path)
        for item in objects
    ]
