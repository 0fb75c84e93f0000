"""ONNX models: found, verified against their manifest, run. The only importer of onnxruntime."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

# The official builds tell Microsoft over the internet what they run, unless this is set before they are loaded; nothing
# leaves a hospital that its configuration does not name. For the C library, which does not see Python's copy.
os.putenv("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from service.errors import ModelError
from service.imaging.volume import Float32
from service.inference.manifest import ModelManifest, load_manifest
from service.inference.predictor import ModelIdentity, Predictor

Provider = Literal["cpu", "cuda"]
FoundModel = tuple[str, str, Path]

_PROVIDERS: dict[str, list[str]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}
_ERROR_ONLY = 3


class OnnxPredictor:
    """A verified onnxruntime session; implements `service.inference.predictor.Predictor`.

    Made by `load_predictor`. Calls may come from several threads.
    """

    def __init__(self, session: onnxruntime.InferenceSession, manifest: ModelManifest, provider: str) -> None:
        self._session = session
        self._manifest = manifest
        self._identity = ModelIdentity(
            name=manifest.name, version=manifest.version, sha256=manifest.sha256, provider=provider
        )

    @property
    def manifest(self) -> ModelManifest:
        """The model's manifest, recipe included."""
        return self._manifest

    @property
    def identity(self) -> ModelIdentity:
        """Name, version, file hash, and the provider that the session reports as active."""
        return self._identity

    def __call__(self, tensor: Float32) -> Float32:
        """Run the model once.

        Raises
        ------
        ModelError
            `tensor` or the answer has another shape than the manifest says, or is not finite.
        """
        said = self._manifest
        if tensor.shape != said.input_shape:
            raise ModelError(f"model {said.name} takes {said.input_shape}, was given {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise ModelError(f"the input of model {said.name} has NaN or infinite values")
        given = np.ascontiguousarray(tensor, dtype=np.float32)
        try:
            answer = self._session.run([said.output_name], {said.input_name: given})[0]
        except Exception as error:
            raise ModelError(f"model {said.name} did not run: {type(error).__name__}: {error}") from error
        if answer.shape != said.output_shape:
            raise ModelError(f"model {said.name} should give {said.output_shape}, gave {answer.shape}")
        if not np.isfinite(answer).all():
            raise ModelError(f"the output of model {said.name} has NaN or infinite values")
        return np.asarray(answer, dtype=np.float32)


def load_predictor(
    directory: Path, *, provider: Provider = "cpu", threads: int = 0, require_gpu: bool = False
) -> OnnxPredictor:
    """The model in `directory`, after its file, tensors and execution provider were checked.

    Parameters
    ----------
    provider
        ``cuda`` is never replaced by the CPU in silence: when the session does not really run on
        CUDA this raises.
    threads
        Within one call; 0 lets onnxruntime choose.
    require_gpu
        Refuse to run without CUDA whatever `provider` says.

    Raises
    ------
    ModelError
        No or altered model.onnx, tensors that differ from the manifest, or not the provider asked for.
    """
    if require_gpu and provider == "cpu":
        raise ModelError("a GPU is required by the configuration, but the provider asked for is 'cpu'")
    manifest = load_manifest(directory)
    path = directory / "model.onnx"
    _check_hash(path, manifest)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERROR_ONLY
    wanted = _PROVIDERS[provider]
    missing = [p for p in wanted if p not in onnxruntime.get_available_providers()]
    if missing:
        raise ModelError(
            f"{missing[0]} was asked for, but this onnxruntime has {onnxruntime.get_available_providers()}; "
            "install the extra csf24[gpu] in place of csf24[cpu], or set the provider to 'cpu'"
        )
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:
        raise ModelError(f"model {directory.name} cannot be loaded: {type(error).__name__}: {error}") from error
    active = session.get_providers()[0]
    if active != wanted[0]:
        raise ModelError(f"{wanted[0]} was asked for, but the session runs on {active}; see the driver and CUDA set-up")
    _check_tensors(session, manifest)
    return OnnxPredictor(session, manifest, active)


def verify_parity(directory: Path, predictor: Predictor) -> float:
    """Replay ``parity.npz`` and return the largest absolute difference.

    The file holds ``input``, ``output`` and ``stride``: of the answer, every stride-th element along
    each spatial axis is kept and compared.

    Raises
    ------
    ModelError
        There is no usable parity.npz, or the difference exceeds the manifest's tolerance.
    """
    path = directory / "parity.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            given, expected = stored["input"].astype(np.float32), stored["output"].astype(np.float32)
            stride = int(stored["stride"]) if "stride" in stored else 1
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise ModelError(f"parity.npz of {directory.name} cannot be used: {error}") from error
    answer = predictor(given)
    kept = answer[(slice(None), slice(None), *[slice(None, None, stride)] * (answer.ndim - 2))]
    if kept.shape != expected.shape:
        raise ModelError(f"parity.npz of {directory.name} has an answer of shape {expected.shape}, not {kept.shape}")
    difference = float(np.abs(kept - expected).max())
    tolerance = predictor.manifest.parity_tolerance
    if not difference <= tolerance:
        raise ModelError(
            f"model {directory.name} does not reproduce its reference output: "
            f"differs by {difference:.2e}, {tolerance:.0e} is allowed"
        )
    return difference


def find_models(paths: Sequence[Path]) -> tuple[FoundModel, ...]:
    """(name, version, directory) of every model directory under `paths`, in their order, then by name.

    A directory is a model when it holds a manifest.json; one that cannot be read raises ModelError,
    so that a broken model is noticed when the service starts. The first of two equal name-versions counts.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in paths:
        for manifest_file in sorted(path.glob("*/manifest.json")):
            manifest = load_manifest(manifest_file.parent)
            found.setdefault((manifest.name, manifest.version), manifest_file.parent)
    return tuple((name, version, directory) for (name, version), directory in found.items())


def bundled_models_path() -> Path:
    """Where the models that come with csf24 lie: inside the installed package, or beside it in a checkout."""
    package = Path(str(resources.files("service")))
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "onnx_models"


def _check_hash(path: Path, manifest: ModelManifest) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"model.onnx of {path.parent.name} cannot be read: {error.strerror}") from error
    if found != manifest.sha256:
        raise ModelError(
            f"model.onnx of {path.parent.name} was altered: its sha256 is {found[:12]}..., "
            f"the manifest says {manifest.sha256[:12]}..."
        )


def _check_tensors(session: onnxruntime.InferenceSession, manifest: ModelManifest) -> None:
    for kind, found, name, shape in (
        ("input", session.get_inputs(), manifest.input_name, manifest.input_shape),
        ("output", session.get_outputs(), manifest.output_name, manifest.output_shape),
    ):
        seen = [(t.name, tuple(t.shape), t.type) for t in found]
        if seen != [(name, shape, "tensor(float)")]:
            raise ModelError(
                f"model {manifest.name} should have the one {kind} {name} {shape} of float, but has {seen}"
            )
