"""csf24 demo: the whole loop on this machine, each part a process of its own where it would be one in a hospital.

A PACS (Orthanc where it is installed, else this project's own small archive), the service, a patient whose two
series are sent by C-STORE, and the prediction back in the PACS.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.table import Table

from service.app import utc_now
from service.batch.index import Index, IndexedInstance, build_index
from service.batch.sources import find_files
from service.cases import Case, CaseEvent, CaseOutcome, CaseState
from service.demo_pacs import DemoPacs, free_port, running_pacs
from service.errors import Csf24Error, PeerUnavailable, UsageError
from service.network.peers import LocalEntity, Peer
from service.network.storage_scu import OutgoingInstance, echo, store
from service.report import Json, grade_text
from service.result_files import PREVIEW_NAME, REPORT_NAME
from service.storage.ledger import Ledger

_PATIENT = "simulated-patient.zip"
_OVERVIEW = "overview.png"
_SCANNER = "DEMO_SCANNER"
_START_S, _CASE_S, _STOP_S = 60.0, 300.0, 20.0
_MARK = ".csf24-demo"
"""In a working folder of ours, which may be removed; another folder of that name is somebody's."""
_ENDED = (CaseState.DONE, CaseState.FAILED, CaseState.HELD, CaseState.DISCARDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    """What the loop came to; seconds by what took them."""

    case: Case
    report: Json
    in_pacs: int
    seconds: dict[str, float]


def run_demo(
    *, source: Path | None, out: Path, injection_time: datetime | None, model: str | None, console: Console
) -> int:
    """Run the loop and print one screen about it; the exit status.

    Parameters
    ----------
    source
        Folder with the series to send; None for the simulated patient.
    out
        Gets ``overview.png``, and ``work/`` with all that the parts wrote; those of an earlier demo are replaced.
    injection_time
        For every patient in `source`, where the series do not state it.

    Raises
    ------
    UsageError
        `out` cannot be used, `source` holds no pair, or the case is held for something that only a person knows.
    Csf24Error
        A part did not start, or the case did not end as expected.
    """
    work = _working_folder(out)
    index = _patient(source, work)
    with running_pacs(work / "pacs") as pacs, _service(work, pacs, index, injection_time, model) as port:
        console.print(
            f"PACS: {pacs.name}, port {pacs.port}; service: csf24 serve, port {port}", highlight=False, soft_wrap=True
        )
        with console.status("sending both series, then waiting for the prediction; about half a minute"):
            loop = _loop(work, pacs, port, index)
        overview = _overview(work, loop.case, out)
    _print(loop, pacs, overview, console, simulated_patient=source is None)
    return {CaseOutcome.PREDICTED: 0, CaseOutcome.REFUSED: 3}.get(loop.case.outcome or CaseOutcome.FAILED, 1)


def _working_folder(out: Path) -> Path:
    """``out/work``, empty; absolute, since Orthanc takes relative paths from its own file's folder."""
    work = out.absolute() / "work"
    if work.exists() and not (work / _MARK).is_file():
        raise UsageError(f"{work}: is there, and not from a demo; choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / _OVERVIEW).unlink(missing_ok=True)
        if work.exists():
            shutil.rmtree(work)
        work.mkdir()
        (work / _MARK).touch()
    except OSError as fault:
        raise UsageError(f"{out}: cannot be used for the demo's files ({fault.strerror}); choose another") from fault
    return work


def _patient(source: Path | None, work: Path) -> Index:
    if source is None:
        with resources.as_file(resources.files("service") / "demo_patient" / _PATIENT) as packed:
            folder = work / "patient"
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(folder)
    else:
        folder = work / "patient"
        _copy(source, folder)
    index = build_index(find_files([folder]))
    if len(index.series) < 2:
        raise UsageError(
            f"{source or _PATIENT}: found {len(index.series)} DICOM series; accepted: a folder with a baseline and a "
            "1-2 h T1 series of one patient"
        )
    return index


def _copy(source: Path, folder: Path) -> None:
    """Every DICOM file as a plain file, out of archives too, since they are sent one by one."""
    folder.mkdir()
    for number, found in enumerate(find_files([source])):
        (folder / f"{number:06d}").write_bytes(found.read())


@contextmanager
def _service(
    work: Path, pacs: DemoPacs, index: Index, injection_time: datetime | None, model: str | None
) -> Iterator[int]:
    """`csf24 serve` as a process; its DICOM port."""
    port, page_port = free_port(), free_port()
    config = work / "csf24.toml"
    pacs.introduce("CSF24", port)
    lines = [
        "[listener]",
        f"port = {port}",
        f'calling_ae_titles = ["{_SCANNER}", "{pacs.ae_title}"]',
        "[status_page]",
        f"port = {page_port}",
        "[storage]",
        f"directory = {json.dumps(str(work / 'csf24-data'))}",
        "min_free_mb = 256",
        *(["[models]", f"default = {json.dumps(model)}"] if model else []),
        # Nothing more will come, so what can be no pair need not be waited for as in a hospital.
        "[pairing]",
        "quiet_seconds = 10",
        "incomplete_wait_minutes = 0.5",
        "partner_wait_hours = 0.02",
    ]
    if injection_time:
        table = work / "injection-times.csv"
        _write_injection_times(table, index, injection_time)
        lines.append(f"injection_times = {json.dumps(str(table))}")
    lines += [
        "[[destinations]]",
        'name = "PACS"',
        f'ae_title = "{pacs.ae_title}"',
        'host = "127.0.0.1"',
        f"port = {pacs.port}",
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # Settings of the real installation must not reach into the demo.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CSF24_")}
    # The same packages as here, and never a folder `service` that happens to lie in the working directory.
    environment["PYTHONPATH"] = os.pathsep.join(place for place in sys.path if place)
    command = [sys.executable, "-P", "-m", "service", "serve", "--config", str(config)]
    with (work / "service.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)  # noqa: S603 - ourselves
        try:
            _await_listener(process, port, work)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _write_injection_times(table: Path, index: Index, injection_time: datetime) -> None:
    patients = {found[0].header.patient_id.strip() for found in index.series.values()} - {""}
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["patient_id", "injection_time"])
        rows.writerows([patient, injection_time.isoformat()] for patient in sorted(patients))


def _await_listener(process: subprocess.Popen[bytes], port: int, work: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            echo(_listener(port), LocalEntity(ae_title=_SCANNER, connect_timeout_s=1.0))
        except PeerUnavailable:
            time.sleep(0.2)
        else:
            return
    last = (work / "service.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise PeerUnavailable("the service did not start; its log ends with:\n  " + "\n  ".join(last))


def _listener(port: int) -> Peer:
    return Peer(name="csf24", ae_title="CSF24", host="127.0.0.1", port=port)


def _loop(work: Path, pacs: DemoPacs, port: int, index: Index) -> _Loop:
    start = utc_now()
    for instances in index.series.values():
        _send(port, instances)
    received = utc_now()
    case, events = _await_case(work)
    result = _result_of(work, case)
    if case.state is CaseState.FAILED:
        raise Csf24Error(f"the case failed:\n{_reasons(case)}\nsee {work / 'service.log'}")
    if case.state is not CaseState.DONE:
        raise UsageError(f"the case is {case.state.value}:\n{_reasons(case)}")
    report: Json = json.loads((result / REPORT_NAME).read_text(encoding="utf-8"))
    objects = sorted(result.glob("predicted/*.dcm")) + sorted(result.glob("refusal/*.dcm"))
    in_pacs = pacs.count_equal(objects)
    if in_pacs < len(objects):
        raise Csf24Error(f"only {in_pacs} of {len(objects)} objects lie unaltered in the PACS")
    at = {event.kind: event.at for event in events}
    seconds = {
        "C-STORE of both series": (received - start).total_seconds(),
        "pairing, once late images are ruled out": (at["running"] - received).total_seconds(),
        **{name: s for name, s in report["timings_s"].items() if name != "total"},
        "C-STORE to the PACS, confirmation": (at["done"] - at["sending"]).total_seconds(),
    }
    return _Loop(case=case, report=report, in_pacs=in_pacs, seconds=seconds)


def _send(port: int, instances: Sequence[IndexedInstance]) -> None:
    objects = [
        OutgoingInstance(
            sop_class_uid=item.header.sop_class_uid,
            sop_instance_uid=item.header.sop_instance_uid,
            path=item.source.path,
        )
        for item in instances
    ]
    sent = store(_listener(port), LocalEntity(ae_title=_SCANNER), objects)
    refused = [result.status for result in sent if not result.accepted]
    if refused:
        raise PeerUnavailable(f"the service refused {len(refused)} of {len(sent)} instances: {refused[0]}")


def _result_of(work: Path, case: Case) -> Path:
    return work / "csf24-data" / "spool" / "results" / case.case_id / f"r{case.revision}"


def _reasons(case: Case) -> str:
    return "\n".join(f"  {reason.code}: {reason.message}" for reason in case.reasons)


def _await_case(work: Path) -> tuple[Case, Sequence[CaseEvent]]:
    """The case with its history, once all there are have ended; a converted one comes before a held one."""
    ledger = Ledger.open(f"sqlite:///{work / 'csf24-data' / 'ledger.sqlite'}")
    try:
        deadline = time.monotonic() + _CASE_S
        while time.monotonic() < deadline:
            cases = ledger.cases.cases()
            if cases and all(case.state in _ENDED for case in cases):
                case = min(cases, key=lambda case: _ENDED.index(case.state))
                return case, ledger.cases.events(case.case_id)
            time.sleep(0.25)
    finally:
        ledger.close()
    raise Csf24Error(f"no case ended within {_CASE_S:g} s; see {work / 'service.log'}")


def _overview(work: Path, case: Case, out: Path) -> Path | None:
    preview = _result_of(work, case) / PREVIEW_NAME
    if not preview.is_file():
        return None
    overview = out / _OVERVIEW
    shutil.copyfile(preview, overview)
    return overview


def _print(loop: _Loop, pacs: DemoPacs, overview: Path | None, console: Console, *, simulated_patient: bool) -> None:
    report = loop.report
    table = Table("stage", "seconds", title=f"case {loop.case.case_id}: {report['outcome']}")
    for name, seconds in loop.seconds.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("total", f"{sum(loop.seconds.values()):.1f}", style="bold")
    console.print(table)
    lines: list[str] = []
    if simulated_patient:
        lines.append("Patient:      SIMULATED head and tracer; no patient exists")
    if report["hours_after_injection"] is not None:
        lines.append(f"Delayed scan: {report['hours_after_injection']:.2f} h after injection")
    registration = report["registration"]
    if registration:
        lines.append(
            f"Registration: turned {registration['rotation_deg']:.1f} degrees; "
            f"inverse consistency {registration['inverse_consistency_mm']:.2f} mm"
        )
    model = report["model"]
    trained = ", trained on SIMULATED tracer" if model["simulated_training"] else ""
    runs_on = model["provider"].removesuffix("ExecutionProvider")
    lines.append(f"Model:        {model['name']} {model['version']} on {runs_on}{trained}")
    reflux = report["reflux"]
    index = "none" if reflux["index"] is None else f"{reflux['index']:.2f}"
    lines.append(f"Reflux:       index {index}, 24 h grade {grade_text(reflux)}, model-derived")
    lines += [_folded("Refused:", f"{r['code']}: {r['message']}") for r in report["reasons"]]
    lines += [_folded("Warning:", f"{w['code']}: {w['message']}") for w in report["warnings"]]
    lines.append(f"In the PACS:  {loop.in_pacs} objects, read back and equal to what was sent")
    lines += [pacs.hint] if pacs.hint else []
    if overview:
        lines.append(f"Picture:      {overview}")
    lines.append("Research use, not for diagnosis.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _folded(label: str, text: str) -> str:
    """For a terminal of 80 columns, in line with the other facts."""
    return textwrap.fill(text, 80, initial_indent=f"{label:14}", subsequent_indent=" " * 14)
