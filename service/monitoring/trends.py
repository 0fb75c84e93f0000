"""How predictions did against scans acquired later, by scanner and model, over time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from service.monitoring.snapshot import FollowUpView

FLUID = "fluid"
_WIDTH, _HEIGHT, _EDGE = 320.0, 90.0, 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One comparison in the drawing; `x`, `y` and `delayed_y` in its own units, from the upper left corner."""

    case_id: str
    x: float
    y: float
    delayed_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """All comparisons of one scanner and model.

    Attributes
    ----------
    views
        Judged ones that have fluid to compare, the oldest scan first.
    error, persistence_error, bias
        Medians over patients, in fluid; fat units.
    coverage
        Median share inside the predicted interval; None where no model had one.
    grades_alike, grades
        How often the reflux grade read from both images is the same, of how many.
    highest
        Of all errors drawn: the top of the drawing.
    simulated
        How many of the patients are simulated.
    """

    scanner: str
    model: str
    views: tuple[FollowUpView, ...]
    error: float
    persistence_error: float
    bias: float
    coverage: float | None
    grades_alike: int
    grades: int
    highest: float
    dots: tuple[Dot, ...]
    simulated: int
    width: float = _WIDTH
    height: float = _HEIGHT


def trends(views: Sequence[FollowUpView]) -> tuple[Trend, ...]:
    """By scanner, then model; those with most comparisons first."""
    grouped: dict[tuple[str, str], list[FollowUpView]] = defaultdict(list)
    for view in views:
        if view.state == "judged" and view.region(FLUID):
            grouped[view.scanner, view.model].append(view)
    found = [_trend(scanner, model, of_one) for (scanner, model), of_one in grouped.items()]
    return tuple(sorted(found, key=lambda trend: (-len(trend.views), trend.scanner, trend.model)))


def _trend(scanner: str, model: str, views: Sequence[FollowUpView]) -> Trend:
    ordered = sorted(views, key=lambda view: (view.wanted_at, view.case_id))
    regions = [region for view in ordered if (region := view.region(FLUID))]
    coverages = [view.coverage for view in ordered if view.coverage is not None]
    graded = [view for view in ordered if view.grade_predicted and view.grade_acquired]
    highest = max(max(region.error, region.persistence_error) for region in regions) or 1.0
    across = (_WIDTH - 2 * _EDGE) / max(1, len(regions) - 1)

    def height(value: float) -> float:
        return round(_HEIGHT - _EDGE - value / highest * (_HEIGHT - 2 * _EDGE), 1)

    return Trend(
        scanner=scanner,
        model=model,
        views=tuple(ordered),
        error=median(region.error for region in regions),
        persistence_error=median(region.persistence_error for region in regions),
        bias=median(region.bias for region in regions),
        coverage=median(coverages) if coverages else None,
        grades_alike=sum(view.grade_predicted == view.grade_acquired for view in graded),
        grades=len(graded),
        highest=highest,
        dots=tuple(
            Dot(
                case_id=view.case_id,
                x=round(_EDGE + number * across, 1),
                y=height(region.error),
                delayed_y=height(region.persistence_error),
            )
            for number, (view, region) in enumerate(zip(ordered, regions, strict=True))
        ),
        simulated=sum(view.simulated_patient for view in ordered),
    )
