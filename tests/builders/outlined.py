"""Brain and head of a real scan, for making second scans from it and for measuring inside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.imaging.anatomy import find_anatomy
from service.imaging.resampling import resample
from service.imaging.volume import Mask, Volume


@dataclass(frozen=True, kw_only=True)
class Outlined:
    """`image` in units of the median brain signal (`brain_signal`, source units); masks on its 2 mm grid."""

    image: Volume
    brain_signal: float
    head: Mask
    brain: Mask


def outlined(scan: Volume) -> Outlined:
    anatomy = find_anatomy(scan)
    seen = resample(scan, anatomy.grid, antialias=True)
    level = float(np.median(seen.array[anatomy.brain & ~anatomy.csf]))
    image = seen.with_array(seen.array / np.float32(level))
    return Outlined(image=image, brain_signal=level, head=anatomy.head, brain=anatomy.brain)
