"""A model is only run when it is what its manifest says, where it was asked to run."""

import hashlib
import json

import numpy as np
import onnxruntime
import pytest

from service.errors import ModelError
from service.inference.onnx import bundled_models_path, find_models, load_predictor, verify_parity
from tests.builders.models import tiny_model

SHAPE = (1, 2, 4, 4)


def test_a_verified_model_answers_and_says_who_it_is(tmp_path):
    predictor = load_predictor(tiny_model(tmp_path, SHAPE), threads=1)
    answer = predictor(np.full(SHAPE, 2, np.float32))
    assert np.allclose(answer, np.sqrt(2))
    assert predictor.identity.provider == "CPUExecutionProvider"
    assert (predictor.identity.name, predictor.identity.version) == ("tiny", "0.0.1")


def test_an_altered_file_is_refused(tmp_path):
    directory = tiny_model(tmp_path, SHAPE)
    with (directory / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match="altered"):
        load_predictor(directory)


def test_a_missing_file_is_refused(tmp_path):
    directory = tiny_model(tmp_path, SHAPE)
    (directory / "model.onnx").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_predictor(directory)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    directory = tiny_model(tmp_path, SHAPE)
    (directory / "model.onnx").write_bytes(b"no model")
    change_manifest(directory, sha256=hashlib.sha256(b"no model").hexdigest())
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_predictor(directory)


@pytest.mark.parametrize("change", [{"input_name": "other"}, {"output_shape": [1, 2, 4, 5]}])
def test_tensors_other_than_the_manifest_says_are_refused(tmp_path, change):
    directory = tiny_model(tmp_path, SHAPE)
    change_manifest(directory, **change)
    with pytest.raises(ModelError, match="should have the one"):
        load_predictor(directory)


def test_wrong_shape_nan_input_and_nan_output_are_errors(tmp_path):
    predictor = load_predictor(tiny_model(tmp_path, SHAPE))
    with pytest.raises(ModelError, match="takes"):
        predictor(np.zeros((1, 2, 4, 5), np.float32))
    with pytest.raises(ModelError, match=r"input .* NaN"):
        predictor(np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(ModelError, match=r"output .* NaN"):
        predictor(np.full(SHAPE, -1, np.float32))  # the tiny model takes the square root


def test_cuda_is_never_replaced_by_the_cpu(tmp_path):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    directory = tiny_model(tmp_path, SHAPE)
    with pytest.raises(ModelError, match="CUDAExecutionProvider was asked for"):
        load_predictor(directory, provider="cuda")
    with pytest.raises(ModelError, match="GPU is required"):
        load_predictor(directory, provider="cpu", require_gpu=True)


def test_a_session_that_fell_back_to_the_cpu_is_refused(tmp_path, monkeypatch):
    # onnxruntime itself only warns when CUDA cannot be initialised
    directory = tiny_model(tmp_path, SHAPE)
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, options, providers=providers[-1:])
    )
    with pytest.raises(ModelError, match="session runs on CPUExecutionProvider"):
        load_predictor(directory, provider="cuda")


def test_parity_is_replayed_and_a_difference_is_an_error(tmp_path):
    directory = tiny_model(tmp_path, SHAPE)
    predictor = load_predictor(directory)
    assert verify_parity(directory, predictor) < 1e-6
    with np.load(directory / "parity.npz") as stored:
        given, expected = stored["input"], stored["output"]
    np.savez(directory / "parity.npz", input=given, output=expected + 0.01)
    with pytest.raises(ModelError, match="does not reproduce"):
        verify_parity(directory, predictor)
    (directory / "parity.npz").unlink()
    with pytest.raises(ModelError, match="cannot be used"):
        verify_parity(directory, predictor)


def test_models_are_found_and_the_first_of_equals_counts(tmp_path):
    first = tiny_model(tmp_path / "a", SHAPE)
    tiny_model(tmp_path / "b", SHAPE)
    other = tiny_model(tmp_path / "b", SHAPE, name="other")
    found = find_models([tmp_path / "a", tmp_path / "b", tmp_path / "absent"])
    assert found == (("tiny", "0.0.1", first), ("other", "0.0.1", other))


def test_a_broken_model_directory_is_noticed(tmp_path):
    (tmp_path / "broken-1").mkdir()
    (tmp_path / "broken-1" / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        find_models([tmp_path])


def test_the_default_models_come_with_the_checkout():
    names = {name for name, _, _ in find_models([bundled_models_path()])}
    assert {"volume3d", "paper2d"} <= names


def change_manifest(directory, **changes):
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"], ids=["empty", "cut short"])
def test_a_golden_answer_that_cannot_be_read_is_named(tmp_path, content):
    directory = tiny_model(tmp_path, (1, 1, 4, 4))
    (directory / "parity.npz").write_bytes(content)
    with pytest.raises(ModelError, match=r"parity\.npz"):
        verify_parity(directory, load_predictor(directory))
