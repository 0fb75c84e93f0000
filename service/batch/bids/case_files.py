"""A case in the dataset: its images with their sidecars, and its report, which says that they are complete.

::

    sub-01/[ses-pre/]sub-01[_ses-pre]_report.json           also of refused and failed cases, which have no anat/
    sub-01/[ses-pre/]anat/sub-01[_ses-pre]_space-baseline_desc-predicted24h_T1w.nii.gz, .json
                                                          desc-increase24h[Lower|Upper]_T1w.nii.gz, .json

Of single slices, as some models predict, ``desc`` ends with the plane. Reports have neither UIDs nor dates: datasets
are handed on, and the reports beside the dataset have them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.batch.bids.labels import BidsLabels
from service.batch.bids.target import REPORT_SUFFIX, BidsTarget
from service.batch.cases import BatchCase, DicomCase, NiftiCase
from service.batch.nifti import NiftiSpace, write_nifti
from service.cases import CaseOutcome
from service.imaging.volume import Volume
from service.pipeline import Outcome
from service.report import Json

_NOT_HANDED_ON = (
    "baseline", "delayed", "other_series", "injection_time",  # UIDs and dates
    "timings_s", "outputs", "request",  # of the run, not of the result
)  # fmt: skip
PLANES = ("Sagittal", "Axial")
"""Of single slices, in the order of the volumes; the end of ``desc``."""
_NOT_ACQUIRED = "PREDICTED by a model, NOT ACQUIRED."
_FAT_UNITS = "orbital fat signal of the baseline (1 = as bright as it)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """An image to write; `facts` are what its sidecar says beyond what is common to all of a case."""

    desc: str
    volume: Volume
    short: str
    facts: Json


def write_case(target: BidsTarget, case: BatchCase, report: Json, course: Outcome | None) -> list[str]:
    """Write the case's images, if it was predicted, and then its report; their paths relative to the dataset's root.

    Raises
    ------
    OSError
        They cannot be written.
    """
    labels = target.labels[case.case_id]
    names: list[str] = []
    if report["outcome"] == CaseOutcome.PREDICTED.value:
        if course is None:
            raise ValueError("a prediction without its volumes")
        anat = target.root / labels.folder / "anat"
        anat.mkdir(parents=True, exist_ok=True)
        space: NiftiSpace = "aligned" if isinstance(case, NiftiCase) else "scanner"
        common = _common_facts(target, case, report, course)
        for image in _images(report, course):
            stem = f"{labels.stem}_space-baseline_desc-{image.desc}_T1w"
            write_nifti(image.volume, anat / f"{stem}.nii.gz", description=image.short, space=space)
            write_json({**image.facts, **common}, anat / f"{stem}.json")
            names += [f"{labels.folder.as_posix()}/anat/{stem}.{ending}" for ending in ("nii.gz", "json")]
    path = _report_path(target, labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    handed_on = {key: value for key, value in report.items() if key not in _NOT_HANDED_ON}
    write_json({**handed_on, "images": [Path(name).name for name in names if name.endswith(".gz")]}, path)
    return [*names, path.relative_to(target.root).as_posix()]


def is_complete(target: BidsTarget, case: BatchCase, report: Json) -> bool:
    """Whether the dataset has all that the run wrote which made the case's report, and under the same labels."""
    names = report.get("bids") or [""]
    last = _report_path(target, target.labels[case.case_id])
    return target.root / names[-1] == last and all((target.root / name).is_file() for name in names)


def clear_case(target: BidsTarget, case: BatchCase) -> None:
    """Remove what an earlier run wrote of the case, the report first, and nothing else that lies there."""
    labels = target.labels[case.case_id]
    _report_path(target, labels).unlink(missing_ok=True)
    anat = target.root / labels.folder / "anat"
    for hidden in ("", "."):
        for ending in (".nii.gz", ".json"):
            for path in anat.glob(f"{hidden}{labels.stem}_space-baseline_desc-*_T1w{ending}"):
                path.unlink()
    with suppress(OSError):  # not there, or not empty
        anat.rmdir()


def write_json(content: object, path: Path) -> None:
    """Whole or not at all."""
    write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _report_path(target: BidsTarget, labels: BidsLabels) -> Path:
    return target.root / labels.folder / f"{labels.stem}{REPORT_SUFFIX}"


def _images(report: Json, course: Outcome) -> Iterator[_Image]:
    restored, reference = course.restored, course.reference
    if restored is None or reference is None:
        raise ValueError("a prediction without its volumes")
    planes = ("",) if len(restored.predicted) == 1 else PLANES
    for plane, volume in zip(planes, restored.predicted, strict=True):
        yield _Image(
            desc=f"predicted24h{plane}",
            volume=volume,
            short="PREDICTED 24 h, not acquired (csf24)",
            facts={
                "Description": f"T1-weighted image 24 h after intrathecal gadobutrol. {_NOT_ACQUIRED}",
                "Units": "arbitrary",
                "UnitsDescription": "those of the baseline image",
            },
        )
    quantiles = (report["uncertainty"] or {}).get("quantiles", [])
    kinds = (
        ("", "", restored.increase, None),
        ("Lower", ", lower bound", restored.lower, min(quantiles, default=None)),
        ("Upper", ", upper bound", restored.upper, max(quantiles, default=None)),
    )
    for name, words, volumes, quantile in kinds:
        for plane, volume in zip(planes if volumes else (), volumes, strict=True):
            bound = {"Quantile": quantile, "Calibration": report["uncertainty"]["calibration"]} if quantile else {}
            yield _Image(
                desc=f"increase24h{name}{plane}",
                volume=volume.with_array(volume.array / np.float32(reference.baseline)),
                short=f"PREDICTED increase{words}, not acquired (csf24)",
                facts={
                    "Description": f"Increase of the T1-weighted signal from the baseline to 24 h{words}, "
                    f"in multiples of the signal of orbital fat. {_NOT_ACQUIRED}",
                    "Units": _FAT_UNITS,
                    **bound,
                },
            )


def _common_facts(target: BidsTarget, case: BatchCase, report: Json, course: Outcome) -> Json:
    facts: Json = {}
    baseline = "orig"  # a space of its own, where no file of a dataset can be named
    if isinstance(case, NiftiCase):
        facts["Sources"] = [target.source_of(side.path) for side in (case.baseline, case.delayed)]
        baseline = facts["Sources"][0]
    model = report["model"]
    return facts | {
        "SpatialReference": baseline,
        "SpatialReferenceDescription": "the baseline scan, on whose grid the image lies"
        if course.restored and len(course.restored.predicted) == 1
        else "the baseline scan; a slice through its space",
        "SkullStripped": False,
        "PredictedNotAcquired": True,
        "SimulatedTraining": model["simulated_training"],
        "SimulatedPatient": report["simulated_patient"] if isinstance(case, DicomCase) else "not known",
        "IntendedUse": report["intended_use"],
        "HoursAfterInjection": report["hours_after_injection"],
        "HoursAfterInjectionDescription": "of the scan that the prediction was made from",
        "Model": {key: model[key] for key in ("name", "version", "sha256")},
        "SignalReference": {
            "kind": report["normalisation"]["reference"],
            "baseline": round(course.reference.baseline, 6) if course.reference else None,
        },
        "Warnings": [warning["code"] for warning in report["warnings"]],
        "CaseId": report["case_id"],
        "GeneratedBy": {"Name": "csf24", "Version": report["software_version"]},
    }
