"""The four TFLite forms, on both runtimes."""

import os
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow
from ai_edge_litert import schema_py_generated as schema

from train_model import tflite
from train_model.parameters import ParameterError


@pytest.fixture(scope="module")
def model():
    """A small network with the layers of the real one."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu6")(x)
    x = keras.layers.DepthwiseConv2D(3, activation="relu6")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(256, activation="relu")(x)  # enough weights for the converter to quantise them
    return keras.Model(pixels, keras.layers.Dense(3, activation="softmax", name="probabilities")(x))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("runtime", ["litert", "tflite_runtime"])
@pytest.mark.parametrize("kind", tflite.FORMATS)
def test_every_form_answers_as_keras_does(model, images, kind, runtime):
    if runtime not in tflite.available_runtimes():
        pytest.skip("tflite-runtime has no wheel for this Python")
    content = tflite.convert(model, kind, representative=images)
    expected = model.predict(images, verbose=0)
    with tflite.RuntimeProcess(runtime) as process:  # TensorFlow is loaded here
        process.load(kind, content)
        (answers,) = process.run(kind, images).values()
        assert process.milliseconds(kind, images[0]) > 0
    assert answers.dtype == np.float32
    assert np.abs(answers - expected).max() < (0.03 if kind == "int8" else 0.005)


def test_the_file_is_what_comes_by_way_of_a_saved_model(model, images, tmp_path):
    """The long way, which TensorFlow's documentation takes: the same names and the same numbers."""
    image = keras.InputSpec(shape=(1, 32, 32, 3), dtype="float32", name="image")
    model = keras.Model(model.input, {"probabilities": model.output, "cubes": model.output**3})
    model.export(tmp_path / "saved", verbose=False, input_signature=[image])
    by_way = tensorflow.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert()
    there, here = (tflite.load_interpreter(content) for content in (by_way, tflite.convert(model, "float32")))
    names = {"serving_default": {"inputs": ["image"], "outputs": ["cubes", "probabilities"]}}
    assert there.get_signature_list() == here.get_signature_list() == names
    for image in images:
        expected, found = tflite.run(there, image), tflite.run(here, image)
        assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_nothing_ends_where_the_representative_images_do():
    """Noise, fitted to, gives nearly one answer; flat images, asked about, lie far to both sides of it."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = keras.layers.Conv2D(16, 3, strides=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(3)(x)
    outputs = {
        "score": keras.layers.Dense(1, name="score")(logits),
        "probabilities": keras.layers.Softmax(name="probabilities")(logits),
    }
    model = keras.Model(pixels, outputs)
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    interpreter = tflite.load_interpreter(tflite.convert(model, "int8", noise))
    flat = np.stack([np.full((32, 32, 3), level, np.uint8) for level in range(0, 256, 15)])
    answers = [tflite.run(interpreter, image) for image in flat]
    exact = model.predict(flat, verbose=0)["score"]
    assert np.abs([answer["score"] for answer in answers] - exact).max() < 0.03 * np.ptp(exact)
    assert np.abs([answer["probabilities"].sum() - 1 for answer in answers]).max() < 1e-6
    # Clients that know no signature take the first output for the probabilities.
    assert [details["shape"].tolist() for details in interpreter.get_output_details()] == [[1, 3], [1, 1]]
    assert list(interpreter.get_signature_list()["serving_default"]["inputs"]) == ["image"]


def test_another_backend_is_named(model, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ParameterError, match="found it on jax: run this without KERAS_BACKEND"):
        tflite.convert(model, "float32")


def test_only_feature_maps_are_in_8_bits(model, images):
    (graph,) = schema.ModelT.InitFromPackedBuf(tflite.convert(model, "int8", images)).subgraphs
    results = [graph.tensors[operation.outputs[0]] for operation in graph.operators]
    in_8_bits = {tuple(result.shape) for result in results if result.type == schema.TensorType.INT8}
    assert in_8_bits == {(1, 32, 32, 3), (1, 15, 15, 8), (1, 13, 13, 8)}  # the image once it is rescaled


def test_the_8_bit_file_takes_bytes_and_gives_floats(model, images):
    interpreter = tflite.load_interpreter(tflite.convert(model, "int8", representative=images))
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert entry["shape"].tolist() == [1, 32, 32, 3]
    assert (entry["dtype"], result["dtype"]) == (np.uint8, np.float32)


def test_two_threads_that_load_models_at_once_leave_standard_error_open(capfd):
    hidden = threading.Event()

    def load(seconds):  # loading hides standard error for as long as it takes
        with tflite.quiet_stderr():
            hidden.set()
            time.sleep(seconds)

    first = threading.Thread(target=load, args=(0.2,))
    first.start()
    hidden.wait()
    load(0.3)  # begins before the first has put it back, and ends after
    first.join()
    os.write(2, b"still here")
    assert "still here" in capfd.readouterr().err


def test_mistakes_are_sentences(model):
    with pytest.raises(ValueError, match="Expected one of float32"):
        tflite.convert(model, "int4")
    with pytest.raises(ValueError, match="representative images"):
        tflite.convert(model, "int8")
    with pytest.raises(ValueError, match="Expected the runtime"):
        tflite.load_interpreter(b"", "onnx")
