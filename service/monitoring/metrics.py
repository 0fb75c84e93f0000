"""The snapshot in Prometheus' text format. Pure; no label ever holds patient data.

All but what was refused is a gauge: retention removes rows, so what the ledger holds also goes down.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service import __version__
from service.cases import CaseState
from service.monitoring.readiness import not_ready
from service.monitoring.snapshot import CaseView, FollowUpView, LedgerFigures, StatusSnapshot
from service.monitoring.trends import trends

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(snapshot: StatusSnapshot) -> str:
    """All metrics, as text of format 0.0.4.

    What the ledger counts is left out while it cannot be reached, so that no zero is mistaken for a count.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry).decode()


class _Snapshot(Collector):
    def __init__(self, snapshot: StatusSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        snapshot = self._snapshot
        yield from _identity(snapshot)
        yield from _health(snapshot)
        yield _refused(snapshot)
        yield _notifications(snapshot)
        if snapshot.ledger is not None:
            yield from _ledger(snapshot.ledger)
            yield _stage_seconds(snapshot.cases)
            yield from _follow_ups(snapshot.follow_ups)


def _identity(snapshot: StatusSnapshot) -> Iterator[Metric]:
    model = snapshot.model
    yield InfoMetricFamily("csf24_build", "The software that runs.", value={"version": __version__})
    if model is not None:
        yield InfoMetricFamily(
            "csf24_model",
            "The model that predicts, and the execution provider that really runs it.",
            value={"name": model.name, "version": model.version, "sha256": model.sha256, "provider": model.provider},
        )
    yield _one("csf24_start_time_seconds", "When the service started, in Unix time.", snapshot.started_at.timestamp())


def _health(snapshot: StatusSnapshot) -> Iterator[Metric]:
    disk = snapshot.disk
    yield _one("csf24_ready", "1 while patients can be received and filed.", not not_ready(snapshot))
    yield _one("csf24_ledger_up", "1 while the ledger answers.", snapshot.ledger is not None)
    if snapshot.listener is not None:
        yield _one("csf24_listener_up", "1 while the DICOM listener is open.", snapshot.listener.listening)
    yield _one("csf24_disk_free_bytes", "Free on the disk of the spool.", disk.free_bytes)
    yield _one("csf24_disk_size_bytes", "Size of the disk of the spool.", disk.total_bytes)
    yield _one("csf24_disk_required_bytes", "Associations are refused when less is free.", disk.required_bytes)
    if snapshot.queue is not None:
        queue = {"waiting": snapshot.queue.waiting, "running": snapshot.queue.running}
        yield _by("csf24_jobs", "Jobs in the queue.", "state", queue)
    alive = {machine.name: machine.state == "alive" for machine in snapshot.machines}
    yield _by("csf24_machine_up", "1 if the process, here or on another machine, is alive.", "machine", alive)
    answers = {peer.name: peer.answers for peer in snapshot.peers if peer.answers is not None}
    yield _by("csf24_peer_up", "1 if the destination answered when last asked.", "destination", answers)
    yield _one("csf24_associations", "Associations open at the listener.", snapshot.associations)
    yield _one("csf24_audit_lost", "Audit messages lost since the start.", snapshot.audit_lost)
    if snapshot.last_association is not None:
        age = (snapshot.taken_at - snapshot.last_association.at).total_seconds()
        yield _one("csf24_last_association_age_seconds", "Since somebody last asked for an association.", max(0.0, age))


def _refused(snapshot: StatusSnapshot) -> Metric:
    documentation = "Connections, association requests and data that the listener refused since the start."
    family = CounterMetricFamily("csf24_refused", documentation, labels=["what", "reason"])
    for (what, reason), times in snapshot.refused.items():
        family.add_metric([what, reason], times)
    return family


def _notifications(snapshot: StatusSnapshot) -> Metric:
    documentation = "Messages to people since the start: sent, tries that failed, and messages given up (lost)."
    family = CounterMetricFamily("csf24_notifications", documentation, labels=["channel", "result"])
    for (channel, result), times in snapshot.notifications.items():
        family.add_metric([channel, result], times)
    return family


def _ledger(figures: LedgerFigures) -> Iterator[Metric]:
    cases = {state.value: number for state, number in figures.cases.items()}
    yield _by("csf24_cases", "Cases by state.", "state", cases)
    done = figures.cases.get(CaseState.DONE, 0)
    outcomes = {"refused": figures.refused, "predicted": max(0, done - figures.refused)}
    yield _by("csf24_outcomes", "Cases that are done, by what came of them.", "outcome", outcomes)
    yield _by("csf24_deliveries", "Instances to deliver, by state.", "state", figures.deliveries)
    yield _one("csf24_instances", "Received instances in the ledger.", figures.instances)
    yield _one("csf24_instance_bytes", "Their size.", figures.instance_bytes)
    conflicts = "Instances that came again under the same UID with other content."
    yield _one("csf24_conflicting_instances", conflicts, figures.conflicts)
    yield _one("csf24_rejected_objects", "Received objects that were set aside.", figures.rejected)
    yield _one("csf24_series_unsettled", "Series that may still grow.", figures.series_unsettled)


def _stage_seconds(views: Iterable[CaseView]) -> Metric:
    """A gauge and no histogram: the cases it is taken from come and go."""
    family = GaugeMetricFamily(
        "csf24_stage_seconds",
        "Time per stage over the converted cases that the status page shows.",
        labels=["stage", "statistic"],
    )
    taken: dict[str, list[float]] = {}
    for view in views:
        for stage, seconds in view.timings_s.items():
            taken.setdefault(stage, []).append(seconds)
    for stage, values in taken.items():
        values.sort()
        family.add_metric([stage, "median"], median(values))
        family.add_metric([stage, "p90"], values[math.ceil(0.9 * len(values)) - 1])
        family.add_metric([stage, "max"], values[-1])
    return family


def _follow_ups(views: Sequence[FollowUpView]) -> Iterator[Metric]:
    states = Counter(view.state for view in views)
    documentation = "Scans acquired at the predicted time, by what came of comparing them."
    yield _by("csf24_follow_ups", documentation, "state", states)
    family = GaugeMetricFamily(
        "csf24_follow_up_error",
        "Median error in fluid of predictions, and of the delayed scan in their place, in units of orbital fat signal.",
        labels=["scanner", "model", "of"],
    )
    for trend in trends(views):
        family.add_metric([trend.scanner, trend.model, "prediction"], trend.error)
        family.add_metric([trend.scanner, trend.model, "delayed scan"], trend.persistence_error)
    yield family


def _one(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=float(value))


def _by(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family
