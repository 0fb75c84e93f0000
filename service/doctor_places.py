"""What csf24 doctor finds of ports, disk and database, without leaving anything behind.

What the service would create at its first start is tried out and removed again. Only a ledger that exists is opened,
and so brought to this version's schema, as the service would.
"""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from service.addresses import address_fault
from service.app import utc_now
from service.config import Config
from service.errors import PeerUnavailable
from service.finding import Finding
from service.health import ALIVE, ask, reachable
from service.jobs.recovery import is_alive
from service.monitoring.role import Role
from service.monitoring.users_file import read_users
from service.network.peers import LocalEntity, Peer
from service.network.storage_scu import echo
from service.network.tls import client_context
from service.storage.ledger import Ledger
from service.storage.worker_ledger import Worker
from service.wiring import page_tls
from service.working import queue_url

_GIB = 1024**3


def listener(config: Config) -> Iterator[Finding]:
    """Whether the DICOM port can be had, or is a running service's; and who may send."""
    ours = config.listener
    subject = "DICOM listener"
    if not config.service.listens:
        yield Finding(subject=subject, verdict="ok", text="not in this process (service.roles)")
        return
    where = f"{ours.ae_title} at {ours.host}:{ours.port}"
    fault = address_fault(ours.host, ours.port)
    if fault is None:
        yield Finding(subject=subject, verdict="ok", text=f"{where}: the port is free")
    elif fault.taken:
        yield _who_listens(config, subject, where)
    else:
        yield Finding(subject=subject, verdict="FAILED", text=f"{where}: {fault.text}")
    if ours.promiscuous:
        yield Finding(subject=subject, verdict="warning", text="promiscuous: any AE title may send")
    elif not ours.calling_ae_titles:
        yield Finding(subject=subject, verdict="ok", text="no calling AE titles listed: only this machine may send")
    else:
        names = ", ".join(ours.calling_ae_titles)
        yield Finding(subject=subject, verdict="ok", text=f"may send: {names}")


def _who_listens(config: Config, subject: str, where: str) -> Finding:
    """The port is taken: by a running csf24, or by something else?"""
    ours = config.listener
    caller = ours.calling_ae_titles[0] if ours.calling_ae_titles else ours.ae_title
    peer = Peer(
        name="listener",
        ae_title=ours.ae_title,
        host=reachable(ours.host),
        port=ours.port,
        tls=_own_tls(config) if config.tls.listener else None,
    )
    try:
        echo(peer, LocalEntity(ae_title=caller, connect_timeout_s=3.0, association_timeout_s=5.0, dimse_timeout_s=5.0))
    except PeerUnavailable as fault:
        text = f"{where}: the port is taken and does not answer as {ours.ae_title} ({fault}); stop what uses it"
        return Finding(subject=subject, verdict="FAILED", text=text)
    return Finding(subject=subject, verdict="ok", text=f"{where}: running, answers C-ECHO")


def _own_tls(config: Config) -> ssl.SSLContext:
    """To ask our own listener, whose certificate is made out to the name that others know it by."""
    tls = config.tls
    context = client_context(
        trusted=tls.trusted, certificate=tls.certificate, key=tls.key, minimum_version=tls.minimum_version
    )
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def status_page(config: Config) -> Iterator[Finding]:
    """Whether its port can be had, or is a running service's."""
    page = config.status_page
    if not page.enabled:
        yield Finding(subject="status page", verdict="ok", text="switched off")
        return
    yield from _page_identity(config)
    scheme = "https" if page.certificate else "http"
    url = f"{scheme}://{page.host}:{page.port}/"
    fault = address_fault(page.host, page.port)
    if fault is None:
        yield Finding(subject="status page", verdict="ok", text=f"{url}: the port is free")
    elif not fault.taken:
        yield Finding(subject="status page", verdict="FAILED", text=f"{url}: {fault.text}")
    elif ask(page.host, page.port, ALIVE, tls=page.certificate is not None)[0]:
        yield Finding(subject="status page", verdict="ok", text=f"{url}: running, answers")
    else:
        text = f"{url}: the port is taken and does not answer as a status page; stop what uses it"
        yield Finding(subject="status page", verdict="FAILED", text=text)


def _page_identity(config: Config) -> Iterator[Finding]:
    """Whether the page's certificate, and the file of those who may log in, can be used."""
    page = config.status_page
    if page.authentication == "users" and page.users_file is not None:
        accounts = read_users(page.users_file)
        acting = sum(account.role is Role.ACT for account in accounts.values())
        text = f"{page.users_file}: {len(accounts)} may log in, {acting} of them may act"
        yield Finding(subject="status page users", verdict="ok" if accounts else "FAILED", text=text)
    files = page_tls(config)
    if files is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                files.certificate,
                files.key,
                password="-",  # noqa: S106 - so that a locked key fails and asks nobody
            )
        except ssl.SSLError as fault:
            text = f"{files.certificate} and {files.key} cannot be used ({fault.reason}); give a pair that fits, in PEM"
            yield Finding(subject="status page certificate", verdict="FAILED", text=text)


def disk(config: Config) -> Iterator[Finding]:
    """Right and room to write, tried with a file without a name where the data lie or will lie."""
    directory, reserve = config.storage.directory, config.storage.min_free_bytes
    place = _nearest_existing(directory / "spool")
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"csf24 doctor")
            probe.flush()
            os.fsync(probe.fileno())
        usage = shutil.disk_usage(place)
    except OSError as fault:
        text = f"{place} cannot be written to ({fault.strerror}); let the service's account, or take another folder"
        yield Finding(subject="disk", verdict="FAILED", text=text)
        return
    made = "" if directory.is_dir() else " (made at the first start)"
    text = f"{directory}{made}: {usage.free / _GIB:.1f} GiB free, {reserve / _GIB:.1f} GiB is the reserve"
    if usage.free >= reserve:
        yield Finding(subject="disk", verdict="ok", text=text)
    elif usage.total < reserve:
        text = f"{text}, more than the whole disk has ({usage.total / _GIB:.1f} GiB); lower storage.min_free_mb"
        yield Finding(subject="disk", verdict="FAILED", text=text)
    else:
        yield Finding(subject="disk", verdict="FAILED", text=f"{text}; associations would be refused: free some space")


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def database(config: Config) -> Iterator[Finding]:
    """Whether the ledger answers and has this version's schema, and which processes share it."""
    file = config.storage.ledger_file
    if file is not None and not file.exists():
        yield _new_ledger(config, file)
    else:
        ledger = Ledger.open(config.storage.ledger_url)
        try:
            ledger.check()
            counts = ledger.counts()
            machines, told = ledger.workers.all(), ledger.clock(utc_now())
        finally:
            ledger.close()
        kind = "PostgreSQL" if file is None else "SQLite"
        cases = sum(counts.cases.values())
        text = f"{kind}: schema up to date, {counts.instances} instances, {cases} cases"
        yield Finding(subject="database", verdict="ok", text=text)
        yield from _machines(machines, told)
    where = "a file beside the ledger" if queue_url(config).startswith("sqlite") else "the same PostgreSQL"
    yield Finding(subject="job queue", verdict="ok", text=f"DBOS, in {where}")


def _machines(machines: Sequence[Worker], told: datetime) -> Iterator[Finding]:
    alive = [worker for worker in machines if is_alive(worker, told)]
    if alive:
        text = "; ".join(f"{worker.executor_id} ({', '.join(worker.roles)})" for worker in alive)
        yield Finding(subject="machines", verdict="ok", text=f"alive: {text}")
    for worker in machines:
        if worker not in alive:
            minutes = (told - worker.beat_at).total_seconds() / 60
            work = "others took over its work" if worker.taken_over_at else "nobody has taken over its work"
            text = f"{worker.executor_id} has been silent for {minutes:.0f} min; {work}: start it again, or look why"
            yield Finding(subject="machines", verdict="warning", text=text)


def _new_ledger(config: Config, file: Path) -> Finding:
    """A ledger made where it is thrown away again; where the real one will lie is the disk's check."""
    if file.parent.absolute() != config.storage.directory.absolute() and not file.parent.is_dir():
        text = f"{file.parent} is not there; make that folder, or correct storage.database"
        return Finding(subject="database", verdict="FAILED", text=text)
    with tempfile.TemporaryDirectory(prefix="csf24-doctor-") as elsewhere:
        ledger = Ledger.open(f"sqlite:///{elsewhere}/ledger.sqlite")
        try:
            ledger.check()
        finally:
            ledger.close()
    return Finding(subject="database", verdict="ok", text=f"SQLite: {file} is made at the first start")
