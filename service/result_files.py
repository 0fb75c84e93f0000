"""A finished conversion as files: the same layout for a batch's folder and for the service's results.

::

    predicted/0001.dcm ...   the objects of a prediction (or predicted.nii.gz, see `service.batch.nifti`)
    refusal/0001.dcm         the notice of a refused case, which has no predicted/
    preview.png              what was seen
    report.json              what was found
"""

from __future__ import annotations

import json
from pathlib import Path

from service.cases import CaseOutcome
from service.conversion import Conversion
from service.report import Json

REPORT_NAME = "report.json"
PREVIEW_NAME = "preview.png"


def write_conversion(conversion: Conversion, directory: Path, *, further: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Write everything below `directory`, the report last; the paths of ``conversion.files``, in their order.

    Parameters
    ----------
    further
        Names of outputs that the caller has already written there.
    """
    folder = directory / ("predicted" if conversion.outcome is CaseOutcome.PREDICTED else "refusal")
    paths = []
    if conversion.files:
        folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(conversion.files, start=1):
        path = folder / f"{number:04d}.dcm"
        path.write_bytes(file.content)
        paths.append(path)
    outputs = [*further, *(path.relative_to(directory).as_posix() for path in paths)]
    if conversion.preview is not None:
        (directory / PREVIEW_NAME).write_bytes(conversion.preview)
        outputs.append(PREVIEW_NAME)
    write_report({**conversion.report, "outputs": outputs}, directory)
    return tuple(paths)


def write_report(report: Json, directory: Path) -> None:
    """Write report.json whole: its presence says that the case is finished."""
    directory.mkdir(parents=True, exist_ok=True)
    draft = directory / f".{REPORT_NAME}.part"
    draft.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(directory / REPORT_NAME)
