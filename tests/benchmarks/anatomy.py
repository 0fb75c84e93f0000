"""What find_anatomy makes of every head at hand, beside other tools' outlines where there are any, and a gallery of it.

``CSF24_EXTRA_HEADS`` names a folder of further ``.nii.gz`` heads; objects in its ``bad/`` should be refused, and
``ref/volumes.json`` may hold other tools' volumes: ``{name: {"head": "x.nii.gz", "tool": ..., "lateral_ventricles_mL":
...}}``. The pictures go to ``bench/gallery``, for the eye to judge.
"""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

from service.errors import InputRefused
from service.imaging.anatomy import find_anatomy
from service.imaging.atlas_pose import NoPoseError, find_pose
from service.imaging.head_mask import WORKING_SPACING_MM
from service.imaging.quality import QualityReport
from service.imaging.quality_scan import check_anatomy, check_contrast, check_volume
from service.imaging.recipe_types import Anatomy
from service.imaging.resampling import antialiased, resample
from service.imaging.volume import Volume
from tests.builders.gate_subjects import candidates
from training.simulate.templates import read_nifti

mpl.use("Agg")
import matplotlib.pyplot as plt

GALLERY = Path("bench/gallery")


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    anatomy: Anatomy | None
    refused: str
    seconds: float


def main() -> None:
    extra = Path(os.environ["CSF24_EXTRA_HEADS"]) if os.environ.get("CSF24_EXTRA_HEADS") else None
    GALLERY.mkdir(parents=True, exist_ok=True)
    reference = _references(extra)
    print("Anatomy of every head at hand; eyes: which orbits were found with fat\n")
    columns = f"{'likeness':>8}{'CPU s':>7}{'brain mL':>10}{'ventr. mL':>10}{'other tool':>11}{'ratio':>7}"
    print(f"{'head':24}{columns}  eyes  refused by")
    rows, ratios = [], []
    for name, volume in _heads(extra):
        row = _row(name, volume)
        rows.append(row)
        brain = row.anatomy.brain.sum() * 8e-3 if row.anatomy else float("nan")
        ventricles = row.anatomy.lateral_ventricles.sum() * 8e-3 if row.anatomy else float("nan")
        known = reference.get(name, float("nan"))
        if row.anatomy and np.isfinite(known):
            ratios.append(ventricles / known)
        print(
            f"{name[:23]:24}{_likeness(volume):8.2f}{row.seconds:7.1f}{brain:10.0f}"
            f"{ventricles:10.1f}{known:11.1f}{ventricles / known:7.2f}  {_eyes(row.anatomy):4}  {row.refused}",
            flush=True,
        )
    if ratios:
        low, middle, high = np.percentile(ratios, [5, 50, 95])
        print(
            f"\nventricles over the other tool's, {len(ratios)} heads: median {middle:.2f}, 5-95 % {low:.2f}-{high:.2f}"
        )
    _page(rows)
    print(f"pictures: {GALLERY / 'index.html'}")
    _objects(extra)


def _objects(extra: Path | None) -> None:
    paths = sorted((extra / "bad").glob("*.nii.gz")) if extra else []
    if not paths:
        return
    codes = {path.name: _verdict(path) for path in paths}
    passed = [name for name, code in codes.items() if not code]
    print(f"\nobjects that are no T1 head: {len(codes) - len(passed)} of {len(codes)} refused; not: {passed or 'none'}")


def _verdict(path: Path) -> str:
    try:
        return _row(path.name, _read(path), draw=False).refused
    except (ValueError, OSError) as fault:  # what no volume can be made of is no volume for the service either
        return type(fault).__name__


def _row(name: str, volume: Volume, *, draw: bool = True) -> Row:
    report = check_volume(volume)
    if report.rejections:
        return Row(name=name, anatomy=None, refused=_codes(report), seconds=0.0)
    start = time.process_time()
    try:
        anatomy = find_anatomy(volume)
    except InputRefused as refusal:
        return Row(name=name, anatomy=None, refused=refusal.reasons[0].code, seconds=time.process_time() - start)
    seconds = time.process_time() - start
    seen = resample(volume, anatomy.grid, antialias=True).array
    refused = _codes(check_anatomy(volume, anatomy) + check_contrast(seen, anatomy))
    if anatomy.left_orbit is None and anatomy.right_orbit is None:
        refused = f"{refused} FAT_NOT_FOUND".strip()
    if draw:
        _draw(name, seen, anatomy)
    return Row(name=name, anatomy=anatomy, refused=refused, seconds=seconds)


def _codes(report: QualityReport) -> str:
    return " ".join(sorted({reason.code for reason in report.rejections}))


def _likeness(volume: Volume) -> float:
    try:
        return find_pose(antialiased(volume.along_patient_axes(), WORKING_SPACING_MM)).likeness
    except NoPoseError:
        return float("nan")


def _heads(extra: Path | None) -> Iterator[tuple[str, Volume]]:
    for candidate in candidates(None):
        yield candidate.name, candidate.make().scan
    for path in sorted(extra.glob("*.nii.gz")) if extra else ():
        yield path.name.removesuffix(".nii.gz"), _read(path)


def _read(path: Path) -> Volume:
    volume = read_nifti(path)
    return volume.with_array(np.clip(np.nan_to_num(volume.array), 0, None))


def _references(extra: Path | None) -> dict[str, float]:
    path = extra / "ref" / "volumes.json" if extra else None
    if path is None or not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    entries = [entry for entry in stored.values() if isinstance(entry, dict)]
    return {str(e["head"]).removesuffix(".nii.gz"): float(e["lateral_ventricles_mL"]) for e in entries}


def _eyes(anatomy: Anatomy | None) -> str:
    if anatomy is None:
        return "-"
    return ("L" if anatomy.left_orbit else "-") + ("R" if anatomy.right_orbit else "-")


def _draw(name: str, seen: np.ndarray, anatomy: Anatomy) -> None:
    """Sagittal, axial, coronal and through the eyes: brain yellow, ventricles cyan, head green, fat magenta."""
    grid = anatomy.grid
    middle, level = np.rint(grid.to_index([anatomy.brain_centre, anatomy.axial.origin])).astype(int)
    orbits = [orbit for orbit in (anatomy.left_orbit, anatomy.right_orbit) if orbit is not None]
    eyes = grid.to_index([orbit.globe_centre for orbit in orbits])[:, 2].mean() if orbits else middle[2] - 22
    height = int(np.clip(np.rint(eyes), 0, grid.shape[0] - 1))
    sections = [np.s_[:, :, middle[0]], np.s_[level[2]], np.s_[:, middle[1]], np.s_[height]]
    figure, axes = plt.subplots(1, 4, figsize=(14, 4), dpi=60)
    brightest = 1.5 * float(np.percentile(seen[anatomy.brain], 95))
    for column, section in enumerate(sections):
        axis = axes[column]
        axis.imshow(seen[section], cmap="gray", vmin=0, vmax=brightest, origin="lower" if column in (0, 2) else "upper")
        for mask, colour in ((anatomy.head, "lime"), (anatomy.brain, "yellow"), (anatomy.lateral_ventricles, "cyan")):
            if mask[section].any() and not mask[section].all():
                axis.contour(mask[section], [0.5], colors=colour, linewidths=0.7)
        axis.axis("off")
    for orbit in orbits:
        globe, fat = grid.to_index(orbit.globe_centre[None])[0], grid.to_index(orbit.fat_points)
        near = np.abs(fat[:, 2] - height) < 1.5
        axes[3].plot(globe[0], globe[1], "r+")
        axes[3].plot(fat[near, 0], fat[near, 1], "m.", markersize=1.5)
    figure.suptitle(name)
    figure.tight_layout()
    figure.savefig(GALLERY / f"{name.replace(' ', '_')}.png")
    plt.close(figure)


def _page(rows: list[Row]) -> None:
    parts = ["<!doctype html><meta charset='utf-8'><title>Anatomy found</title><h1>Anatomy found</h1>"]
    for row in rows:
        name = html.escape(row.name)
        parts.append(f"<h2>{name}{' - refused: ' + html.escape(row.refused) if row.refused else ''}</h2>")
        if row.anatomy is not None:
            parts.append(f"<img src='{name.replace(' ', '_')}.png' alt='sections through {name} with outlines'>")
    (GALLERY / "index.html").write_text("\n".join(parts) + "\n", encoding="utf-8")
