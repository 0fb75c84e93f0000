"""Tables that people write: CSV with commas, or semicolons as some spreadsheet programs have it."""

from __future__ import annotations

import csv
from pathlib import Path

from service.errors import UsageError


def read_lines(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns, in lower case, and of each further line its number and its cells; all without outer spaces.

    Raises
    ------
    UsageError
        It cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            heading = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=";" if ";" in heading else ",", skipinitialspace=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise UsageError(f"{path}: cannot be read ({type(fault).__name__}); accepted: a CSV file in UTF-8") from fault
    return ([name.lower() for name in lines[0][1]] if lines else [], lines[1:])
