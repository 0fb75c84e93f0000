"""One visit from disk, by the service's own readers: DICOM in folders and archives, NIfTI, BIDS sessions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel

from service.batch.index import Index, build_index
from service.batch.nifti import is_nifti, read_nifti
from service.batch.sources import FileSource, find_files
from service.dicom.identity import SIMULATOR
from service.dicom.records import SeriesSummary
from service.dicom.selection import Faulty, NotOfInterest, assess_series
from service.dicom.summaries import summarise
from service.dicom.volumes import read_series_from_bytes
from service.errors import InputRefused, Reason
from service.imaging.volume import Volume

_MARK = b"SIMULATED"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadVisit:
    """A visit's image.

    Attributes
    ----------
    summary
        What the headers say; None for NIfTI.
    marked_simulated
        The file says that a simulator made it.
    """

    volume: Volume
    summary: SeriesSummary | None
    marked_simulated: bool


def read_visit(path: Path) -> ReadVisit:
    """The one T1 head series that `path` holds.

    Raises
    ------
    InputRefused
        There is none, there are several, or it cannot be read; whatever makes the service refuse a series.
    """
    nifti = _nifti_of(path)
    if nifti is not None:
        volume = read_nifti(FileSource(path=nifti))
        header = nibabel.load(nifti).header
        marked = _MARK in bytes(header["descrip"].tobytes()).upper()
        return ReadVisit(volume=volume, summary=None, marked_simulated=marked)
    return _read_dicom(build_index(find_files([path])))


def _nifti_of(path: Path) -> Path | None:
    if path.is_file():
        return path if is_nifti(path) else None
    folders = [path, path / "anat"] if (path / "anat").is_dir() else [path]
    images = sorted(f for folder in folders for f in folder.glob("*") if f.is_file() and is_nifti(f))
    t1 = [f for f in images if "_T1w." in f.name] or images
    if len(t1) > 1:
        raise _refused("NOT_ONE_SERIES", f"{len(t1)} NIfTI images lie there; name the one T1 image in the table.")
    return t1[0] if t1 else None


def _read_dicom(index: Index) -> ReadVisit:
    usable: list[tuple[str, SeriesSummary]] = []
    reasons: list[Reason] = []
    for uid, instances in index.series.items():
        summary = summarise([instance.header for instance in instances])
        verdict = assess_series(summary)
        if isinstance(verdict, Faulty):
            reasons += verdict.reasons
        elif isinstance(verdict, NotOfInterest):
            reasons.append(verdict.reason)
        else:
            usable.append((uid, summary))
    if len(usable) > 1:
        raise _refused("NOT_ONE_SERIES", f"{len(usable)} T1 head series lie there; put the one to use in a folder.")
    if not usable:
        unusable = [Reason(code=file.code, message=file.message) for file in index.unusable]
        found = reasons or unusable or [Reason(code="NOT_DICOM", message="There is neither DICOM nor NIfTI.")]
        raise InputRefused(*found)
    uid, summary = usable[0]
    if index.conflicts.get(uid):
        raise _refused(
            "CONFLICTING_INSTANCES", "Instances lie there twice with different content; remove the wrong ones."
        )
    contents = [instance.source.read() for instance in index.series[uid]]
    series = read_series_from_bytes(contents, summary)
    said = (summary.header.series_description, str(series.template.get("ImageComments", "")))
    marked = summary.header.manufacturer == SIMULATOR or any("SIMULATED" in text.upper() for text in said)
    return ReadVisit(volume=series.volume, summary=summary, marked_simulated=marked)


def _refused(code: str, message: str) -> InputRefused:
    return InputRefused(Reason(code=code, message=message))
