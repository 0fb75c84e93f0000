"""What a working process does: pair, convert, deliver, take over from others; part of the composition root."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from service.auditing import Auditor
from service.cases import Case, CaseState
from service.comparing import Comparing
from service.config import Config
from service.delivery import Delivery
from service.dicom.injection import InjectionTimes
from service.dicom.pairing import pair
from service.dicom.records import SeriesSummary
from service.dicom.summaries import summarise
from service.dicom.verdicts import Verdict
from service.housekeeping import Housekeeping
from service.inference.onnx import OnnxPredictor
from service.injection_file import InjectionFile
from service.jobs.assembler import Assembler
from service.jobs.dbos_queue import DbosQueue
from service.jobs.follow_ups import FollowUps
from service.jobs.reception import Receiver
from service.jobs.recovery import Leadership, Sweeper
from service.jobs.spool_conversion import SpoolConversion
from service.jobs.steps import LedgerCaseSteps
from service.network.commitment import Commitments
from service.network.storage_scp import Receive
from service.priors import Priors
from service.rounds import Turn
from service.storage.case_ledger import CaseLedger
from service.storage.identifiers import patient_key_of
from service.stores import Stores
from service.wiring import converter_with, follow_up_judge, pairing_policy

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingParts:
    """What a worker is built from beside the configuration.

    Attributes
    ----------
    receive
        Takes what is fetched by C-GET.
    """

    stores: Stores
    receiver: Receiver
    receive: Receive
    predictor: OnnxPredictor
    commitments: Commitments
    auditor: Auditor
    executor_id: str


class Working:
    """The worker of this process; any number of them share a ledger on PostgreSQL, and one of them leads."""

    def __init__(self, config: Config, parts: WorkingParts) -> None:
        self._config = config
        self._ledger, self._now = parts.stores.ledger, parts.stores.now
        self._receiver = parts.receiver
        delivery = Delivery(config, parts.commitments, parts.auditor)
        self.queue = DbosQueue(
            LedgerCaseSteps(
                self._ledger,
                parts.stores.spool,
                convert_pair=SpoolConversion(parts.stores.spool, converter_with(config, parts.predictor)),
                send=delivery.send,
                confirm=delivery.confirm,
                destinations=delivery.destinations,
                now=self._now,
            ),
            database_url=queue_url(config),
            executor_id=parts.executor_id,
            conversions=config.workers.count,
        )
        self._sweeper = Sweeper(self._ledger.workers, self.queue, executor_id=parts.executor_id)
        self.leadership = Leadership(self._ledger.leases, executor_id=parts.executor_id)
        self._priors = Priors(
            config,
            known=lambda series_uid: self._ledger.instances.series(series_uid) is not None,
            receive=parts.receive,
            on_ended=parts.auditor.association_ended,
            on_fetched=self.wake,
            now=self._now,
        )
        self._housekeeping = self._housekeeper(parts.stores)
        self._comparing = self._comparer(parts)

    @property
    def duties(self) -> tuple[Turn, ...]:
        """Of each heartbeat, once the queue has started."""
        return self.leadership.renew, self._sweeper.tick

    def start_queue(self, workings: ExitStack, stop_s: float) -> None:
        """Connect, and take up what this worker left unfinished."""
        self.queue.start()
        workings.callback(self.queue.stop, stop_s)

    def start(self, workings: ExitStack, stop_s: float) -> None:
        """Do at once what a leader does first; then go on."""
        self._housekeeping.turn(self._now())
        workings.callback(self._housekeeping.stop, stop_s)
        self._housekeeping.start()
        workings.callback(self._priors.stop, stop_s)
        self._priors.start()
        workings.callback(self._comparing.stop, stop_s)
        self._comparing.start()

    def wake(self) -> None:
        """Something arrived."""
        self._housekeeping.wake()

    def _housekeeper(self, stores: Stores) -> Housekeeping:
        config = self._config
        injection_file, policy = InjectionFile(config), pairing_policy(config)

        def pair_up(
            series: Sequence[SeriesSummary], now: datetime, /, *, last_received: Mapping[str, datetime]
        ) -> Sequence[Verdict]:
            times = with_times_of_cases(injection_file.times(), self._ledger.cases, series)
            return pair(series, now, policy=policy, injection_times=times, last_received=last_received)

        return Housekeeping(
            self._ledger,
            self.queue,
            leadership=self.leadership,
            assembler=Assembler(
                self._ledger,
                self.queue,
                summarise=summarise,
                pair=pair_up,
                quiet=timedelta(seconds=config.pairing.quiet_seconds),
                on_lacking=self._priors.lacking,
            ),
            retention=self._ledger.retention(
                stores.spool,
                received=_days(config.retention.received_days),
                results=_days(config.retention.results_days),
            ),
            injection_file=injection_file,
            recover=self._recover,
            now=self._now,
        )

    def _comparer(self, parts: WorkingParts) -> Comparing:
        follow_ups = FollowUps(
            self._ledger,
            parts.stores.spool,
            follow_up_judge(self._config, parts.predictor),
            quiet=timedelta(seconds=self._config.pairing.quiet_seconds),
            now=self._now,
        )
        return Comparing(follow_ups, free=self._nothing_waits, now=self._now)

    def _nothing_waits(self) -> bool:
        if not self.leadership.held:
            return False
        counts = self._ledger.cases.counts()
        return not (counts[CaseState.QUEUED] or counts[CaseState.RUNNING])

    def _recover(self) -> None:
        recovered = self._receiver.recover()
        if recovered.recorded or recovered.rejected:
            _log.info("spool recovered", recorded=recovered.recorded, rejected=recovered.rejected)


def with_times_of_cases(told: InjectionTimes, ledger: CaseLedger, series: Sequence[SeriesSummary]) -> InjectionTimes:
    """The table's injection times and those that the ledger knows of the same patient."""
    uids = {item.series_instance_uid for item in series}
    keys = sorted({patient_key_of(item.header) for item in series})
    taken = {case_id for ids in ledger.consumers(uids).values() for case_id in ids}
    return replace(
        told,
        by_series=released_times((ledger.case(case_id) for case_id in sorted(taken)), uids),
        earlier=earlier_times((case for key in keys for case in ledger.of_patient(key)), uids),
    )


def earlier_times(cases: Iterable[Case], series_uids: Collection[str]) -> frozenset[datetime]:
    """Injection times of cases whose delayed series retention has removed; also where a person gave the case up."""
    return frozenset(
        case.injection_time
        for case in cases
        if case.injection_time
        and case.state is not CaseState.HELD
        and not case.superseded
        and case.delayed_series_uid not in series_uids
    )


def released_times(cases: Iterable[Case], series_uids: Collection[str]) -> dict[str, datetime]:
    """Injection times that cases beyond pairing rest on, by the UID of their delayed series."""
    undecided = (CaseState.HELD, CaseState.DISCARDED)
    return {
        case.delayed_series_uid: case.injection_time
        for case in cases
        if case.injection_time and case.state not in undecided and case.delayed_series_uid in series_uids
    }


def queue_url(config: Config) -> str:
    """Where DBOS keeps its tables: beside the ledger's in PostgreSQL, or in a SQLite file of its own."""
    if config.storage.database and not config.storage.database.startswith("sqlite"):
        return config.storage.database
    return f"sqlite:///{(config.storage.directory / 'queue.sqlite').absolute()}"


def _days(count: int) -> timedelta | None:
    return timedelta(days=count) if count else None
