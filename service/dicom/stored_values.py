"""Real values as unsigned 16-bit integers with a rescale, and the window they are shown with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.dicom.inherited import decimal, put
from service.dicom.series import SourceSeries
from service.imaging.volume import Float32, Volume

_LARGEST = 65535
_ENOUGH_LEVELS = 255  # fewer whole units than that, and rounding to them would show
_HEADROOM = 65000  # levels in use when the step is free; rounding to a DS of 16 characters stays inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Display range in real values."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """real = stored x slope + intercept; the texts are what is written, so that a reader computes the same."""

    slope: str
    intercept: str

    def encode(self, values: Float32) -> NDArray[np.uint16]:
        """Stored values, little endian; real values are kept to half a slope.

        Raises
        ------
        ValueError
            A value is not finite.
        """
        stored = np.rint((values.astype(np.float64) - float(self.intercept)) / float(self.slope))
        if not np.isfinite(stored).all():
            raise ValueError("predicted values must be finite to be stored")
        return np.clip(stored, 0, _LARGEST).astype("<u2")


def rescale_for(volumes: Sequence[Volume], source: SourceSeries, window: Window) -> Rescale:
    """One rescale for a whole derived series.

    Whole numbers stay whole (slope 1) when the source's values are whole and span enough of them;
    otherwise the range of values and window is divided into 65000 steps.
    """
    lowest = min(window.low, *(float(v.array.min()) for v in volumes))
    highest = max(window.high, *(float(v.array.max()) for v in volumes))
    start = min(0.0, np.floor(lowest))
    whole = bool((source.volume.array == np.rint(source.volume.array)).all())
    if whole and highest - lowest >= _ENOUGH_LEVELS and highest - start <= _LARGEST:
        return Rescale(slope="1", intercept=decimal(start))
    span = max(highest - lowest, 1e-6)
    return Rescale(slope=decimal(span / _HEADROOM), intercept=decimal(lowest))


def window_of(source: SourceSeries) -> Window:
    """The source's own window, so that both are shown alike; from its values when it states none."""
    if source.window is not None and source.window[1] > 0:
        centre, width = source.window
        return Window(low=centre - width / 2, high=centre + width / 2)
    low, high = np.percentile(source.volume.array, [1, 99.5])
    return Window(low=float(low), high=float(max(high, low + 1e-6)))


def set_pixels(dataset: Dataset, values: Float32, rescale: Rescale, window: Window) -> None:
    """Image Pixel, Modality LUT and VOI LUT (PS3.3 C.7.6.3, C.11.1, C.11.2) of a grey image ``(rows, columns)``."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = rescale.encode(values).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = rescale.slope, rescale.intercept, "US"
    put(dataset, "WindowCenter", decimal((window.low + window.high) / 2))
    put(dataset, "WindowWidth", decimal(window.high - window.low))
    if window.high - window.low < 1:
        dataset.VOILUTFunction = "LINEAR_EXACT"  # the default function needs a width of at least 1 (C.11.2.1.2.1)
