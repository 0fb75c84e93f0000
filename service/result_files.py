"""A finished conversion as files: the same layout for a batch's folder and for the service's results.

::

    predicted/0001.dcm ...   the objects of a prediction (or predicted.nii.gz, see `service.batch.nifti`)
    refusal/0001.dcm         the notice of a refused case, which has no predicted/
    preview.png              what was seen
    report.pdf               the page for print, if it is asked for
    browse.zip               the volumes to leaf through on the case page (the service's results only)
    report.json              what was found
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from service.cases import CaseOutcome
from service.conversion import Conversion
from service.report import Json

REPORT_NAME = "report.json"
PREVIEW_NAME = "preview.png"
PAGE_NAME = "report.pdf"
BROWSING_NAME = "browse.zip"
_PREDICTED, _REFUSAL = "predicted", "refusal"
RESULT_FOLDERS = (_PREDICTED, _REFUSAL, f".{_PREDICTED}.part", f".{_REFUSAL}.part")
"""Whatever folders a conversion, finished or broken off, may have left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenResult:
    """Paths of ``conversion.files``, in their order, and the report as it was written, with its ``outputs``."""

    paths: tuple[Path, ...]
    report: Json


def write_conversion(conversion: Conversion, directory: Path) -> tuple[Path, ...]:
    """Write everything below `directory`, the report last; the paths of ``conversion.files``, in their order."""
    return write_result(conversion, directory).paths


def write_result(conversion: Conversion, directory: Path, *, further: tuple[str, ...] = ()) -> WrittenResult:
    """Write everything below `directory`, the report last; a folder of objects appears whole or not at all.

    Parameters
    ----------
    further
        Names of outputs that the caller has already written there.
    """
    name = _PREDICTED if conversion.outcome is CaseOutcome.PREDICTED else _REFUSAL
    folder, draft = directory / name, directory / f".{name}.part"
    paths = tuple(folder / f"{number:04d}.dcm" for number in range(1, len(conversion.files) + 1))
    if conversion.files:
        draft.mkdir(parents=True, exist_ok=True)
        for file, path in zip(conversion.files, paths, strict=True):
            (draft / path.name).write_bytes(file.content)
        draft.rename(folder)
    outputs = [*further, *(path.relative_to(directory).as_posix() for path in paths)]
    if conversion.preview is not None:
        (directory / PREVIEW_NAME).write_bytes(conversion.preview)
        outputs.append(PREVIEW_NAME)
    if conversion.page is not None:
        (directory / PAGE_NAME).write_bytes(conversion.page)
        outputs.append(PAGE_NAME)
    report = {**conversion.report, "outputs": outputs}
    write_report(report, directory)
    return WrittenResult(paths=paths, report=report)


def write_report(report: Json, directory: Path) -> None:
    """Write report.json whole: its presence says that the case is finished."""
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / f".{REPORT_NAME}.part"
    draft.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(directory / REPORT_NAME)
