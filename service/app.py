"""The composition root of the running service: builds every part, joins them, starts and stops them in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from threading import Event

import structlog

from service.addresses import address_fault, bind_fault_text
from service.auditing import Auditor
from service.case_actions import CaseActions
from service.cases import Case, CaseState
from service.config import Config
from service.delivery import Delivery
from service.dicom.pairing import pair
from service.dicom.records import SeriesSummary
from service.dicom.summaries import summarise
from service.dicom.verdicts import Verdict
from service.errors import ConfigError, Csf24Error
from service.housekeeping import Housekeeping
from service.inference.onnx import OnnxPredictor
from service.injection_file import InjectionFile
from service.jobs.assembler import Assembler
from service.jobs.dbos_queue import DbosQueue
from service.jobs.executor import ExecutorSlot, claim_executor_slot
from service.jobs.reception import Arrival, Receiver, Reception
from service.jobs.recovery import Sweeper, resubmit_unfinished
from service.jobs.spool_conversion import SpoolConversion
from service.jobs.steps import LedgerCaseSteps
from service.listening import Listening
from service.monitoring.server import StatusServer
from service.monitoring.snapshot import (
    DiskView,
    ListenerView,
    ModelView,
    QueueView,
    StatusSnapshot,
)
from service.network import statuses
from service.network.commitment import Commitments
from service.network.storage_scp import ReceivedInstance
from service.priors import Priors
from service.status import PeerWatch, StatusSource
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.wiring import converter_with, load_model, local_entity, page_access, page_tls, pairing_policy, peers

_STOP_S = 2.0
"""How long an orderly end waits for the step in work. A conversion takes longer and a container's grace is 10 s, so
it is given up; it runs again at the next start, as after a kill."""
_IDLE_THREAD_S = 0.2
_STATUSES = {
    Reception.KEPT: statuses.SUCCESS,
    Reception.NOT_UNDERSTOOD: statuses.CANNOT_UNDERSTAND,
    Reception.MISMATCH: statuses.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
}
_log = structlog.get_logger()


def released_times(cases: Iterable[Case], series_uids: Collection[str]) -> dict[str, datetime]:
    """Injection times that cases beyond pairing rest on, by the UID of their delayed series."""
    undecided = (CaseState.HELD, CaseState.DISCARDED)
    return {
        case.delayed_series_uid: case.injection_time
        for case in cases
        if case.injection_time and case.state not in undecided and case.delayed_series_uid in series_uids
    }


def utc_now() -> datetime:
    """The one clock of the service."""
    return datetime.now(UTC)


class Service:
    """Listener, workers and housekeeping of one process.

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

    def start(self) -> None:
        """Prove the model, open the stores, recover what a kill left, listen, work."""
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
        self.predictor: OnnxPredictor = load_model(config)
        self._open_stores()
        commitments = Commitments()
        delivery = Delivery(config, commitments, self._auditor)
        steps = LedgerCaseSteps(
            self.ledger,
            self.spool,
            convert_pair=SpoolConversion(self.spool, converter_with(config, self.predictor)),
            send=delivery.send,
            confirm=delivery.confirm,
            destinations=delivery.destinations,
            now=self._now,
        )
        executor_id = self._claim_identity()
        self.queue = DbosQueue(
            steps,
            database_url=queue_url(config),
            executor_id=executor_id,
            conversions=config.workers.count,
        )
        self._priors = Priors(
            config,
            known=lambda series_uid: self.ledger.instances.series(series_uid) is not None,
            receive=self._receive,
            on_ended=self._auditor.association_ended,
            on_fetched=self._look_at_arrivals,
            now=self._now,
        )
        self._housekeeping = self._housekeeper(executor_id)
        self.queue.start()
        self._workings.callback(self.queue.stop, _STOP_S)
        resubmit_unfinished(self.ledger.cases, self.queue)
        self._workings.callback(self._housekeeping.stop, _STOP_S)
        self._housekeeping.start()
        self._listen(commitments)
        self._workings.callback(self._priors.stop, _STOP_S)
        self._priors.start()
        self._show_status()
        _log.info(
            "ready",
            ae_title=config.listener.ae_title,
            host=config.listener.host,
            port=self.listener.port,
            model=f"{self.predictor.identity.name} {self.predictor.identity.version}",
            provider=self.predictor.identity.provider,
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
        recovered = self._receiver.recover()
        if recovered.recorded or recovered.rejected:
            _log.info("spool recovered", recorded=recovered.recorded, rejected=recovered.rejected)

    def _refuse_taken_addresses(self) -> None:
        """Before anything is opened: a second start by mistake must not work on cases before it notices."""
        for section, host, port in self._addresses():
            fault = address_fault(host, port)
            if fault is not None:
                raise _cannot_listen(section, host, port, fault.text)

    def _addresses(self) -> Iterator[tuple[str, str, int]]:
        yield "listener", self.config.listener.host, self.config.listener.port
        if self.config.status_page.enabled:
            yield "status_page", self.config.status_page.host, self.config.status_page.port

    def _housekeeper(self, executor_id: str) -> Housekeeping:
        config = self.config
        injection_file, policy = InjectionFile(config), pairing_policy(config)

        def pair_up(
            series: Sequence[SeriesSummary], now: datetime, /, *, last_received: Mapping[str, datetime]
        ) -> Sequence[Verdict]:
            uids = {item.series_instance_uid for item in series}
            taken = {case_id for ids in self.ledger.cases.consumers(uids).values() for case_id in ids}
            told = released_times((self.ledger.cases.case(case_id) for case_id in sorted(taken)), uids)
            times = replace(injection_file.times(), by_series=told)
            return pair(series, now, policy=policy, injection_times=times, last_received=last_received)

        return Housekeeping(
            self.ledger,
            self.queue,
            assembler=Assembler(
                self.ledger,
                self.queue,
                summarise=summarise,
                pair=pair_up,
                quiet=timedelta(seconds=config.pairing.quiet_seconds),
                on_lacking=self._priors.lacking,
            ),
            sweeper=Sweeper(self.ledger.workers, self.queue, executor_id=executor_id),
            retention=self.ledger.retention(
                self.spool,
                received=_days(config.retention.received_days),
                results=_days(config.retention.results_days),
            ),
            injection_file=injection_file,
            now=self._now,
        )

    def _claim_identity(self) -> str:
        executor_id = self.config.workers.executor_id
        if executor_id is None:
            slot: ExecutorSlot = claim_executor_slot(self.config.storage.directory / "locks", gethostname())
            self._stores.callback(slot.release)
            executor_id = slot.executor_id
        self._stores.callback(self._forget_worker, executor_id)
        return executor_id

    def _listen(self, commitments: Commitments) -> None:
        self._listening = Listening(
            self.config,
            receive=self._receive,
            on_released=self._housekeeping.wake,
            on_ended=self._auditor.association_ended,
            on_refused=self._auditor.refused,
            on_commitment=commitments.record,
            has_room=lambda: self.spool.has_room,
            now=self._now,
        )
        self.listener = self._listening.listener
        with _explained("listener", self.config.listener.host, self.config.listener.port):
            self.listener.start()
        self._workings.callback(self.listener.stop)

    def _show_status(self) -> None:
        config, page = self.config, self.config.status_page
        if not page.enabled:
            return
        watch = PeerWatch([peer for peer, _ in peers(config).values()], local_entity(config), now=self._now)
        watch.start()
        self._workings.callback(watch.stop)
        started_at = self._now()
        source = StatusSource(
            self.ledger,
            self.spool,
            required_bytes=config.storage.min_free_bytes,
            parts=lambda disk: self._parts(disk, watch, started_at),
        )
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

    def _parts(self, disk: DiskView, watch: PeerWatch, started_at: datetime) -> StatusSnapshot:
        listener, identity = self.config.listener, self.predictor.identity
        jobs = self.queue.states()
        return StatusSnapshot(
            taken_at=self._now(),
            started_at=started_at,
            listener=ListenerView(
                ae_title=listener.ae_title,
                host=listener.host,
                port=self.listener.port,
                tls=self.config.tls.listener,
                listening=self.listener.listening,
            ),
            disk=disk,
            queue=QueueView(waiting=jobs.waiting, running=jobs.running),
            model=ModelView(
                name=identity.name,
                version=identity.version,
                sha256=identity.sha256,
                provider=identity.provider,
                simulated_training=self.predictor.manifest.simulated_training,
            ),
            peers=watch.views,
            last_association=self._listening.last_association,
            refused=self._listening.refused,
            audit_lost=self._auditor.lost,
            associations=self.listener.associations,
        )

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

    def _look_at_arrivals(self) -> None:
        self._housekeeping.wake()

    def _forget_worker(self, executor_id: str) -> None:
        try:
            self.ledger.workers.forget(executor_id)
        except Csf24Error as fault:  # the next start, or a sweeper, cleans up
            _log.warning("could not sign off", fault=str(fault))


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


def _days(count: int) -> timedelta | None:
    return timedelta(days=count) if count else None


def queue_url(config: Config) -> str:
    """Where DBOS keeps its tables: beside the ledger's in PostgreSQL, or in a SQLite file of its own."""
    if config.storage.database and not config.storage.database.startswith("sqlite"):
        return config.storage.database
    return f"sqlite:///{(config.storage.directory / 'queue.sqlite').absolute()}"


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
            _log.warning("a step was given up; it runs again at the next start")
        _log.info("stopped", seconds=round(time.monotonic() - started, 1))
    return whole
