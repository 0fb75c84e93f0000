"""A cohort of one's own as a source of examples: windows, header checks, then all that the service checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from service.dicom.policy import HoursWindow, PairingPolicy
from service.dicom.selection import check_pair
from service.errors import InputRefused, Reason, UsageError
from service.imaging.volume import Volume
from training.examples import Example
from training.own_data.reading import ReadVisit, read_visit
from training.own_data.table import VisitRow, read_cohort_table
from training.prepare import align_as_served, make_example
from training.prepared import PARTS
from training.settings import TrainingRecipe
from training.split import split_patients
from training.windows import BASELINE, WindowSet, load_windows

_SPLIT_SEED = 24


class OwnSource:
    """The patients of a table; see `training.prepared.Source` and `training.own_data.table`."""

    def __init__(self, table: Path, recipe: TrainingRecipe) -> None:
        self._windows = load_windows(recipe.visits.windows)
        rows = read_cohort_table(table, self._windows)
        self._rows: dict[str, list[VisitRow]] = {}
        self.kept: dict[str, tuple[Reason, ...]] = {}  # what is refused is never kept
        for row in rows:
            self._rows.setdefault(row.patient, []).append(row)
        self.simulated = any(row.simulated for row in rows)
        self.split: Mapping[str, Sequence[str]] = self._split()
        self.facts: Mapping[str, Any] = {
            "bent": 0,
            "commands": [],
            "option": f"--manifest {table}",
            "covariates": {name: dict(visits[0].covariates) for name, visits in self._rows.items()},
        }

    def examples(self, name: str, part: str, recipe: TrainingRecipe) -> Iterator[Example]:
        """All as the service sees them; further variants for training have errors of alignment put in."""
        visits = self._read(name, recipe)
        scans, anatomy = align_as_served(visits, recipe.preprocessing, recipe.visits)
        number = list(self._rows).index(name)
        for variant in range(recipe.training.variants if part == "train" else 1):
            rng = np.random.default_rng([recipe.training.seed, number, variant]) if variant else None
            yield make_example(scans, anatomy, recipe.preprocessing, recipe.visits, rng=rng)

    def _split(self) -> dict[str, list[str]]:
        stated = {name: visits[0].split for name, visits in self._rows.items()}
        if any(stated.values()):
            return {part: [n for n, p in stated.items() if p == part] for part in PARTS}
        return split_patients(sorted(self._rows), _SPLIT_SEED)

    def _read(self, name: str, recipe: TrainingRecipe) -> dict[str, Volume]:
        wanted = {BASELINE, recipe.visits.target, *map(recipe.visits.window_of, recipe.preprocessing.time_points)}
        placed: dict[str, tuple[VisitRow, ReadVisit]] = {}
        for row in self._rows[name]:
            known = _stated_window(row, self._windows)
            if known is not None and known not in wanted:
                continue
            try:
                visit = read_visit(row.path)
            except OSError as fault:
                text = f"{row.path.name} cannot be read ({fault.strerror or fault})."
                raise InputRefused(Reason(code="FILE_UNREADABLE", message=text)) from fault
            if visit.marked_simulated and not self.simulated:  # a mistake that nothing later would show
                raise UsageError(
                    f"line {row.line}: {row.path} says that it is simulated, the table says that nothing is; "
                    "write `yes` in the column simulated of what is"
                )
            window = known if known is not None else _window_by_clock(row, visit, self._windows)
            if window in placed:
                text = f"Two visits lie in the window {window}; keep one of them in the table."
                raise InputRefused(Reason(code="VISIT_AMBIGUOUS", message=text))
            if window in wanted:
                placed[window] = (row, visit)
        _check_headers(placed, self._windows)
        return {window: visit.volume for window, (_, visit) in placed.items()}


def _stated_window(row: VisitRow, windows: WindowSet) -> str | None:
    """By the table alone; empty for a time in no window, None when the image's own time is needed."""
    if row.visit:
        return row.visit
    return None if row.hours is None else windows.of(row.hours) or ""


def _window_by_clock(row: VisitRow, visit: ReadVisit, windows: WindowSet) -> str:
    acquired = visit.summary.acquired_at if visit.summary else None
    if acquired is None or row.injection_time is None:
        text = f"{row.path.name} does not state when it was acquired; give `hours` or `visit` in the table."
        raise InputRefused(Reason(code="ACQUISITION_TIME_MISSING", message=text))
    hours = (acquired.replace(tzinfo=None) - row.injection_time.replace(tzinfo=None)) / timedelta(hours=1)
    return windows.of(hours) or ""


def _check_headers(placed: Mapping[str, tuple[VisitRow, ReadVisit]], windows: WindowSet) -> None:
    """Every later DICOM visit against the baseline: same patient, alike acquired, in order, in its window."""
    baseline = placed.get(BASELINE)
    if baseline is None or baseline[1].summary is None:
        return
    ends = {window.name: window for window in windows.windows}
    for name, (row, visit) in placed.items():
        if name == BASELINE or visit.summary is None:
            continue
        window = HoursWindow(name=name, earliest_h=ends[name].from_h, latest_h=ends[name].until_h)
        injection = row.injection_time or baseline[0].injection_time
        if injection is None and row.hours is not None and visit.summary.acquired_at is not None:
            injection = visit.summary.acquired_at - timedelta(hours=row.hours)
        found = check_pair(
            baseline[1].summary,
            visit.summary,
            injection_time=injection,
            policy=replace(PairingPolicy(), delayed=window),
        )
        # without a time of injection the table's word for the visit is all there is
        reasons = [r for r in found.rejections if injection is not None or r.code != "INJECTION_TIME_MISSING"]
        if reasons:
            raise InputRefused(*reasons)
