"""csf24 doctor: everything that goes wrong at installations, each checked for real and reported in one line."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import resources
from pathlib import Path
from socket import gethostname
from typing import Any

from rich.console import Console

from service.app import utc_now
from service.batch.cases import DicomCase, pair_up
from service.batch.index import build_index
from service.batch.sources import find_files
from service.cases import CaseOutcome
from service.config import Config, load_config
from service.dicom.injection import InjectionTimes
from service.dicom.policy import PairingPolicy
from service.doctor_places import database, disk, listener, status_page
from service.errors import ConfigError, Csf24Error, ModelError, PeerUnavailable
from service.finding import Finding, Verdict
from service.inference.onnx import load_predictor, verify_parity
from service.monitoring.notifications.account import Message
from service.monitoring.notifications.outbox import Undelivered
from service.network.retrieve import missing_services
from service.network.storage_scu import echo
from service.network.tls import server_context
from service.notifying import channels, receivers
from service.received_pair import DicomPair
from service.wiring import (
    choose_model,
    injection_times,
    installed_models,
    local_entity,
    make_converter,
    page_font,
    peers,
)

_Check = Callable[[Config], Iterator[Finding]]
_EXPIRY_WARNING = timedelta(days=30)


def examine(
    path: Path | None, environ: Mapping[str, str], *, phantom: bool, notify: bool = False
) -> tuple[Finding, ...]:
    """All findings; a configuration that cannot be used ends the examination, as nothing else can be tried.

    Parameters
    ----------
    phantom
        Also convert the simulated patient.
    notify
        Also send a test message to who is notified.
    """
    try:
        config = load_config(path, environ)
    except ConfigError as fault:
        return tuple(Finding(subject="configuration", verdict="FAILED", text=problem) for problem in fault.problems)
    source = str(path) if path else "embedded defaults"
    findings = [Finding(subject="configuration", verdict="ok", text=source)]
    for subject, check in _CHECKS:
        findings += _caught(subject, check, config)
    findings += _caught("notifications", partial(_notifications, notify=notify), config)
    if phantom:
        findings += _caught("phantom", _phantom, config)
    return tuple(findings)


def render(findings: tuple[Finding, ...], console: Console) -> None:
    """Lines for a terminal."""
    styles = {"ok": "green", "warning": "yellow", "FAILED": "bold red"}
    for finding in findings:
        console.print(f"[{styles[finding.verdict]}]{finding.verdict:8}[/]", end=" ")
        console.print(f"{finding.subject:24} {finding.text}", markup=False, highlight=False, soft_wrap=True)
    failed = sum(finding.failed for finding in findings)
    warned = sum(finding.verdict == "warning" for finding in findings)
    warnings = f", {warned} with a warning" if warned else ""
    if failed:
        console.print(f"{failed} of {len(findings)} checks failed{warnings}.", highlight=False)
    else:
        console.print(f"All {len(findings)} checks passed{warnings}.", highlight=False)


def _caught(subject: str, check: _Check, config: Config) -> list[Finding]:
    """A check that itself fails is a finding, and the others go on."""
    findings: list[Finding] = []
    try:
        findings.extend(check(config))
    except (Csf24Error, OSError) as fault:
        texts = fault.problems if isinstance(fault, ConfigError) else (str(fault),)
        findings += [Finding(subject=subject, verdict="FAILED", text=text) for text in texts]
    return findings


def _injection_times(config: Config) -> Iterator[Finding]:
    path = config.pairing.injection_times
    if path is None:
        text = "no table: taken from the delayed series' contrast start time, else the case is held"
        yield Finding(subject="injection times", verdict="ok", text=text)
    else:
        injection_times(path)
        yield Finding(subject="injection times", verdict="ok", text=f"{path}: readable")


def _page_font(config: Config) -> Iterator[Finding]:
    if page_font(config) is not None:
        yield Finding(subject="page for print", verdict="ok", text=f"{config.outputs.pdf_font}: a font")


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
    if tls.listener and tls.certificate is not None and tls.key is not None:
        server_context(
            certificate=tls.certificate,
            key=tls.key,
            trusted=tls.trusted,
            verify_client=tls.verify_client,
            minimum_version=tls.minimum_version,
        )
    peers(config)  # loads the files of our side as a client
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


def _secrets(config: Config) -> Iterator[Finding]:
    files = {
        "tls.key": config.tls.key,
        "storage.database_password_file": config.storage.database_password_file,
        "notifications.webhook_token_file": config.notifications.webhook_token_file,
        "notifications.webhook_signing_key_file": config.notifications.webhook_signing_key_file,
        "notifications.mail_password_file": config.notifications.mail_password_file,
    }
    for key, path in files.items():
        if path is not None and path.stat().st_mode & stat.S_IRWXO:
            text = f"{key}: every user of this machine may read {path}; chmod o= {path}"
            yield Finding(subject="secrets", verdict="warning", text=text)


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


def _priors(config: Config) -> Iterator[Finding]:
    settings = config.priors
    if not settings.source:
        yield Finding(subject="priors", verdict="ok", text="not fetched: both series must be sent")
        return
    peer, _ = peers(config)[settings.source]
    missing = missing_services(peer, local_entity(config), settings.method)
    if missing:
        text = f"{peer.name} does not offer us {' and '.join(missing)} in the Study Root model; allow it there"
        yield Finding(subject="priors", verdict="FAILED", text=text)
        return
    text = f"{peer.name} offers C-FIND and C-{settings.method.upper()}"
    if settings.method == "move":
        ours = config.listener
        text += f"; it must know {ours.ae_title} at this machine's address, port {ours.port}"
    yield Finding(subject="priors", verdict="ok", text=text)


def _notifications(config: Config, *, notify: bool) -> Iterator[Finding]:
    """Whether each receiver answers, lets us log in, and with `notify` takes a message."""
    found = channels(config, gethostname())
    if not found:
        verdict: Verdict = "FAILED" if notify else "ok"
        yield Finding(subject="notifications", verdict=verdict, text="none: nobody is told when something turns red")
    for name, channel in found.items():
        subject, where, remark = f"notifications by {name}", receivers(config)[name], ""
        try:
            if notify:
                remark = channel.send(_test_message())
            else:
                channel.check()
        except Undelivered as fault:
            yield Finding(subject=subject, verdict="FAILED", text=f"{where}: {fault}")
            continue
        done = "a test message was taken" if notify else "answers over TLS; --notify sends a test message"
        yield Finding(subject=subject, verdict="FAILED" if remark else "ok", text=f"{where}: {remark or done}")
    if found and not config.service.works:
        text = "not sent by this process: the one that leads sends them, and only a worker leads (service.roles)"
        yield Finding(subject="notifications", verdict="ok", text=text)


def _test_message() -> Message:
    now = utc_now()
    return Message(identity=f"test-{now:%Y%m%d%H%M%S%f}", at=now, begun=(), over=(), begun_count=0, over_count=0, red=0)


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


_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("DICOM listener", listener),
    ("status page", status_page),
    ("disk", disk),
    ("database", database),
    ("injection times", _injection_times),
    ("page for print", _page_font),
    ("models", _models),
    ("execution provider", _provider),
    ("TLS", _tls),
    ("secrets", _secrets),
    ("destinations", _destinations),
    ("priors", _priors),
)
