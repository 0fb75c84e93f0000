"""What a person leafs through on the case page: the volumes of a case on one grid, as 8-bit display values.

Made once, beside the result, since a prediction's increase and interval are nowhere else on disk, and since a page
must not decode a whole series for one section. The values are for looking at only.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jpeg_ls
import numpy as np
from numpy.typing import NDArray

from service.imaging.resampling import resample
from service.imaging.volume import Float32, Grid, read_only
from service.pictures.panels import FIELD_MM, Window, robust_window
from service.pictures.preview import INCREASE_FULL_SCALE, PreviewSource, delayed_window_of

Layer = Literal["baseline", "delayed", "predicted", "increase", "uncertainty"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
PREDICTED_LAYERS: frozenset[Layer] = frozenset({"predicted", "increase", "uncertainty"})

UInt8 = NDArray[np.uint8]
_ABOUT = "about.json"
LARGEST_ERROR = 2
"""Of 255, between a display value and what is kept of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file of browsing volumes holds.

    Attributes
    ----------
    shape
        ``(nk, nj, ni)`` of every layer: 1 mm voxels along LPS, so feet to head, front to back, right to left.
    middle
        ``[k, j, i]`` of the brain's centre.
    registered
        The delayed layer was moved onto the baseline; otherwise it lies where the scanner had it.
    simulated_patient, simulated_training
        Labels that every picture carries.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, int, int]
    middle: tuple[int, int, int]
    registered: bool
    simulated_patient: bool
    simulated_training: bool


def encode_browsing(source: PreviewSource, *, simulated_patient: bool, simulated_training: bool) -> bytes:
    """A zip archive of `Contents` and one JPEG-LS image a layer, all sections below each other.

    Near-lossless: no display value is off by more than `LARGEST_ERROR` of 255, which no eye tells, at a quarter of
    the size.
    A prediction of single planes is left out: it has no volume to leaf through, and its preview shows it whole.
    """
    grid = _grid(source)
    index = np.clip(np.round(grid.to_index(source.centre[None])[0]), 0, np.array(grid.shape[::-1]) - 1)
    layers = dict(_layers(source, grid))
    about = {
        "layers": list(layers),
        "shape": list(grid.shape),
        "middle": [int(n) for n in reversed(index)],
        "registered": source.transform is not None,
        "simulated_patient": simulated_patient,
        "simulated_training": simulated_training,
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(_ABOUT, json.dumps(about))
        for name, values in layers.items():
            stacked = values.reshape(-1, values.shape[2])
            archive.writestr(f"{name}.jls", bytes(jpeg_ls.encode_array(stacked, lossy_error=LARGEST_ERROR)))
    return packed.getvalue()


def read_contents(path: Path) -> Contents | None:
    """What the file holds; None when there is none, or none that can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(_ABOUT))
        return Contents(
            layers=tuple(layer for layer in LAYERS if layer in about["layers"]),
            shape=_triple(about["shape"]),
            middle=_triple(about["middle"]),
            registered=bool(about["registered"]),
            simulated_patient=bool(about["simulated_patient"]),
            simulated_training=bool(about["simulated_training"]),
        )
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None


def read_layer(path: Path, layer: Layer, contents: Contents) -> UInt8 | None:
    """``[k, j, i]`` display values, read-only; None when the file or the layer is not there or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = np.frombuffer(archive.read(f"{layer}.jls"), dtype=np.uint8)
        values: UInt8 = jpeg_ls.decode(packed).reshape(contents.shape)
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, KeyError):
        return None
    read_only(values)
    return values


def _grid(source: PreviewSource) -> Grid:
    """1 mm, level, over the baseline, and no wider than a preview's field around the centre."""
    nk, nj, ni = source.baseline.grid.shape
    corners = np.array([[i, j, k] for i in (0, ni - 1) for j in (0, nj - 1) for k in (0, nk - 1)])
    world = source.baseline.grid.to_world(corners)
    low = np.maximum(world.min(axis=0), source.centre - FIELD_MM / 2)
    high = np.minimum(world.max(axis=0), source.centre + FIELD_MM / 2)
    ni, nj, nk = (int(n) for n in np.maximum(np.floor(high - low), 0) + 1)
    return Grid.axis_aligned((nk, nj, ni), 1.0, (low + high) / 2)


def _layers(source: PreviewSource, grid: Grid) -> Iterator[tuple[Layer, UInt8]]:
    window = robust_window(source.baseline.array)
    baseline = resample(source.baseline, grid).array
    yield "baseline", _bytes(baseline, window)
    moved = resample(source.delayed, grid, source.transform).array
    yield "delayed", _bytes(moved, delayed_window_of(source, window))
    if len(source.predicted) != 1 or len(source.increase) != 1:
        return
    top = Window(low=0.0, high=INCREASE_FULL_SCALE * source.fat_baseline)
    increase = resample(source.increase[0], grid).array
    yield "predicted", _bytes(baseline + increase, window)  # as the prediction itself is made; see RestoredPrediction
    yield "increase", _bytes(increase, top)
    if source.lower and source.upper:
        width = source.upper[0].array - source.lower[0].array
        yield "uncertainty", _bytes(resample(source.upper[0].with_array(width), grid).array, top)


def _bytes(values: Float32, window: Window) -> UInt8:
    span = max(window.high - window.low, 1e-9)
    shown: UInt8 = (np.clip((values - window.low) / span, 0, 1) * 255).astype(np.uint8)
    return shown


def _triple(values: list[int]) -> tuple[int, int, int]:
    k, j, i = (int(n) for n in values)
    return k, j, i
