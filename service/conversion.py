"""From the instances of a pair to the objects that go back: read, check, convert, derive, read back.

Works on bytes and volumes; where they come from and go to is the caller's business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from service.case_page import PageFacts, with_page
from service.case_preview import NOTHING_SHOWN, Shown, pictured, preview
from service.cases import CaseOutcome
from service.dicom.derived import derive_prediction, derive_refusal, to_part10
from service.dicom.facts import DerivationFacts, ModelFacts, OutputSelection, RefluxFacts
from service.dicom.inherited import local_time
from service.dicom.part10 import read_dataset
from service.dicom.patient_words import patient_words
from service.dicom.policy import PairingPolicy
from service.dicom.read_back import verify_objects
from service.errors import Reason
from service.imaging.examination import Clock, Fallback
from service.imaging.reflux import Reflux
from service.inference.predictor import Predictor
from service.pictures.preview import PreviewSource
from service.pipeline import Outcome, VolumePair, convert
from service.received_pair import DicomPair, ReceivedPair, receive_pair
from service.report import CaseFacts, Json, case_report

_NOT_GRADABLE = RefluxFacts(index=None, grade_24h="not gradable", interval=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedFile:
    """A Part 10 file to deliver."""

    sop_class_uid: str
    sop_instance_uid: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conversion:
    """What a case came to.

    Attributes
    ----------
    files
        Objects to deliver: the prediction, or the refusal notice; empty for input that is not DICOM.
    course
        What the pipeline found, the restored volumes included; None when the headers alone refused.
    report
        JSON values; ``outputs`` is left to whoever writes the files.
    preview
        PNG, or None when no picture could be read.
    page
        PDF for print of a prediction; None when it was not asked for.
    pictured
        The volumes behind the preview.
    """

    outcome: CaseOutcome
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    files: tuple[DerivedFile, ...]
    course: Outcome | None
    report: Json
    preview: bytes | None
    page: bytes | None
    pictured: PreviewSource | None


class Converter:
    """A model with all that stays the same from case to case.

    Parameters
    ----------
    policy
        Windows and tolerances that the headers are held against.
    clock
        Monotonic seconds.
    fallback
        What may stand in for orbital fat that cannot be used; the result is then marked.
    page_font
        For letters that the page for print lacks; its hash is among `outputs`.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        policy: PairingPolicy,
        outputs: OutputSelection,
        software_version: str,
        clock: Clock,
        fallback: Fallback = "none",
        page_font: bytes | None = None,
    ) -> None:
        self._predictor = predictor
        self._policy = policy
        self._outputs = outputs
        self._version = software_version
        self._clock = clock
        self._fallback = fallback
        self._page_font = page_font

    def convert_dicom(self, pair: DicomPair) -> Conversion:
        """Convert a pair of DICOM series; a refusal is a result.

        Raises
        ------
        ModelError
            The model failed.
        SelfCheckFailed
            What was written does not read back as it should.
        InputRefused
            Not one header of a series can be read, so there is nothing to answer to.
        """
        start = self._clock()
        received = receive_pair(pair, self._policy)
        timings = {"read": self._clock() - start}
        course: Outcome | None = None
        volumes = received.volumes
        reasons = received.rejections
        if volumes is not None and not reasons:
            course = convert(volumes, self._predictor, clock=self._clock, fallback=self._fallback)
            timings |= course.timings_s
            reasons = course.reasons
        facts = CaseFacts(
            case_id=pair.case_id,
            baseline=received.facts(0),
            delayed=received.facts(1),
            injection_time=pair.injection_time,
            hours_after_injection=received.hours_after_injection,
            software_version=self._version,
            simulated_patient=received.simulated,
        )
        warnings = (*received.warnings, *(course.warnings if course else ()))
        start = self._clock()
        shown = self._shown(facts, volumes, course, reasons) if volumes else NOTHING_SHOWN
        if course and not reasons and self._outputs.encapsulated_pdf:
            filed = received.filed(self._outputs.study).template
            patient, at = patient_words(filed), local_time(filed, pair.derived_at)
            page = PageFacts(
                patient=patient, warnings=warnings, made_at=at, replaces=pair.replaces, font=self._page_font
            )
            shown = with_page(shown, facts, course, self._predictor.manifest, page)
        timings["preview"] = self._clock() - start
        start = self._clock()
        derivation = self._derivation(pair, received, warnings, course)
        if reasons:
            files = self._notice(pair, received, derivation, reasons, shown.preview)
        else:
            files = self._prediction(received, course, derivation, shown.page)
        timings["derive"] = self._clock() - start
        return self._conversion(
            facts,
            reasons,
            course=course,
            warnings=warnings,
            files=files,
            shown=shown,
            timings=timings,
        )

    def convert_volumes(
        self, facts: CaseFacts, pair: VolumePair, reasons: Sequence[Reason] = (), *, made_at: datetime
    ) -> Conversion:
        """Convert a pair that did not come as DICOM; there are no objects to deliver, only volumes.

        Parameters
        ----------
        reasons
            Rejections already known, e.g. of the times given beside the images.
        made_at
            Aware; dates the page for print.
        """
        course = None if reasons else convert(pair, self._predictor, clock=self._clock, fallback=self._fallback)
        found = tuple(reasons) if course is None else course.reasons
        timings = dict(course.timings_s) if course else {}
        start = self._clock()
        warnings = course.warnings if course else ()
        shown = self._shown(facts, pair, course, found)
        if course and not found and self._outputs.encapsulated_pdf:
            page = PageFacts(patient=(), warnings=warnings, made_at=made_at, font=self._page_font)
            shown = with_page(shown, facts, course, self._predictor.manifest, page)
        timings["preview"] = self._clock() - start
        return self._conversion(
            facts,
            found,
            course=course,
            warnings=warnings,
            files=(),
            shown=shown,
            timings=timings,
        )

    def _shown(self, facts: CaseFacts, pair: VolumePair, course: Outcome | None, reasons: tuple[Reason, ...]) -> Shown:
        source = pictured(pair, course, reasons)
        return Shown(source=source, preview=preview(facts.case_id, source, reasons, self._predictor.manifest))

    def _prediction(
        self, received: ReceivedPair, course: Outcome | None, derivation: DerivationFacts, page: bytes | None
    ) -> tuple[DerivedFile, ...]:
        if course is None or course.restored is None or course.reference is None:
            raise ValueError("there is no prediction to derive objects from")
        baseline, delayed = received.sources
        objects = derive_prediction(
            baseline,
            delayed,
            course.restored,
            derivation,
            self._outputs,
            fat_baseline=course.reference.baseline,
            reflux=_reflux_facts(course.reflux),
            quality=course.checks,
            page=page,
        )
        files = _files(objects)
        verify_objects([file.content for file in files], baseline, course.restored)
        return files

    def _notice(
        self,
        pair: DicomPair,
        received: ReceivedPair,
        derivation: DerivationFacts,
        reasons: tuple[Reason, ...],
        preview: bytes | None,
    ) -> tuple[DerivedFile, ...]:
        contents = pair.baseline if self._outputs.study == "baseline" else pair.delayed
        picture = None if preview is None else np.asarray(Image.open(BytesIO(preview)).convert("RGB"))
        return _files(
            derive_refusal(
                read_dataset(contents[0]),
                reasons,
                derivation,
                source_series_uids=(received.facts(0).series_instance_uid, received.facts(1).series_instance_uid),
                source_instances=[(h.sop_class_uid, h.sop_instance_uid) for side in received.headers for h in side],
                picture=picture,
            )
        )

    def _conversion(
        self,
        facts: CaseFacts,
        reasons: tuple[Reason, ...],
        *,
        course: Outcome | None,
        warnings: tuple[Reason, ...],
        files: tuple[DerivedFile, ...],
        shown: Shown,
        timings: dict[str, float],
    ) -> Conversion:
        outcome = CaseOutcome.REFUSED if reasons else CaseOutcome.PREDICTED
        report = case_report(
            facts,
            outcome,
            reasons=reasons,
            warnings=warnings,
            identity=self._predictor.identity,
            manifest=self._predictor.manifest,
            course=course,
            timings_s=timings,
        )
        return Conversion(
            outcome=outcome,
            reasons=reasons,
            warnings=warnings,
            files=files,
            course=course,
            report=report,
            preview=shown.preview,
            page=shown.page,
            pictured=shown.source,
        )

    def _derivation(
        self, pair: DicomPair, received: ReceivedPair, warnings: tuple[Reason, ...], course: Outcome | None
    ) -> DerivationFacts:
        manifest = self._predictor.manifest
        substituted = course and course.reference and course.reference.kind == "white_matter"
        return DerivationFacts(
            case_id=pair.case_id,
            fingerprint=self._fingerprint(pair),
            derived_at=pair.derived_at,
            software_version=self._version,
            model=ModelFacts(
                name=manifest.name,
                version=manifest.version,
                sha256=manifest.sha256,
                mode=f"{manifest.recipe.mode}{' (white matter in place of fat)' if substituted else ''}",
                simulated_training=manifest.simulated_training,
                intended_use=manifest.intended_use,
            ),
            hours_after_injection=received.hours_after_injection,
            warnings=warnings,
            replaces=pair.replaces,
        )

    def _fingerprint(self, pair: DicomPair) -> str:
        """Everything that decides the result: a repeated conversion has it again, a changed one has another."""
        sides = (pair.baseline, pair.delayed)
        settings: dict[str, Any] = {
            "software": self._version,
            "model": self._predictor.manifest.sha256,
            "recipe": asdict(self._predictor.manifest.recipe),
            "outputs": asdict(self._outputs),
            "policy": repr(self._policy),
            "injection": pair.injection_time.isoformat() if pair.injection_time else "",
            "instances": [sorted(hashlib.sha256(content).hexdigest() for content in side) for side in sides],
        }
        if pair.replaces:
            settings["replaces"] = pair.replaces
        if self._fallback != "none":
            settings["fallback"] = self._fallback
        if self._predictor.manifest.calibration is not None:
            settings["calibration"] = asdict(self._predictor.manifest.calibration)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _files(objects: Sequence[Dataset]) -> tuple[DerivedFile, ...]:
    return tuple(
        DerivedFile(
            sop_class_uid=str(item.SOPClassUID), sop_instance_uid=str(item.SOPInstanceUID), content=to_part10(item)
        )
        for item in objects
    )


def _reflux_facts(found: Reflux | None) -> RefluxFacts:
    if found is None:
        return _NOT_GRADABLE
    return RefluxFacts(
        index=found.index, grade_24h=found.grade_24h, interval=found.interval, grade_range=found.grade_range
    )
