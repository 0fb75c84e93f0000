"""Small DICOM pairs that pair up, and a converter that does as it is told; for batches without real conversions."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from pydicom.dataset import Dataset

from service.batch.cases import BatchCase, pair_up
from service.batch.convert_case import BatchRequest
from service.batch.index import build_index
from service.batch.sources import find_files
from service.cases import CaseOutcome, case_id_for
from service.conversion import Conversion, DerivedFile
from service.dicom.injection import InjectionTimes
from service.dicom.policy import PairingPolicy
from service.errors import InputRefused, ModelError, Reason, SelfCheckFailed
from service.pipeline import VolumePair
from service.received_pair import DicomPair
from service.report import CaseFacts, bare_report
from tests.builders.dicom import classic_series, make_uid, ramp_volume, to_bytes
from tests.builders.patients import BASELINE_AT, DELAYED_AT, INJECTED_AT

LONG_AFTER = datetime(2034, 1, 1, tzinfo=UTC)
DERIVED_AT = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)
SLICES = 62
"""As many as a head series has at least."""
_VOLUME = ramp_volume("axial", (SLICES, 60, 60), (2.4, 2.4, 2.4))


def small_baseline(patient: str = "P1", **options: object) -> list[Dataset]:
    """62 slices of 60 x 60; enough for pairing, and no head for a conversion."""
    given = {"patient_id": patient, "study": 1, "series": 1, "acquired_at": BASELINE_AT}
    return classic_series(_VOLUME, **{**given, **options})  # type: ignore[arg-type]


def small_delayed(patient: str = "P1", **options: object) -> list[Dataset]:
    given = {"patient_id": patient, "study": 1, "series": 2, "acquired_at": DELAYED_AT, "injected_at": INJECTED_AT}
    return classic_series(_VOLUME, **{**given, **options})  # type: ignore[arg-type]


def small_pair(folder: Path, patient: str = "P1") -> str:
    """Written below `folder`; the id of its case."""
    for name, contents in zip(("before", "after"), _pair_contents(patient), strict=True):
        place = folder / patient / name
        place.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (place / f"{number:04d}.dcm").write_bytes(content)
    return case_id_for(*(make_uid(patient, 1, series) for series in (1, 2)))


@cache
def _pair_contents(patient: str) -> tuple[tuple[bytes, ...], ...]:
    return tuple(tuple(map(to_bytes, series)) for series in (small_baseline(patient), small_delayed(patient)))


def cases_below(*sources: Path, times: InjectionTimes | None = None) -> tuple[BatchCase, ...]:
    index = build_index(find_files(sources))
    return pair_up(index, policy=PairingPolicy(), injection_times=times or InjectionTimes(), now=LONG_AFTER)


def request_for(out: Path, settings: str = "settings") -> BatchRequest:
    return BatchRequest(out=out, settings=settings, software_version="0.1.0", now=DERIVED_AT)


def told_converter(behaviour: Mapping[str, str], journal: Path) -> partial[ToldConverter]:
    """A picklable `MakeConverter`; behaviours by case id, for others ``predict``."""
    return partial(ToldConverter, dict(behaviour), journal)


def no_converter() -> ToldConverter:
    raise ModelError("no model today")


def conversions(journal: Path) -> list[str]:
    """Ids of the cases whose conversion was begun, in order."""
    return journal.read_text().split() if journal.exists() else []


class ToldConverter:
    """Stands in for `service.conversion.Converter`: predict, refuse, crash, die, sleep, ... by case id."""

    def __init__(self, behaviour: dict[str, str], journal: Path) -> None:
        self._behaviour = behaviour
        self._journal = journal

    def convert_dicom(self, pair: DicomPair) -> Conversion:
        return self._convert(pair.case_id, [*pair.baseline, *pair.delayed])

    def convert_volumes(
        self, facts: CaseFacts, pair: VolumePair, reasons: Sequence[Reason] = (), *, made_at: datetime
    ) -> Conversion:
        return self._convert(facts.case_id, [], tuple(reasons))

    def _convert(self, case_id: str, contents: list[bytes], reasons: tuple[Reason, ...] = ()) -> Conversion:
        with self._journal.open("a") as journal:
            journal.write(f"{case_id}\n")
        told = self._behaviour.get(case_id, "predict")
        if told == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if told == "sleep":
            time.sleep(60)
        if told == "crash":
            raise ZeroDivisionError("of patient P1")
        if told == "refuse outright":
            raise InputRefused(Reason(code="NOT_DICOM", message="Not one header can be read."))
        if told == "fail the check":
            raise SelfCheckFailed("what was written does not read back")
        if told == "refuse":
            reasons = (Reason(code="NO_TRACER", message="No tracer is seen."),)
        outcome = CaseOutcome.REFUSED if reasons else CaseOutcome.PREDICTED
        content = b"".join(contents)[:1000]
        return Conversion(
            outcome=outcome,
            reasons=reasons,
            warnings=(),
            files=tuple(
                DerivedFile(sop_class_uid="1.2", sop_instance_uid=f"2.25.{n}", content=content) for n in (1, 2)
            ),
            course=None,
            report=bare_report(case_id, outcome, reasons, "0.1.0"),
            preview=b"\x89PNG",
            page=None,
            pictured=None,
        )
