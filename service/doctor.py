"""csf24 doctor: everything that goes wrong at installations, each checked for real and reported in one line."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from service.app import queue_url, utc_now
from service.batch.cases import DicomCase, pair_up
from service.batch.index import build_index
from service.batch.sources import find_files
from service.cases import CaseOutcome
from service.config import Config, load_config
from service.dicom.injection import InjectionTimes
from service.dicom.policy import PairingPolicy
from service.errors import ConfigError, Csf24Error, ModelError, PeerUnavailable
from service.inference.onnx import load_predictor, verify_parity
from service.network.peers import LocalEntity, Peer
from service.network.storage_scu import echo
from service.received_pair import DicomPair
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.wiring import (
    choose_model,
    injection_times,
    installed_models,
    local_entity,
    make_converter,
    peers,
)

Verdict = Literal["ok", "warning", "FAILED"]
_EXPIRY_WARNING = timedelta(days=30)
_GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: what was looked at, how it stands, and what to do."""

    subject: str
    verdict: Verdict
    text: str

    @property
    def failed(self) -> bool:
        """Whether the service cannot work like this."""
        return self.verdict == "FAILED"

    def as_json(self) -> dict[str, str]:
        """For scripts."""
        return {"subject": self.subject, "verdict": self.verdict, "text": self.text}


def examine(path: Path | None, environ: Mapping[str, str], *, phantom: bool) -> tuple[Finding, ...]:
    """All findings; a configuration that cannot be used ends the examination, as nothing else can be tried."""
    try:
        config = load_config(path, environ)
    except ConfigError as fault:
        return tuple(Finding(subject="configuration", verdict="FAILED", text=problem) for problem in fault.problems)
    source = str(path) if path else "embedded defaults"
    findings = [Finding(subject="configuration", verdict="ok", text=source)]
    for check in (_listener, _status_page, _disk, _database, _injection_times, _models, _provider, _tls, _destinations):
        findings += _caught(check, config)
    if phantom:
        findings += _caught(_phantom, config)
    return tuple(findings)


def render(findings: tuple[Finding, ...], console: Console) -> None:
    """Lines for a terminal."""
    styles = {"ok": "green", "warning": "yellow", "FAILED": "bold red"}
    for finding in findings:
        console.print(f"[{styles[finding.verdict]}]{finding.verdict:8}[/]", end=" ")
        console.print(f"{finding.subject:24} {finding.text}", markup=False, highlight=False, soft_wrap=True)
    failed = sum(finding.failed for finding in findings)
    console.print(f"{failed} of {len(findings)} checks failed." if failed else f"All {len(findings)} checks passed.")


def _caught(check: Callable[[Config], Iterator[Finding]], config: Config) -> list[Finding]:
    """A check that itself fails is a finding, and the others go on."""
    findings: list[Finding] = []
    try:
        findings.extend(check(config))
    except (Csf24Error, OSError) as fault:
        findings.append(Finding(subject=check.__name__.strip("_").replace("_", " "), verdict="FAILED", text=str(fault)))
    return findings


def _listener(config: Config) -> Iterator[Finding]:
    listener = config.listener
    subject = "DICOM listener"
    where = f"{listener.ae_title} at {listener.host}:{listener.port}"
    if _can_bind(listener.host, listener.port):
        yield Finding(subject=subject, verdict="ok", text=f"{where}: the port is free")
    else:
        yield _who_listens(config, subject, where)
    if listener.promiscuous:
        yield Finding(subject=subject, verdict="warning", text="promiscuous: any AE title may send")
    elif not listener.calling_ae_titles:
        yield Finding(subject=subject, verdict="ok", text="no calling AE titles listed: only this machine may send")
    else:
        names = ", ".join(listener.calling_ae_titles)
        yield Finding(subject=subject, verdict="ok", text=f"may send: {names}")


def _who_listens(config: Config, subject: str, where: str) -> Finding:
    """The port is taken: by a running csf24, or by something else?"""
    listener = config.listener
    caller = listener.calling_ae_titles[0] if listener.calling_ae_titles else listener.ae_title
    host = "127.0.0.1" if listener.host in ("0.0.0.0", "::") else listener.host  # noqa: S104 - compared, not bound
    peer = Peer(name="listener", ae_title=listener.ae_title, host=host, port=listener.port)
    try:
        echo(peer, LocalEntity(ae_title=caller, connect_timeout_s=3.0, association_timeout_s=5.0, dimse_timeout_s=5.0))
    except PeerUnavailable as fault:
        text = f"{where}: the port is taken and does not answer as {listener.ae_title} ({fault}); stop what uses it"
        return Finding(subject=subject, verdict="FAILED", text=text)
    return Finding(subject=subject, verdict="ok", text=f"{where}: running, answers C-ECHO")


def _status_page(config: Config) -> Iterator[Finding]:
    page = config.status_page
    if not page.enabled:
        yield Finding(subject="status page", verdict="ok", text="switched off")
        return
    free = _can_bind(page.host, page.port)
    state = "the port is free" if free else "the port is in use (by the running service, or something else)"
    yield Finding(
        subject="status page", verdict="ok" if free else "warning", text=f"http://{page.host}:{page.port}/: {state}"
    )


def _disk(config: Config) -> Iterator[Finding]:
    spool = Spool(config.storage.directory / "spool", min_free_bytes=config.storage.min_free_bytes)
    try:
        free = spool.free_bytes
        room = spool.has_room
    finally:
        spool.close()
    text = (
        f"{config.storage.directory}: {free / _GIB:.1f} GiB free, "
        f"{config.storage.min_free_bytes / _GIB:.1f} GiB is the reserve"
    )
    if room:
        yield Finding(subject="disk", verdict="ok", text=text)
    else:
        yield Finding(subject="disk", verdict="FAILED", text=f"{text}; associations would be refused: free some space")


def _database(config: Config) -> Iterator[Finding]:
    ledger = Ledger.open(config.storage.ledger_url)
    try:
        ledger.check()
        counts = ledger.counts()
    finally:
        ledger.close()
    kind = "SQLite" if config.storage.ledger_url.startswith("sqlite") else "PostgreSQL"
    cases = sum(counts.cases.values())
    yield Finding(
        subject="database", verdict="ok", text=f"{kind}: schema up to date, {counts.instances} instances, {cases} cases"
    )
    where = "a file beside the ledger" if queue_url(config).startswith("sqlite") else "the same PostgreSQL"
    yield Finding(subject="job queue", verdict="ok", text=f"DBOS, in {where}")


def _injection_times(config: Config) -> Iterator[Finding]:
    path = config.pairing.injection_times
    if path is None:
        text = "no table: taken from the delayed series' contrast start time, else the case is held"
        yield Finding(subject="injection times", verdict="ok", text=text)
    else:
        injection_times(path)
        yield Finding(subject="injection times", verdict="ok", text=f"{path}: readable")


def _models(config: Config) -> Iterator[Finding]:
    default = choose_model(config)
    for model in installed_models(config):
        subject = f"model {model.name} {model.version}"
        try:
            predictor = load_predictor(model.directory, threads=config.inference.threads)
            difference = verify_parity(model.directory, predictor)
        except ModelError as fault:
            verdict: Verdict = "FAILED" if model == default else "warning"
            yield Finding(subject=subject, verdict=verdict, text=str(fault))
            continue
        trained = "trained on SIMULATED patients" if predictor.manifest.simulated_training else "trained on own data"
        chosen = "default; " if model == default else ""
        text = f"{chosen}hash and golden answer agree (differs by {difference:.0e}); {trained}"
        yield Finding(subject=subject, verdict="ok", text=text)


def _provider(config: Config) -> Iterator[Finding]:
    inference = config.inference
    try:
        predictor = load_predictor(
            choose_model(config).directory,
            provider=inference.provider,
            threads=inference.threads,
            require_gpu=inference.require_gpu,
        )
    except ModelError as fault:
        yield Finding(subject="execution provider", verdict="FAILED", text=str(fault))
        return
    text = f"asked for {inference.provider}, runs on {predictor.identity.provider}"
    yield Finding(subject="execution provider", verdict="ok", text=text)


def _tls(config: Config) -> Iterator[Finding]:
    tls = config.tls
    used = tls.listener or any(destination.tls for destination in config.destinations)
    if not used:
        yield Finding(subject="TLS", verdict="ok", text="not used")
        return
    peers(config)  # loads the files
    if tls.certificate is None:
        yield Finding(subject="TLS", verdict="ok", text="no certificate of our own; peers that ask for one will refuse")
        return
    expires = _expiry(tls.certificate)
    left = expires - utc_now()
    text = f"{tls.certificate}: valid until {expires:%Y-%m-%d}"
    if left <= timedelta(0):
        yield Finding(subject="TLS", verdict="FAILED", text=f"{text}, which is over; renew it")
    else:
        yield Finding(subject="TLS", verdict="ok" if left > _EXPIRY_WARNING else "warning", text=text)


def _expiry(certificate: Path) -> datetime:
    # The standard library has no public call that parses a PEM file it did not get from a peer.
    decoded: dict[str, Any] = ssl._ssl._test_decode_cert(str(certificate))  # type: ignore[attr-defined]
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(decoded["notAfter"]), UTC)


def _destinations(config: Config) -> Iterator[Finding]:
    if not config.destinations:
        text = "none: results stay on this machine (csf24 cases export)"
        yield Finding(subject="destinations", verdict="warning", text=text)
    for name, (peer, _) in peers(config).items():
        subject = f"destination {name}"
        try:
            echo(peer, local_entity(config))
        except PeerUnavailable as fault:
            yield Finding(subject=subject, verdict="FAILED", text=str(fault))
        else:
            text = f"{peer.ae_title} at {peer.host}:{peer.port} answers C-ECHO{' over TLS' if peer.tls else ''}"
            yield Finding(subject=subject, verdict="ok", text=text)


def _phantom(config: Config) -> Iterator[Finding]:
    """The simulated patient through reading, pairing, all checks, the model, writing and reading back."""
    with resources.as_file(resources.files("service") / "demo_patient" / "simulated-patient.zip") as packed:
        index = build_index(find_files([packed]))
        cases = pair_up(index, policy=PairingPolicy(), injection_times=InjectionTimes(), now=utc_now())
        if len(cases) != 1 or not isinstance(cases[0], DicomCase):
            yield Finding(subject="phantom", verdict="FAILED", text="the simulated patient was not paired")
            return
        case = cases[0]
        pair = DicomPair(
            case_id=case.case_id,
            baseline=[source.read() for source in case.baseline.files],
            delayed=[source.read() for source in case.delayed.files],
            injection_time=case.injection_time,
            derived_at=utc_now(),
        )
    conversion = make_converter(config).convert_dicom(pair)
    total = conversion.report["timings_s"]["total"]
    if conversion.outcome is CaseOutcome.PREDICTED:
        text = f"predicted in {total:.1f} s, {len(conversion.files)} objects written and read back"
        yield Finding(subject="phantom", verdict="ok", text=text)
    else:
        codes = ", ".join(reason.code for reason in conversion.reasons)
        yield Finding(subject="phantom", verdict="FAILED", text=f"refused: {codes}")


def _can_bind(host: str, port: int) -> bool:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
