"""Tables that people write: CSV with commas, or semicolons as some spreadsheet programs have it."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator
from itertools import zip_longest
from pathlib import Path

from service.errors import UsageError

_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")


def read_lines(path: Path, *, numbers: Collection[str] = ()) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns, in lower case, and of each further line its number and its cells; all without outer spaces.

    Parameters
    ----------
    numbers
        Columns that hold numbers. Where semicolons separate, as where people write 1,5, theirs come back as 1.5.

    Raises
    ------
    UsageError
        It cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            heading = file.readline()
            file.seek(0)
            separator = ";" if ";" in heading else ","
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise UsageError(f"{path}: cannot be read ({type(fault).__name__}); accepted: a CSV file in UTF-8") from fault
    columns = [name.lower() for name in lines[0][1]] if lines else []
    if separator == ";":
        lines = [(number, [*_with_points(columns, cells, numbers)]) for number, cells in lines]
    return columns, lines[1:]


def _with_points(columns: list[str], cells: list[str], numbers: Collection[str]) -> Iterator[str]:
    for name, cell in zip_longest(columns, cells):
        if cell is not None:  # a line may be too short, or too long
            yield _DECIMAL_COMMA.sub(r"\1.\2", cell) if name in numbers and _DECIMAL_COMMA.fullmatch(cell) else cell
