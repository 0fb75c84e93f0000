"""What there is to see of a case, and the picture that is shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import Reason
from service.inference.manifest import ModelManifest
from service.pictures.preview import PreviewSource, render_preview
from service.pipeline import Outcome, VolumePair

_LIMITS_OF_USE = "Research use, not for diagnosis. The 24 h image is predicted by a model; it was not acquired."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """The volumes that are looked at, the preview (PNG), and the page for print (PDF), as far as there are any."""

    source: PreviewSource | None = None
    preview: bytes | None = None
    page: bytes | None = None


NOTHING_SHOWN = Shown()


def pictured(pair: VolumePair, course: Outcome | None, reasons: Sequence[Reason]) -> PreviewSource:
    """What there is to look at; of a refusal, only what was received."""
    shown = course.restored if course and not reasons else None
    registration = course.registration if course else None
    reference = course.reference if course else None
    return PreviewSource(
        baseline=pair.baseline,
        delayed=pair.delayed,
        transform=registration.transform if registration else None,
        centre=course.anatomy.brain_centre if course and course.anatomy else pair.baseline.grid.centre,
        fat_baseline=reference.baseline if reference else 0.0,
        fat_delayed=reference.delayed if reference else 0.0,
        predicted=shown.predicted if shown else (),
        increase=shown.increase if shown else (),
        lower=shown.lower if shown else (),
        upper=shown.upper if shown else (),
    )


def preview(case_id: str, source: PreviewSource, reasons: Sequence[Reason], manifest: ModelManifest) -> bytes:
    """PNG of the pair with its prediction, or with the reasons of its refusal."""
    if not source.predicted:
        codes = ", ".join(reason.code for reason in reasons)
        return render_preview(
            source,
            title=f"csf24 case {case_id}: NO PREDICTION",
            footer=f"Refused: {codes}. Research use, not for diagnosis.",
        )
    trained = ", trained on SIMULATED tracer" if manifest.simulated_training else ""
    return render_preview(
        source,
        title=f"csf24 case {case_id}: 24 h PREDICTED, not acquired",
        footer=f"{manifest.name} {manifest.version}{trained}. {_LIMITS_OF_USE}",
    )
