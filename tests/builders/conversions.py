"""Conversions in this process: the shipped model, and what it was given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from service.config import load_config
from service.conversion import Conversion, Converter
from service.dicom.facts import OutputSelection
from service.dicom.policy import PairingPolicy
from service.imaging.recipe_types import Anatomy, Plane
from service.imaging.volume import Float32, Float64, Grid, Volume
from service.inference.manifest import ModelManifest
from service.inference.predictor import ModelIdentity, Predictor
from service.received_pair import DicomPair
from service.wiring import load_model
from tests.builders.dicom import to_bytes
from tests.builders.patients import INJECTED_AT
from tests.builders.source_series import DERIVED_AT


@cache
def shipped_model() -> Predictor:
    """The default model, loaded once."""
    return load_model(load_config(None, {}))


@dataclass(slots=True)
class RecordingPredictor:
    """The model with a memory: `tensors` are copies of what it was given, in order."""

    model: Predictor = field(default_factory=shipped_model)
    tensors: list[Float32] = field(default_factory=list)

    @property
    def manifest(self) -> ModelManifest:
        return self.model.manifest

    @property
    def identity(self) -> ModelIdentity:
        return self.model.identity

    def __call__(self, tensor: Float32) -> Float32:
        self.tensors.append(tensor.copy())
        return self.model(tensor)


def converter(predictor: Predictor | None = None, outputs: OutputSelection | None = None) -> Converter:
    """With the default policy, and the shipped model unless another is given."""
    return Converter(
        predictor or shipped_model(),
        policy=PairingPolicy(),
        outputs=outputs or OutputSelection(),
        software_version="test",
        clock=time.perf_counter,
    )


def convert_datasets(
    baseline: Sequence[Dataset],
    delayed: Sequence[Dataset],
    predictor: Predictor | None = None,
    *,
    injected_at: datetime | None = INJECTED_AT,
    outputs: OutputSelection | None = None,
) -> Conversion:
    """As the service converts them, from their Part 10 bytes."""
    return converter(predictor, outputs).convert_dicom(pair_of(baseline, delayed, injected_at=injected_at))


def pair_of(
    baseline: Sequence[Dataset], delayed: Sequence[Dataset], *, injected_at: datetime | None = INJECTED_AT
) -> DicomPair:
    """Both series as Part 10 files."""
    return DicomPair(
        case_id="c0123456789ab",
        baseline=[to_bytes(dataset) for dataset in baseline],
        delayed=[to_bytes(dataset) for dataset in delayed],
        injection_time=injected_at,
        derived_at=DERIVED_AT,
    )


def anatomy_at(centre: Float64) -> Anatomy:
    """A head whose place alone is known, for a model input without a search; level planes, no masks, no orbits."""
    nothing = np.zeros((2, 2, 2), dtype=bool)
    return Anatomy(
        grid=Grid.axis_aligned((2, 2, 2), 2.0, centre),
        head=nothing,
        brain=nothing,
        csf=nothing,
        lateral_ventricles=nothing,
        brain_centre=centre,
        midsagittal=Plane(origin=centre, normal=np.array([1.0, 0.0, 0.0])),
        axial=Plane(origin=centre, normal=np.array([0.0, 0.0, 1.0])),
        left_orbit=None,
        right_orbit=None,
    )


def read_with_itk(folder: Path, series_uid: str = "") -> Volume:
    """ITK's series reader with GDCM: sorts, orients and rescales on its own."""
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series_uid))
    return Volume.from_sitk(reader.Execute())
