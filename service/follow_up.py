"""A prediction held against the scan that was acquired at its time: the same pair, predicted anew, and the real image.

What was sent bears a banner and is rounded, so that it is no measure; the same input gives the same prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.dicom.headers import parse_header
from service.dicom.matches import obstacles_of
from service.dicom.pair_check import check_pair
from service.dicom.policy import PairingPolicy
from service.dicom.records import SeriesSummary
from service.dicom.summaries import summarise
from service.dicom.volumes import read_series_from_bytes
from service.errors import InputRefused, Reason
from service.imaging.agreement import Agreement, compare
from service.imaging.examination import Clock, Examination, Fallback, examine, examine_later
from service.imaging.recipe_types import SignalReference
from service.inference.answering import predict
from service.inference.predictor import Predictor
from service.received_pair import DicomPair, receive_pair


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUpJudgement:
    """What came of it.

    Attributes
    ----------
    scanner
        Manufacturer, model and device serial number of the later scan: by it errors are told apart over time.
    model
        Name and version.
    hours
        From the injection, as it is known now, to the later scan; None when it is not known.
    """

    agreement: Agreement
    scanner: str
    model: str
    simulated_patient: bool
    hours: float | None = None


class FollowUpJudge:
    """Compares with one model; not safe for use by several threads at once."""

    def __init__(self, predictor: Predictor, *, policy: PairingPolicy, fallback: Fallback, clock: Clock) -> None:
        self._predictor = predictor
        self._policy = policy
        self._fallback = fallback
        self._clock = clock

    def __call__(self, pair: DicomPair, follow_up: Sequence[bytes]) -> FollowUpJudgement:
        """Predict once more and compare.

        Parameters
        ----------
        follow_up
            Part 10 files of the later series, in any order.

        Raises
        ------
        InputRefused
            The pair no longer passes, the later scan is not of the time that is predicted (any more), or it fails the
            checks that a scan of hours later must pass.
        ModelError
            The model failed.
        """
        received = receive_pair(pair, self._policy)
        if received.volumes is None or received.rejections:
            raise InputRefused(*received.rejections)
        volumes = received.volumes
        summary = summarise([parse_header(content) for content in follow_up])
        hours = self._still_due(received.sources[0].summary, summary, pair.injection_time)
        course = Examination(clock=self._clock, fallback=self._fallback)
        found = examine(volumes.baseline, volumes.delayed, course)
        by_fat_alone(course.reference)
        restored = predict(found, self._predictor, course)
        later = read_series_from_bytes(follow_up, summary)
        acquired = examine_later(found.baseline, later.volume, found.anatomy, Examination(clock=self._clock))
        header, manifest = summary.header, self._predictor.manifest
        named = (header.manufacturer, header.model_name, header.device_serial_number)
        return FollowUpJudgement(
            agreement=compare(
                restored, anatomy=found.anatomy, baseline=found.baseline, delayed=found.delayed, acquired=acquired
            ),
            scanner=" ".join(part for part in named if part) or "not stated",
            model=f"{manifest.name} {manifest.version}",
            simulated_patient=received.simulated,
            hours=hours,
        )

    def _still_due(
        self, baseline: SeriesSummary, later: SeriesSummary, injection_time: datetime | None
    ) -> float | None:
        """Hours after the injection as it is known now, which a person may have corrected since the scan was noted."""
        if self._policy.follow_up is None:
            return None
        then = replace(self._policy, delayed=self._policy.follow_up)
        check = check_pair(baseline, later, injection_time=injection_time, policy=then)
        if obstacles := obstacles_of(check):
            raise InputRefused(*obstacles)
        return check.hours_after_injection


def by_fat_alone(reference: SignalReference | None) -> None:
    """Refuse what cannot be compared: white matter is brightened by tracer by then, and stands in for no later fat.

    Raises
    ------
    InputRefused
        The pair was not measured by orbital fat.
    """
    if reference is None or reference.kind != "orbital_fat":
        text = "The pair was measured by white matter, the later scan can be measured by orbital fat only: two scales."
        raise InputRefused(Reason(code="REFERENCE_IS_WHITE_MATTER", message=text))
