"""The index of a published result directory: what the conversion came to and which objects it made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from service.cases import CaseOutcome
from service.errors import PermanentError, Reason
from service.storage.used_series import UsedSeries

INDEX_NAME = "index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """A DICOM object to deliver; `path` is a Part 10 file inside the result directory."""

    sop_class_uid: str
    sop_instance_uid: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedPair:
    """What a conversion made: a prediction, or a refusal with its notice.

    Attributes
    ----------
    reasons
        Why it was refused, or warnings that belong to a prediction.
    objects
        Everything to deliver, in this order.
    used
        The series as they were read.
    """

    outcome: CaseOutcome
    reasons: tuple[Reason, ...]
    objects: tuple[ResultObject, ...]
    used: tuple[UsedSeries, ...] = ()


def write_index(directory: Path, pair: ConvertedPair) -> None:
    """Write the index into a result directory that is being built."""
    index = {
        "outcome": pair.outcome.value,
        "reasons": [asdict(reason) for reason in pair.reasons],
        "objects": [
            {
                "sop_class_uid": item.sop_class_uid,
                "sop_instance_uid": item.sop_instance_uid,
                "path": item.path.relative_to(directory).as_posix(),
            }
            for item in pair.objects
        ],
        "used": [asdict(item) for item in pair.used],
    }
    (directory / INDEX_NAME).write_text(json.dumps(index, indent=1), encoding="utf-8")


def read_index(directory: Path) -> ConvertedPair:
    """The index of a published result.

    Raises
    ------
    PermanentError
        The index is missing or unreadable; the case has to be converted anew.
    """
    try:
        index = json.loads((directory / INDEX_NAME).read_text(encoding="utf-8"))
        return ConvertedPair(
            outcome=CaseOutcome(index["outcome"]),
            reasons=tuple(Reason(**reason) for reason in index["reasons"]),
            objects=tuple(_objects(directory, index["objects"])),
            used=tuple(UsedSeries(**item) for item in index.get("used", ())),  # earlier versions wrote none
        )
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise PermanentError(f"the result index cannot be read ({type(fault).__name__}); retry the case") from fault


def _objects(directory: Path, items: Iterable[dict[str, str]]) -> Iterable[ResultObject]:
    for item in items:
        yield ResultObject(
            sop_class_uid=item["sop_class_uid"],
            sop_instance_uid=item["sop_instance_uid"],
            path=directory / item["path"],
        )
