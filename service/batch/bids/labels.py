"""Subject and session of every case: those of a BIDS dataset that it comes from, else its name's letters and digits.

Nothing is taken from DICOM headers, so that no patient's name or ID gets into the name of a file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.batch.cases import BatchCase, notes_of
from service.errors import UsageError

_LABEL = "[0-9A-Za-z+]+"  # BIDS schema, objects.formats.label
_NAME = re.compile(rf"sub-({_LABEL})(?:_ses-({_LABEL}))?")
_SUBJECT, _SESSION = re.compile(rf"sub-({_LABEL})"), re.compile(rf"ses-({_LABEL})")
_NO_LABEL = re.compile("[^0-9A-Za-z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BidsLabels:
    """Entities of a case; `session` is empty where there is none."""

    subject: str
    session: str = ""

    @property
    def stem(self) -> str:
        """Of its files' names: ``sub-01`` or ``sub-01_ses-pre``."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def folder(self) -> Path:
        """Relative to the dataset: ``sub-01`` or ``sub-01/ses-pre``."""
        return Path(f"sub-{self.subject}", *([f"ses-{self.session}"] if self.session else []))


def parse_stem(stem: str) -> BidsLabels | None:
    """The labels of ``sub-01`` or ``sub-01_ses-pre``; None for all else."""
    found = _NAME.fullmatch(stem)
    return BidsLabels(subject=found[1], session=found[2] or "") if found else None


def labels_in(place: str | Path) -> tuple[Path, BidsLabels] | None:
    """The BIDS dataset that a path leads into, by its innermost folder ``sub-<label>``, and the labels there."""
    parts = Path(place).parts
    for number in reversed(range(len(parts))):
        subject = _SUBJECT.fullmatch(parts[number])
        if subject:
            session = _SESSION.fullmatch(parts[number + 1]) if number + 1 < len(parts) else None
            return Path(*parts[:number]), BidsLabels(subject=subject[1], session=session[1] if session else "")
    return None


def label_cases(cases: Sequence[BatchCase], earlier: Mapping[str, BidsLabels]) -> dict[str, BidsLabels]:
    """Labels by case id.

    A case that is called ``sub-<label>`` or ``sub-<label>_ses-<label>`` has those labels. Else, a pair whose places lie
    in folders ``sub-<label>[/ses-<label>]`` keeps the labels of its baseline, whose grid the prediction has. Else the
    letters and digits of its case id are the subject.

    Parameters
    ----------
    earlier
        What the dataset holds already, by case id.

    Raises
    ------
    UsageError
        Two cases would share a place, a case of an earlier run would move, or a pair is of two subjects.
    """
    problems: list[str] = []
    found = {case.case_id: _labels(case, problems) for case in cases}
    problems += _moved(found, earlier)
    problems += _shared({**earlier, **found})
    if problems:
        raise UsageError(
            "the cases cannot be told apart in a BIDS dataset:\n  - "
            + "\n  - ".join(problems)
            + "\naccepted: for each case another name in the column 'case' of the table, where sub-<label> and "
            "sub-<label>_ses-<label> are taken as they are; or another folder (--out)"
        )
    return found


def _labels(case: BatchCase, problems: list[str]) -> BidsLabels:
    named = parse_stem(case.case_id)
    if named is not None:
        return named
    baseline, delayed, _ = notes_of(case)
    places = [labels_in(note.place) for note in (baseline, delayed) if note is not None]
    subjects = [place[1] for place in places if place is not None]
    if len(subjects) == 2:  # a pair; what is less may be anything that lies in a subject's folder
        first, second = subjects
        if first.subject != second.subject:
            problems.append(
                f"{case.case_id}: its baseline lies in a folder of sub-{first.subject}, "
                f"its delayed scan in one of sub-{second.subject}"
            )
        return first
    return BidsLabels(subject=_NO_LABEL.sub("", case.case_id.removeprefix("sub-")))


def _moved(found: Mapping[str, BidsLabels], earlier: Mapping[str, BidsLabels]) -> Iterator[str]:
    for case_id, labels in found.items():
        before = earlier.get(case_id, labels)
        if before != labels:
            yield f"{case_id}: is {before.stem} in the dataset from an earlier run, and would now be {labels.stem}"


def _shared(found: Mapping[str, BidsLabels]) -> Iterator[str]:
    """Cases of one place, as file systems see it that do not tell A from a; BIDS forbids to rely on the difference."""
    by_place: defaultdict[str, list[str]] = defaultdict(list)
    spelled: defaultdict[str, set[str]] = defaultdict(set)
    sessions: defaultdict[str, set[bool]] = defaultdict(set)
    for case_id, labels in sorted(found.items()):
        by_place[labels.stem.lower()].append(case_id)
        spelled[labels.subject.lower()].add(labels.subject)
        sessions[labels.subject].add(bool(labels.session))
    for place, cases in by_place.items():
        if len(cases) > 1:
            yield f"{', '.join(cases)}: would all be {found[cases[0]].stem if cases else place}"
    for subjects in spelled.values():
        if len(subjects) > 1:
            yield f"{' and '.join(f'sub-{name}' for name in sorted(subjects))}: differ by capital letters only"
    for subject, kinds in sessions.items():
        if len(kinds) > 1:
            yield f"sub-{subject}: would have a case with a session and one without"
