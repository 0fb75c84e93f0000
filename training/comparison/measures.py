"""How far a predicted late image is from the real one: errors by region, likeness of structure, reflux."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from skimage.metrics import structural_similarity

from service.imaging.reflux import Grade, grade_increase
from service.imaging.volume import Float32, Mask
from training.examples import Example

REGIONS = ("whole", "intracranial", "csf", "ventricles")
ERRORS = ("mse", "mae", "psnr", "ssim")
SCORES: Mapping[Grade, float] = {"0": 0.0, "3": 6.0, "indeterminate": 7.0, "4": 8.0}
"""Grades on their own scale, doubled, so that between 3 and 4 is a whole number; no score: not gradable."""
_SSIM_WINDOW = 7


def measure(predicted: Float32, example: Example, span: float) -> dict[str, float]:
    """All columns of one patient; NaN where a region is absent.

    Parameters
    ----------
    predicted
        The late image, like ``example.late``.
    span
        Range of the model's scale, which PSNR and SSIM are told against.

    Returns
    -------
    dict
        ``mse_whole`` ... ``ssim_ventricles``; ``bias_csf`` and ``bias_ventricles`` (mean of predicted - real);
        ``index``, ``grade``, ``index_real``, ``grade_real``: reflux index and score of both images.
    """
    gap = predicted - example.late
    likeness = _likeness(predicted, example.late, span)
    found: dict[str, float] = {}
    for region, mask in _regions(example).items():
        errors = gap[mask]
        mse = float(np.mean(errors**2)) if errors.size else float("nan")
        found[f"mse_{region}"] = mse
        found[f"mae_{region}"] = float(np.mean(np.abs(errors))) if errors.size else float("nan")
        found[f"psnr_{region}"] = float(10 * np.log10(span**2 / mse)) if mse > 0 else float("nan")
        found[f"ssim_{region}"] = float(likeness[mask].mean()) if errors.size else float("nan")
        if region in ("csf", "ventricles"):
            found[f"bias_{region}"] = float(errors.mean()) if errors.size else float("nan")
    found |= _reflux(predicted, example, "")
    return found | _reflux(example.late, example, "_real")


def _regions(example: Example) -> dict[str, Mask]:
    shape = example.late.shape
    nothing = np.zeros(shape, dtype=bool)
    ventricles = nothing if example.ventricles is None else example.ventricles
    masks = (np.ones(shape, dtype=bool), example.inside, example.csf, ventricles)
    return dict(zip(REGIONS, masks, strict=True))


def _likeness(predicted: Float32, real: Float32, span: float) -> Float32:
    """SSIM (Wang et al. 2004) at every voxel, channel by channel: a volume, or single planes."""
    maps = [
        structural_similarity(a, b, win_size=_SSIM_WINDOW, data_range=span, full=True)[1]
        for a, b in zip(predicted, real, strict=True)
    ]
    return np.asarray(maps, dtype=np.float32)


def _reflux(late: Float32, example: Example, suffix: str) -> dict[str, float]:
    if example.core is None or example.space is None:
        return {f"index{suffix}": float("nan"), f"grade{suffix}": float("nan")}
    found = grade_increase(late - example.before, (example.core, example.space))
    index = float("nan") if found.index is None else found.index
    return {f"index{suffix}": index, f"grade{suffix}": SCORES.get(found.grade_24h, float("nan"))}
