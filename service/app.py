"""The composition root of the running service: builds every part, joins them, starts and stops them in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from threading import Event

import structlog

from service.addresses import address_fault, bind_fault_text
from service.auditing import Auditor
from service.case_actions import CaseActions
from service.config import Config
from service.errors import ConfigError, StorageUnavailable
from service.inference.onnx import OnnxPredictor
from service.jobs.executor import claim_executor_name, claim_executor_slot
from service.jobs.reception import Arrival, Receiver, Reception
from service.listening import Listening
from service.monitoring.server import StatusServer
from service.monitoring.snapshot import DiskView, ModelView, QueueView, StatusSnapshot
from service.network import statuses
from service.network.commitment import Commitments
from service.network.storage_scp import ReceivedInstance
from service.notifying import Notifier, channels, terms
from service.presence import Presence
from service.report_box import LedgerReportBox
from service.status import PeerWatch, StatusSource
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.stores import Stores
from service.wiring import load_model, local_entity, page_access, page_tls, peers
from service.working import Working, WorkingParts

_STOP_S = 2.0
"""How long an orderly end waits for the step in work. A conversion takes longer and a container's grace is 10 s, so
it is given up; it runs again at the next start or elsewhere, as after a kill."""
_IDLE_THREAD_S = 0.2
_STATUSES = {
    Reception.KEPT: statuses.SUCCESS,
    Reception.NOT_UNDERSTOOD: statuses.CANNOT_UNDERSTAND,
    Reception.MISMATCH: statuses.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
}
_log = structlog.get_logger()


def utc_now() -> datetime:
    """The one clock of the service."""
    return datetime.now(UTC)


class Service:
    """What one process does of the service, by its roles: listener, worker, or both; and its page.

    Raises
    ------
    Csf24Error
        From `start`: configuration, addresses, model, spool, ledger or identity cannot be used.
    """

    def __init__(
        self, config: Config, *, config_path: Path | None = None, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.config = config
        self._config_path = str(config_path) if config_path else None
        self._now = now
        self._stores = ExitStack()
        self._workings = ExitStack()
        self._working: Working | None = None
        self._listening: Listening | None = None
        self._presence: Presence | None = None
        self._notifier: Notifier | None = None

    def start(self) -> None:
        """Prove the model, open the stores, sign on, recover what a kill left, listen, work."""
        try:
            self._build()
        except BaseException:
            self.stop()
            raise

    def _build(self) -> None:
        config = self.config
        self._refuse_taken_addresses()
        self._auditor = Auditor(config, host=gethostname(), process_id=os.getpid(), now=self._now)
        self._auditor.start()
        self._workings.callback(self._auditor.stop, _STOP_S)
        predictor = load_model(config) if config.service.works else None
        self._open_stores()
        commitments = Commitments(LedgerReportBox(self.ledger.commitments, self._now))
        executor_id = self._claim_identity()
        if predictor is not None:
            self._working = Working(
                config,
                WorkingParts(
                    stores=Stores(spool=self.spool, ledger=self.ledger, now=self._now),
                    receiver=self._receiver,
                    receive=self._receive,
                    predictor=predictor,
                    commitments=commitments,
                    auditor=self._auditor,
                    executor_id=executor_id,
                ),
            )
        self._begin(executor_id)
        if config.service.listens:
            self._listen(commitments)
        self._show_status(predictor)
        self._notify()
        _log.info(
            "ready",
            roles=list(config.service.roles),
            ae_title=config.listener.ae_title,
            host=config.listener.host,
            port=self._listening.listener.port if self._listening else None,
            model=f"{predictor.identity.name} {predictor.identity.version}" if predictor else None,
            provider=predictor.identity.provider if predictor else None,
            executor=executor_id,
        )

    def stop(self) -> bool:
        """Accept nothing more, give the step in work a moment to end, close.

        Returns
        -------
        False when a step goes on in its thread. Spool, ledger and this worker's identity are then left to the end
        of the process, which should come at once: whatever the step finds closed it would take for a fault.
        """
        self._workings.close()
        if self._presence is not None:
            self._presence.leave()
        if _steps_go_on():
            return False
        self._stores.close()
        return True

    def _open_stores(self) -> None:
        config, stack = self.config, self._stores
        self.spool = Spool(config.storage.directory / "spool", min_free_bytes=config.storage.min_free_bytes)
        stack.callback(self.spool.close)
        self.ledger = Ledger.open(config.storage.ledger_url)
        stack.callback(self.ledger.close)
        self._receiver = Receiver(self.spool, self.ledger, now=self._now)
        self._workings.callback(self._receiver.close)

    def _refuse_taken_addresses(self) -> None:
        """Before anything is opened: a second start by mistake must not work on cases before it notices."""
        for section, host, port in self._addresses():
            fault = address_fault(host, port)
            if fault is not None:
                raise _cannot_listen(section, host, port, fault.text)

    def _addresses(self) -> Iterator[tuple[str, str, int]]:
        if self.config.service.listens:
            yield "listener", self.config.listener.host, self.config.listener.port
        if self.config.status_page.enabled:
            yield "status_page", self.config.status_page.host, self.config.status_page.port

    def _claim_identity(self) -> str:
        """A name of this process; those of listeners are others than those of workers, whose jobs go by them."""
        named, locks = self.config.workers.executor_id, self.config.storage.directory / "locks"
        host = gethostname() if self.config.service.works else f"{gethostname()}-listener"
        slot = claim_executor_name(locks, named) if named else claim_executor_slot(locks, host)
        self._stores.callback(slot.release)
        return slot.executor_id

    def _begin(self, executor_id: str) -> None:
        """Sign on, and take up the work that waits."""
        presence = Presence(
            self.ledger,
            executor_id=executor_id,
            host=gethostname(),
            roles=self.config.service.roles,
            duties=self._working.duties if self._working else (),
            now=self._now,
        )
        presence.sign_on()
        self._presence = presence
        if self._working is not None:
            self._working.start_queue(self._workings, _STOP_S)
            presence.tick(self._now())
        self._workings.callback(presence.stop, _STOP_S)
        presence.start()
        if self._working is not None:
            self._working.start(self._workings, _STOP_S)

    def _listen(self, commitments: Commitments) -> None:
        listening = Listening(
            self.config,
            receive=self._receive,
            on_released=self._working.wake if self._working else lambda: None,
            on_ended=self._auditor.association_ended,
            on_refused=self._auditor.refused,
            on_commitment=commitments.record,
            has_room=lambda: self.spool.has_room,
            now=self._now,
        )
        with _explained("listener", self.config.listener.host, self.config.listener.port):
            listening.listener.start()
        self._workings.callback(listening.listener.stop)
        self._listening = listening

    def _notify(self) -> None:
        """Tell people what turns red, from now on, when all is as it should be."""
        ways = channels(self.config, gethostname())
        if self._working is None or not ways:
            return
        leadership, started_at = self._working.leadership, self._now()
        # Without queue and peers: neither is told of, and asking the queue waits while a PostgreSQL is away.
        source = self._status_source(lambda disk: self._own_parts(disk, started_at))
        self._notifier = Notifier(
            self.ledger,
            ways,
            terms(self.config),
            snapshot=source.snapshot,
            leads=lambda: leadership.held,
            now=self._now,
        )
        self._workings.callback(self._notifier.stop, _STOP_S)
        self._notifier.start()

    def _status_source(self, parts: Callable[[DiskView], StatusSnapshot]) -> StatusSource:
        return StatusSource(self.ledger, self.spool, required_bytes=self.config.storage.min_free_bytes, parts=parts)

    def _show_status(self, predictor: OnnxPredictor | None) -> None:
        config, page = self.config, self.config.status_page
        if not page.enabled:
            return
        watch = PeerWatch([peer for peer, _ in peers(config).values()], local_entity(config), now=self._now)
        watch.start()
        self._workings.callback(watch.stop)
        started_at, model = self._now(), _model_view(predictor)
        source = self._status_source(lambda disk: self._parts(disk, watch, started_at, model))
        self.status_page = StatusServer(
            page.host,
            page.port,
            source,
            access=page_access(config, self._now),
            actions=CaseActions(self.ledger, config, self._now),
            tls=page_tls(config),
            config_path=self._config_path,
            on_picture=lambda seen: self._auditor.picture_seen(source.header(seen.case_id), seen),
        )
        with _explained("status_page", page.host, page.port):
            self.status_page.start()
        self._workings.callback(self.status_page.stop)

    def _own_parts(self, disk: DiskView, started_at: datetime) -> StatusSnapshot:
        """What is known without asking anybody."""
        listening = self._listening
        return StatusSnapshot(
            taken_at=self._now(),
            started_at=started_at,
            listener=listening.view if listening else None,
            disk=disk,
            last_association=listening.last_association if listening else None,
            refused=listening.refused if listening else {},
            audit_lost=self._auditor.lost,
            notifications=self._notifier.counts if self._notifier else {},
            associations=listening.listener.associations if listening else 0,
        )

    def _parts(self, disk: DiskView, watch: PeerWatch, started_at: datetime, model: ModelView | None) -> StatusSnapshot:
        return replace(self._own_parts(disk, started_at), queue=self._queue_view(), model=model, peers=watch.views)

    def _queue_view(self) -> QueueView | None:
        try:
            jobs = self._working.queue.states() if self._working else None
        except StorageUnavailable:  # it lies beside the ledger, whose absence the page tells
            return None
        return QueueView(waiting=jobs.waiting, running=jobs.running) if jobs else None

    def _receive(self, received: ReceivedInstance) -> int:
        kept = self._receiver.receive(
            Arrival(
                encoded_dataset=received.encoded_dataset,
                sop_class_uid=received.sop_class_uid,
                sop_instance_uid=received.sop_instance_uid,
                transfer_syntax_uid=received.transfer_syntax_uid,
                calling_ae=received.calling_ae,
            ),
            tell=lambda header: self._auditor.instance_received(received, header),
        )
        return _STATUSES[kept]


def _model_view(predictor: OnnxPredictor | None) -> ModelView | None:
    if predictor is None:
        return None
    identity = predictor.identity
    return ModelView(
        name=identity.name,
        version=identity.version,
        sha256=identity.sha256,
        provider=identity.provider,
        simulated_training=predictor.manifest.simulated_training,
    )


def _steps_go_on() -> bool:
    """Whether threads are left that would keep the interpreter from ending: the queue's, each in a step."""
    lasting = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    for thread in lasting:
        thread.join(_IDLE_THREAD_S)  # those without work are on their way out
    return any(thread.is_alive() for thread in lasting)


@contextmanager
def _explained(section: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise _cannot_listen(section, host, port, bind_fault_text(fault)) from fault


def _cannot_listen(section: str, host: str, port: int, why: str) -> ConfigError:
    return ConfigError([f"{section}.port: found {port} at {host}: {why}; accepted: an address that can be listened on"])


def serve(config: Config, stop: Event, *, config_path: Path | None = None) -> bool:
    """Run until `stop` is set; False when a step was given up and still runs (see `Service.stop`)."""
    service = Service(config, config_path=config_path)
    service.start()
    whole = False
    try:
        while not stop.is_set():
            stop.wait(1.0)
    finally:
        started = time.monotonic()
        whole = service.stop()
        if not whole:
            _log.warning("a step was given up; it runs again at the next start, or elsewhere")
        _log.info("stopped", seconds=round(time.monotonic() - started, 1))
    return whole
