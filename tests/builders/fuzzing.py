"""Runs hostile inputs against the code that meets them first, and tells what became of each."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from tempfile import TemporaryDirectory

from service.dicom.headers import parse_header
from service.dicom.part10 import read_dataset
from service.dicom.pixels import real_planes
from service.dicom.summaries import summarise
from service.dicom.volumes import read_series_from_bytes
from service.errors import InputRefused
from service.jobs.reception import Arrival, Receiver, Reception
from service.network.intake import Intake, IntakeLimits
from service.network.listener import Listener
from service.network.requests import Refusal
from service.network.storage_scp import ReceivedInstance, storage_listener
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from tests.builders.hostile import hostile_conversation, hostile_file, valid_files
from tests.builders.network import LOOPBACK, settings

_STUCK_S = 30.0
_MEMORY = 12 << 30
"""Address space of the process that reads files: what needs more than that fails there."""
_ANSWERS = {Reception.KEPT: 0x0000, Reception.NOT_UNDERSTOOD: 0xC000, Reception.MISMATCH: 0xA900}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Of a process: MB of memory, open files, threads, and objects of Python's: memory may also be kept for later.

    Threads of the receiver's pool do not count: it starts them as they are wanted, eight at most.
    """

    rss_mb: float
    files: int
    threads: int
    objects: int

    @classmethod
    def now(cls) -> Resources:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            rss_mb=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
            files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - the listing itself is one of them, each time
            threads=sum(not thread.name.startswith("reception") for thread in threading.enumerate()),
            objects=len(gc.get_objects()),
        )

    def __str__(self) -> str:
        return f"{self.rss_mb:.0f} MB, {self.files} files, {self.threads} threads, {self.objects} objects"


@dataclass(slots=True)
class Findings:
    """What became of the inputs.

    Attributes
    ----------
    outcomes
        How often, by refusal code or kind of end.
    crashes
        Input's number and what happened: an exception that is no refusal, a process that died or hung.
    slowest_s, slowest
        The longest that one input took, and its number.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: int = -1
    before: Resources | None = None
    after: Resources | None = None
    peak_mb: float = 0.0


def examine_file(content: bytes) -> str:
    """What the service makes of a received file: a refusal's code, or ``volume``.

    First as reception sees it, then as a conversion does, then its pixels whatever the geometry says.
    """
    try:
        summary = summarise([parse_header(content)])
        with contextlib.suppress(InputRefused):
            read_series_from_bytes([content], summary)
        for _ in real_planes(read_dataset(content)):
            pass
    except InputRefused as refusal:
        return refusal.reasons[0].code
    return "volume"


# Files, in a process that may die


def fuzz_files(count: int, seed: int) -> Findings:
    """Files 0 to `count` of a seed, one process after the other until all are done."""
    context = multiprocessing.get_context("spawn")
    place, beat = context.Value("q", 0), context.Value("d", 0.0)
    found = Findings()
    while place.value < count:
        receiver, sender = context.Pipe(duplex=False)
        started = time.monotonic()
        child = context.Process(target=_read_files, args=(place, beat, count, seed, sender))
        child.start()
        sender.close()
        with receiver:
            _await(child, receiver, beat, found)
        if beat.value < started:
            raise RuntimeError("the process that reads files did not start")
        if child.exitcode != 0:
            number = int(place.value)
            found.crashes.append((number, f"the process ended with {child.exitcode}"))
            place.value = number + 1
    return found


def _await(child, receiver, beat, found: Findings) -> None:  # types of multiprocessing's contexts
    started = time.monotonic()
    while True:
        if receiver.poll(1.0):
            try:
                part = receiver.recv()
            except EOFError:
                break
            _add(found, part)
        elif time.monotonic() - max(beat.value, started) > _STUCK_S:
            child.kill()
    child.join()


def _add(found: Findings, part: Findings) -> None:
    found.outcomes += part.outcomes
    found.crashes += part.crashes
    if part.slowest_s > found.slowest_s:
        found.slowest_s, found.slowest = part.slowest_s, part.slowest
    found.before, found.after = found.before or part.before, part.after
    found.peak_mb = max(found.peak_mb, part.peak_mb)


def _read_files(place: Synchronized[int], beat: Synchronized[float], count: int, seed: int, sender) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    for content in valid_files():  # caches and buffers are filled before memory is measured
        _examined(content)
    part = Findings(before=Resources.now())
    while place.value < count:
        number = int(place.value)
        beat.value = began = time.monotonic()
        outcome, is_crash = _examined(hostile_file(number, seed))
        taken = time.monotonic() - began
        part.outcomes[outcome] += 1
        if is_crash:
            part.crashes.append((number, outcome))
        if taken > part.slowest_s:
            part.slowest_s, part.slowest = taken, number
        place.value = number + 1
        if number % 1000 == 999 or number + 1 == count:
            part.after = Resources.now()
            part.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            sender.send(part)
            part = Findings(before=part.before)


def _examined(content: bytes) -> tuple[str, bool]:
    try:
        return examine_file(content), False
    except BaseException as fault:  # noqa: BLE001 - to be listed
        last = fault.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
        return f"{type(fault).__name__} at {place}", True


# Conversations, with a listener that keeps what it gets


@contextmanager
def receiving_listener(folder: Path, refused: list[Refusal]) -> Iterator[Listener]:
    """A listener with a real spool and ledger behind it, and short times."""
    spool, ledger = Spool(folder / "spool", min_free_bytes=1 << 20), Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    receiver = Receiver(spool, ledger, now=lambda: datetime.now(UTC))

    def receive(item: ReceivedInstance) -> int:
        arrival = Arrival(
            encoded_dataset=item.encoded_dataset,
            sop_class_uid=item.sop_class_uid,
            sop_instance_uid=item.sop_instance_uid,
            transfer_syntax_uid=item.transfer_syntax_uid,
            calling_ae=item.calling_ae,
        )
        return _ANSWERS[receiver.receive(arrival)]

    quick = settings(
        max_associations=64, max_associations_per_address=64, association_timeout_s=5.0, network_timeout_s=5.0
    )
    intake = Intake(IntakeLimits(instance=1 << 20), on_refused=refused.append, today=lambda: datetime.now(UTC).date())
    listener = storage_listener(quick, receive=receive, admit=lambda _: None, on_refused=refused.append, intake=intake)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()
        ledger.close()
        spool.close()


def fuzz_listener(count: int, seed: int, *, at_a_time: int = 4) -> Findings:
    """Conversations 0 to `count` of a seed with a listener, which must answer an echo after each hundred."""
    found = Findings()
    refused: list[Refusal] = []
    numbers = iter(range(count))
    lock = threading.Lock()

    def work(port: int) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            started = time.monotonic()
            outcome = _converse(port, *hostile_conversation(number, seed))
            taken = time.monotonic() - started
            with lock:
                found.outcomes[outcome] += 1
                if taken > found.slowest_s:
                    found.slowest_s, found.slowest = taken, number
                if outcome == "hung":
                    found.crashes.append((number, "not ended by the listener"))
            if number % 100 == 99 and not _echoes(port):
                with lock:
                    found.crashes.append((number, "an echo was not answered"))

    with TemporaryDirectory() as folder, receiving_listener(Path(folder), refused) as listener:
        for number in range(20):
            _converse(listener.port, *hostile_conversation(number, seed + 1))
        _settle(listener)
        found.before = Resources.now()
        workers = [threading.Thread(target=work, args=(listener.port,), name="fuzz") for _ in range(at_a_time)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        _settle(listener)
        refused.clear()
        found.after = Resources.now()
        if listener.associations:
            found.crashes.append((count, f"{listener.associations} associations have not ended"))
    found.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return found


def _settle(listener: Listener) -> None:
    give_up = time.monotonic() + 20
    while listener.associations and time.monotonic() < give_up:
        time.sleep(0.1)
    time.sleep(1.5)  # handshakes and refusals that linger


def _converse(port: int, first: bytes, then: bytes, changed: bool) -> str:
    """The answer; after a first word that was changed nothing more is said, so that nobody waits for its rest."""
    heard = b""
    with socket.create_connection((LOOPBACK, port), timeout=30) as connection:
        try:
            connection.sendall(first)
            if changed:
                connection.shutdown(socket.SHUT_WR)
            heard = connection.recv(4096)
            if heard[:1] == b"\2" and changed:
                return "accepted"
            if heard[:1] == b"\2":
                connection.sendall(then)
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                heard += more
        except TimeoutError:
            return "hung"
        except OSError:
            return "reset"
    return {b"": "closed", b"\2": "accepted", b"\3": "rejected", b"\7": "aborted"}.get(heard[:1], "answered otherwise")


def _echoes(port: int) -> bool:
    from service.errors import PeerUnavailable  # noqa: PLC0415
    from service.network.peers import LocalEntity, Peer  # noqa: PLC0415
    from service.network.storage_scu import echo  # noqa: PLC0415

    try:
        echo(Peer(name="listener", ae_title="CSF24", host=LOOPBACK, port=port), LocalEntity(connect_timeout_s=5.0))
    except PeerUnavailable:
        return False
    return True
