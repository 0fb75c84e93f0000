"""prepare() and restore(): the only way into and out of a model, for training and service alike.

Direction: everything is brought to the BASELINE frame; the delayed volume is sampled through
``registration.transform`` (fixed -> moving).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.imaging.recipe_types import (
    AlignedScan,
    Anatomy,
    ModelInput,
    PreprocessingRecipe,
    RestoredPrediction,
)
from service.imaging.resampling import resample
from service.imaging.volume import Float32, Float64, Grid, Volume


def model_grids(anatomy: Anatomy, recipe: PreprocessingRecipe) -> tuple[Grid, ...]:
    """Where a model of this recipe looks, given the head (baseline frame)."""
    if recipe.kind == "volume":
        d, h, w = recipe.shape
        return (Grid.axis_aligned((d, h, w), recipe.spacing_mm, anatomy.brain_centre),)
    h, w = recipe.shape
    sagittal = _plane_grid(
        anatomy.midsagittal.origin, anatomy.midsagittal.normal, np.array([0.0, 1.0, 0.0]), (h, w), recipe.spacing_mm
    )
    axial = _plane_grid(
        anatomy.axial.origin, anatomy.axial.normal, np.array([1.0, 0.0, 0.0]), (h, w), recipe.spacing_mm
    )
    return sagittal, axial


def prepare(series: Mapping[str, AlignedScan], *, anatomy: Anatomy, recipe: PreprocessingRecipe) -> ModelInput:
    """Time points on the model's grid(s), in the model's intensity scale.

    Where there is no ``delayed`` series, `ModelInput.fat_delayed` is the baseline's.

    Parameters
    ----------
    series
        By name; at least ``baseline`` and those that the recipe names.
    """
    absent = [name for name in ("baseline", *recipe.time_points) if name not in series]
    if absent:
        raise ValueError(f"the recipe wants {', '.join(absent)}, given {', '.join(series)}")
    fats = {name: scan.fat for name, scan in series.items()}
    if not all(fat > 0 for fat in fats.values()):
        raise ValueError(f"fat references must be positive, got {fats}")
    grids = model_grids(anatomy, recipe)
    channels: list[Float32] = []
    scales: list[tuple[float, float]] = []
    for name in recipe.time_points:
        scan = series[name]
        for grid in grids:
            fat_units = resample(scan.volume, grid, scan.transform, antialias=True).array / np.float32(scan.fat)
            scaled, scale = scale_to_model(fat_units, recipe)
            channels.append(scaled)
            if name == recipe.time_points[-1] and recipe.mode == "slice_minmax":
                scales.append(scale)
    tensor = np.stack(channels)[None]
    if recipe.kind == "slice_pair":
        tensor = tensor[:, :, 0]
    return ModelInput(
        tensor=np.ascontiguousarray(tensor, dtype=np.float32),
        grids=grids,
        fat_baseline=fats["baseline"],
        fat_delayed=fats.get("delayed", fats["baseline"]),
        recipe=recipe,
        scales=tuple(scales),
    )


def scale_to_model(fat_units: Float32, recipe: PreprocessingRecipe) -> tuple[Float32, tuple[float, float]]:
    """Fat units -> the model's scale; returns the (low, high) that ``slice_minmax`` used."""
    low, high = recipe.window
    if recipe.mode == "fat_global":
        return np.clip(fat_units, low, high).astype(np.float32), (low, high)
    lo, hi = float(fat_units.min()), float(fat_units.max())
    width = max(hi - lo, 1e-6)
    return ((fat_units - lo) / width).astype(np.float32), (lo, lo + width)


def restore(output: Float32, model_input: ModelInput, baseline: Volume) -> RestoredPrediction:
    """The model's output in the baseline's frame and units.

    Parameters
    ----------
    output
        ``volume``: ``(1, Q, D, H, W)`` increase in fat units, Q = ``len(recipe.quantiles)``.
        ``slice_pair``: ``(1, 2, H, W)`` sagittal, axial.
    """
    if not np.isfinite(output).all():
        raise ValueError("model output has NaN or infinite values")
    if model_input.recipe.kind == "volume":
        return _restore_volume(output, model_input, baseline)
    return _restore_planes(output, model_input, baseline)


def _restore_volume(output: Float32, given: ModelInput, baseline: Volume) -> RestoredPrediction:
    recipe, grid = given.recipe, given.grids[0]
    expected = (1, len(recipe.quantiles), *grid.shape)
    if output.shape != expected or recipe.predicts != "increase":
        raise ValueError(f"a volume model must give the increase as {expected}, got {output.shape}")
    maps = [
        resample(Volume(channel * np.float32(given.fat_baseline), grid), baseline.grid).array for channel in output[0]
    ]
    increase = baseline.with_array(maps[0])
    predicted = baseline.with_array(np.maximum(baseline.array + maps[0], 0))
    if len(maps) < 3:
        return RestoredPrediction(predicted=(predicted,), increase=(increase,))
    by_level = sorted(range(len(maps)), key=lambda q: recipe.quantiles[q])
    return RestoredPrediction(
        predicted=(predicted,),
        increase=(increase,),
        lower=(baseline.with_array(maps[by_level[0]]),),
        upper=(baseline.with_array(maps[by_level[-1]]),),
    )


def _restore_planes(output: Float32, given: ModelInput, baseline: Volume) -> RestoredPrediction:
    recipe = given.recipe
    expected = (1, len(given.grids), *recipe.shape)
    if output.shape != expected:
        raise ValueError(f"a slice-pair model must give {expected}, got {output.shape}")
    predicted, increase = [], []
    for index, grid in enumerate(given.grids):
        before = resample(baseline, grid, antialias=True)
        answer = output[0, index]
        if recipe.mode == "slice_minmax":
            low, high = given.scales[index]
            answer = answer * (high - low) + low
        answer = answer * np.float32(given.fat_baseline)
        if recipe.predicts == "increase":
            answer = answer + before.array[0]
        image = np.maximum(answer, 0)[None].astype(np.float32)
        predicted.append(Volume(image, grid, baseline.frame_of_reference_uid))
        increase.append(Volume(image - before.array, grid, baseline.frame_of_reference_uid))
    return RestoredPrediction(predicted=tuple(predicted), increase=tuple(increase))


def _plane_grid(origin: Float64, normal: Float64, row_hint: Float64, shape: tuple[int, int], spacing: float) -> Grid:
    """A single-slice grid on the plane, centred at `origin`.

    Columns run along `row_hint` made orthogonal to `normal` (sagittal: -> P; axial: -> L), rows run
    downwards in the usual display (sagittal: -> inferior; axial: -> P), so the picture is upright.
    """
    n = normal / np.linalg.norm(normal)
    columns = row_hint - n * float(row_hint @ n)
    columns /= np.linalg.norm(columns)
    rows = np.cross(n, columns)
    down = np.array([0.0, 0.0, -1.0]) if abs(n[2]) < 0.7 else np.array([0.0, 1.0, 0.0])
    if rows @ down < 0:
        rows = -rows
    h, w = shape
    affine = np.eye(4)
    affine[:3, 0] = columns * spacing
    affine[:3, 1] = rows * spacing
    affine[:3, 2] = np.cross(columns, rows) * spacing
    affine[:3, 3] = origin - columns * spacing * (w - 1) / 2 - rows * spacing * (h - 1) / 2
    return Grid((1, h, w), affine)
