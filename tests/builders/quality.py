"""What tests of the acceptance checks share."""

from __future__ import annotations

from service.imaging.quality import QualityReport
from service.imaging.recipe_types import Registration
from service.imaging.rigid import RigidTransform


def codes(report: QualityReport) -> set[str]:
    """Of the rejections."""
    return {reason.code for reason in report.rejections}


def sound_registration(transform: RigidTransform) -> Registration:
    """Figures as registration of one head gives them."""
    return Registration(
        transform=transform,
        similarity_before=1.1,
        similarity_after=1.3,
        inverse_consistency_mm=0.1,
        two_start_mm=0.1,
        iterations=50,
    )
