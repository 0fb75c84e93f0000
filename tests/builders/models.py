"""A tiny real ONNX model directory: the square root of its input."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from service.imaging.recipe_types import PreprocessingRecipe
from service.inference.manifest import ModelManifest


def tiny_model(folder: Path, shape: tuple[int, ...], name: str = "tiny", version: str = "0.0.1") -> Path:
    directory = folder / f"{name}-{version}"
    directory.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("Sqrt", ["input"], ["output"])],
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(directory / "model.onnx"))
    manifest = ModelManifest(
        name=name,
        version=version,
        sha256=hashlib.sha256((directory / "model.onnx").read_bytes()).hexdigest(),
        opset=18,
        input_name="input",
        input_shape=shape,
        output_name="output",
        output_shape=shape,
        recipe=PreprocessingRecipe(
            kind="slice_pair",
            mode="fat_global",
            time_points=("baseline",),
            shape=shape[2:],
            spacing_mm=1.0,
            window=(0.0, 2.0),
            predicts="image",
        ),
        simulated_training=True,
        intended_use="tests",
        parity_tolerance=1e-5,
    )
    (directory / "manifest.json").write_text(manifest.to_json())
    given = np.random.default_rng(0).random(shape, dtype=np.float32)
    np.savez_compressed(directory / "parity.npz", input=given, output=np.sqrt(given))
    return directory
