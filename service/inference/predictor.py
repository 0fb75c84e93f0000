"""What the pipeline asks of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from service.imaging.volume import Float32
from service.inference.manifest import ModelManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Name, version and file hash of the model, and the execution provider that really ran it."""

    name: str
    version: str
    sha256: str
    provider: str


class Predictor(Protocol):
    """A loaded, verified model."""

    @property
    def manifest(self) -> ModelManifest:
        """The model's manifest, recipe included."""

    @property
    def identity(self) -> ModelIdentity:
        """For reports and DICOM headers."""

    def __call__(self, tensor: Float32) -> Float32:
        """Run the model once; shapes as in the manifest. Raises ModelError on NaN or wrong shape."""
