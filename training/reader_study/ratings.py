"""The readers' forms, checked against the key; every fault is listed, with file and line, before any figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import PermanentError
from training.reader_study.allocation import Presentation
from training.reader_study.key import Key
from training.reader_study.scale import COLUMNS, GRADES_AT_24_H, LARGEST_PERCENT, LOOKS, NOT_GRADABLE, QUALITY

_NEEDED = ("item", "grade")
_DELIMITERS = ",;\t"
_MOST_SHOWN = 40


class RatingsError(PermanentError):
    """The ratings cannot be used; ``problems`` lists every fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = list(self.problems[:_MOST_SHOWN])
        if len(self.problems) > _MOST_SHOWN:
            shown.append(f"... and {len(self.problems) - _MOST_SHOWN} more")
        super().__init__("the ratings cannot be used:\n  - " + "\n  - ".join(shown))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What a reader said of one item.

    Attributes
    ----------
    grade
        None: not gradable.
    quality, percent, looks
        None where the field was left empty.
    """

    shown: Presentation
    grade: int | None
    quality: int | None
    percent: float | None
    looks: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    where: str
    fields: dict[str, str]


def read_ratings(files: Sequence[Path], key: Key, *, allow_missing: bool) -> tuple[Rating, ...]:
    """Every rating of the study, in the order of the key.

    Parameters
    ----------
    allow_missing
        Go on although items have no answer; they are counted as missing, not as not gradable.

    Raises
    ------
    RatingsError
        A file cannot be read, a column is missing or unknown, an item is unknown, on another reader's form, or rated
        twice, an answer is off its scale, or there is none.
    """
    problems: list[str] = []
    known = {item.item: item for item in key.items}
    found: dict[str, tuple[str, Rating]] = {}
    unusable: set[str] = set()
    for file in files:
        for line in _lines(file, problems):
            item = known.get(line.fields["item"].upper())
            if item is None:
                problems.append(f"{line.where}: item {line.fields['item']!r} is not of study {key.study}; use its form")
                continue
            wrong = list(_contradictions(line, item, key))
            rating = _rating(line, item, key, wrong)
            problems += wrong
            if wrong:
                unusable.add(item.item)
            elif rating is not None and item.item in found:
                problems.append(f"{line.where}: item {item.item} is rated already in {found[item.item][0]}; keep one")
            elif rating is not None:
                found[item.item] = (line.where, rating)
    if not allow_missing:
        problems += [
            f"item {item.item} of reader {item.reader}, installment {item.installment}, position {item.position} has "
            f"no grade; give one, or {NOT_GRADABLE} if it cannot be graded (--allow-missing goes on without)"
            for item in key.items
            if item.item not in found and item.item not in unusable
        ]
    if problems:
        raise RatingsError(problems)
    return tuple(found[item.item][1] for item in key.items if item.item in found)


def find_forms(places: Sequence[Path]) -> list[Path]:
    """The files given, and every ratings*.csv in the folders given.

    Raises
    ------
    RatingsError
        A folder has none.
    """
    files: list[Path] = []
    for place in places:
        inside = sorted(place.rglob("ratings*.csv")) if place.is_dir() else [place]
        if not inside:
            raise RatingsError([f"{place} has no ratings*.csv"])
        files += [file for file in inside if file not in files]
    return files


def _lines(file: Path, problems: list[str]) -> Iterator[_Line]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        problems.append(f"{file} is not UTF-8 text; save it as 'CSV UTF-8'")
        return
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip().lower() for name in next(rows, [])]
    faults = [f"has no column {name!r}" for name in _NEEDED if name not in header]
    faults += [f"has an unknown column {name!r}" for name in header if name and name not in COLUMNS]
    faults += [f"has column {name!r} twice" for name in COLUMNS if header.count(name) > 1]
    if faults:
        problems += [f"{file}: {fault}; the columns are {', '.join(COLUMNS)}" for fault in faults]
        return
    for row in rows:
        values = [value.strip() for value in row]
        if not any(values):
            continue
        where = f"{file}, line {rows.line_num}"
        if len(values) > len(header) and any(values[len(header) :]):
            problems.append(f"{where}: more fields than columns; put a comment with {delimiter!r} in quotes")
            continue
        values += [""] * (len(header) - len(values))
        yield _Line(where=where, fields=dict(zip(header, values, strict=False)))


def _contradictions(line: _Line, item: Presentation, key: Key) -> Iterator[str]:
    """The form's own statements that the key has otherwise."""
    stated = {
        "study": key.study,
        "reader": str(item.reader),
        "installment": str(item.installment),
        "position": str(item.position),
    }
    for name, value in stated.items():
        written = line.fields.get(name, "")
        if written and written.removesuffix(".0") != value:
            yield f"{line.where}: item {item.item} has {name} {value} in the key, {written!r} here; was a form altered?"


def _rating(line: _Line, item: Presentation, key: Key, wrong: list[str]) -> Rating | None:
    """None where nothing was answered."""
    fields = line.fields
    grade = fields["grade"].upper()
    others = [name for name in ("quality", "percent", "looks") if fields.get(name)]
    if not grade:
        if others:
            wrong.append(f"{line.where}: item {item.item} has {', '.join(others)} but no grade")
        return None
    number = _whole(grade)
    if grade != NOT_GRADABLE and number not in key.grades:
        hint = "; 1 and 2 need images over time" if number in (1, 2) and key.grades == GRADES_AT_24_H else ""
        choices = ", ".join(str(g) for g in key.grades)
        wrong.append(f"{line.where}: grade {fields['grade']!r} is not one of {choices} or {NOT_GRADABLE}{hint}")
    return Rating(
        shown=item,
        grade=None if grade == NOT_GRADABLE else number,
        quality=_quality(line, wrong),
        percent=_percent(line, wrong),
        looks=_looks(line, wrong),
    )


def _whole(text: str) -> int | None:
    """Spreadsheets write 3 as 3.0 or 3,0."""
    number = _number(text)
    return int(number) if number is not None and number.is_integer() else None


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _quality(line: _Line, wrong: list[str]) -> int | None:
    text = line.fields.get("quality", "")
    number = _whole(text)
    if text and number not in QUALITY:
        wrong.append(f"{line.where}: quality {text!r} is not one of {', '.join(map(str, QUALITY))}; or leave it empty")
    return number if text else None


def _percent(line: _Line, wrong: list[str]) -> float | None:
    text = line.fields.get("percent", "").removesuffix("%").strip()
    number = _number(text)
    if text and (number is None or not 0 <= number <= LARGEST_PERCENT):
        wrong.append(f"{line.where}: percent {text!r} is not between 0 and {LARGEST_PERCENT:g}; or leave it empty")
    return number if text else None


def _looks(line: _Line, wrong: list[str]) -> str | None:
    text = line.fields.get("looks", "").lower()
    matching = [word for word in LOOKS if text and word.startswith(text)]
    if text and not matching:
        wrong.append(f"{line.where}: looks {text!r} is not one of {', '.join(LOOKS)}; or leave it empty")
    return matching[0] if matching else None
