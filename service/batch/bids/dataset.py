"""What describes the whole dataset: made anew from the reports of its cases, whichever run they are of."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from service.batch.bids.case_files import PLANES, write_json, write_text
from service.batch.bids.labels import BidsLabels
from service.batch.bids.target import DESCRIPTION_NAME, GENERATOR, REPORT_SUFFIX, BidsTarget, case_reports
from service.cases import CaseOutcome
from service.report import Json

_BIDS_VERSION = "1.10.0"
_README_NAME = "README"
_UNFINISHED, _NOTHING = "unfinished", "n/a"
_COLUMNS: dict[str, Json] = {
    "outcome": {
        "Description": "What became of the case; only predicted ones have images.",
        "Levels": {
            CaseOutcome.PREDICTED.value: "the 24 h image was predicted",
            CaseOutcome.REFUSED.value: "a check refused the input; the reasons say which",
            CaseOutcome.FAILED.value: "a fault of the software or the machine; the reasons say which",
            _UNFINISHED: "the run was broken off during this case",
        },
    },
    "reasons": {"Description": "Codes of what refused or failed it; in words in the case's report."},
    "warnings": {"Description": "Codes of checks that failed without refusing it."},
    "hours_after_injection": {"Description": "Of the scan that was predicted from.", "Units": "hour"},
    "model": {"Description": "Name and version."},
    "simulated_training": {
        "Description": "Whether the model was trained on SIMULATED tracer.",
        "Levels": {"true": "simulated", "false": "acquired"},
    },
    "reflux_index": {"Description": "Derived from the predicted image; validated by no rater."},
    "reflux_grade_24h": {"Description": "Derived from the predicted image; validated by no rater."},
    "case_id": {"Description": "Name of the case in the table, else a digest of its series' UIDs."},
}
_DESCRIPTIONS = {
    "predicted24h": "PREDICTED T1-weighted image at 24 h, NOT ACQUIRED, in the baseline's units",
    "increase24h": "PREDICTED increase from the baseline to 24 h, in multiples of the signal of orbital fat",
    "increase24hLower": "its lower bound by the model's interval",
    "increase24hUpper": "its upper bound by the model's interval",
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Model:
    name: str
    version: str
    sha256: str
    simulated_training: bool


def describe_dataset(target: BidsTarget, software_version: str) -> None:
    """Write description, README and tables; the cases' own files are left alone.

    Raises
    ------
    UsageError
        A case's report cannot be read.
    OSError
        The folder cannot be written.
    """
    target.root.mkdir(parents=True, exist_ok=True)
    found = list(case_reports(target.root))
    models = sorted(
        {
            _Model(**{key: report["model"][key] for key in ("name", "version", "sha256", "simulated_training")})
            for _, report in found
            if report["model"]["name"] is not None
        }
    )
    write_json(_description(target, software_version, models), target.root / DESCRIPTION_NAME)
    simulated = any(model.simulated_training for model in models)
    write_text(_readme().render(simulated=simulated, models=models), target.root / _README_NAME)
    write_text(f"*{REPORT_SUFFIX}\n", target.root / ".bidsignore")  # BIDS has no name for them yet
    _write_tables(target, found)
    slices = [(f"{desc}{plane}", f"{words}; {plane.lower()} slice") for plane in PLANES
              for desc, words in _DESCRIPTIONS.items()]  # fmt: skip
    lines = [(f"desc-{desc}", words) for desc, words in (*_DESCRIPTIONS.items(), *slices)]
    write_text(_tsv(("desc_id", "description"), lines), target.root / "descriptions.tsv")


def _description(target: BidsTarget, software_version: str, models: Sequence[_Model]) -> Json:
    made: Json = {
        "Name": "Predicted 24 h T1-weighted images after intrathecal gadobutrol: PREDICTED, NOT ACQUIRED",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": GENERATOR,
                "Version": software_version,
                "Description": "Registration, normalisation by orbital fat, prediction. "
                "Research use, not for diagnosis.",
            },
            *(
                {
                    "Name": model.name,
                    "Version": model.version,
                    "Description": f"Model, ONNX file with SHA-256 {model.sha256}"
                    + (", trained on SIMULATED tracer." if model.simulated_training else "."),
                }
                for model in models
            ),
        ],
    }
    if target.links:
        made["SourceDatasets"] = [{"URL": link} for link in target.links.values()]
        made["DatasetLinks"] = dict(target.links)
    return made


@cache
def _readme() -> Template:
    environment = Environment(
        loader=PackageLoader("service.batch"),
        autoescape=False,  # noqa: S701 - plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("bids_readme.txt")


def _write_tables(target: BidsTarget, found: Iterable[tuple[BidsLabels, Json]]) -> None:
    """participants.tsv, and of the sessions of a subject a table of its own, as BIDS has it."""
    by_subject: defaultdict[str, dict[str, Json]] = defaultdict(dict)
    for labels, report in found:
        by_subject[labels.subject][labels.session] = report
    subjects = sorted({path.name.removeprefix("sub-") for path in target.root.glob("sub-*") if path.is_dir()})
    lines: list[Sequence[str]] = []
    for subject in subjects:
        cases = by_subject.get(subject, {})
        several = [str(len(cases)), *[_NOTHING] * len(_COLUMNS)]
        only = [str(len(cases)), *_cells(next(iter(cases.values()), None))]
        lines.append([f"sub-{subject}", *(several if len(cases) > 1 else only)])
        if any(cases):
            _write_sessions(target, subject, cases)
    write_text(_tsv(("participant_id", "cases", *_COLUMNS), lines), target.root / "participants.tsv")
    counted = {"Description": "How many; of several, the other columns are in the subject's sessions.tsv."}
    write_json({"cases": counted, **_COLUMNS}, target.root / "participants.json")
    if any(session for cases in by_subject.values() for session in cases):
        write_json(_COLUMNS, target.root / "sessions.json")


def _write_sessions(target: BidsTarget, subject: str, sessions: Mapping[str, Json]) -> None:
    lines = [[f"ses-{session}", *_cells(report)] for session, report in sorted(sessions.items())]
    path = target.root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
    write_text(_tsv(("session_id", *_COLUMNS), lines), path)


def _cells(report: Json | None) -> list[str]:
    """In the order of `_COLUMNS`."""
    if report is None:
        return [_UNFINISHED, *[_NOTHING] * (len(_COLUMNS) - 1)]
    model, reflux = report["model"], report["reflux"]
    values: dict[str, object] = {
        "outcome": report["outcome"],
        "reasons": " ".join(reason["code"] for reason in report["reasons"]),
        "warnings": " ".join(warning["code"] for warning in report["warnings"]),
        "hours_after_injection": report["hours_after_injection"],
        "model": f"{model['name']} {model['version']}" if model["name"] else None,
        "simulated_training": None if model["simulated_training"] is None else str(model["simulated_training"]).lower(),
        "reflux_index": reflux["index"],
        "reflux_grade_24h": reflux["grade_24h"],
        "case_id": report["case_id"],
    }
    return [_NOTHING if values[name] in (None, "") else str(values[name]) for name in _COLUMNS]


def _tsv(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    text = StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(lines)
    return text.getvalue()
