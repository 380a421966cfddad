"""Metadata that MediaPipe's own schema reads, in a file that stays the model it was."""

import importlib.util
import io
import json
import types
import zipfile
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from train_model import tflite
from train_model.metadata import ALIGNMENT, NAME, add_metadata, facts_of

FACTS = {
    "name": "A test",
    "description": "What it is for.",
    "author": "Somebody",
    "licence": "Apache-2.0",
    "version": "2.0.0",
    "labels": ["coast", "forêt", "mountain"],
    "score_threshold": -1.25,
    "trained_on": {"sources": 4},
}


@pytest.fixture(scope="module")
def model() -> bytes:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(pixels))
    outputs = {
        "probabilities": keras.layers.Dense(3, activation="softmax")(x),
        "score": keras.layers.Dense(1)(x),
    }
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    return tflite.convert(keras.Model(pixels, outputs), "int8", images)


def flatbuffer_of(content: bytes) -> bytes:
    parsed = schema.ModelT.InitFromPackedBuf(content)
    (entry,) = [entry for entry in parsed.metadata if entry.name == NAME]
    return parsed.buffers[entry.buffer].data.tobytes()


@pytest.fixture(scope="module")
def official() -> types.ModuleType:
    """MediaPipe's reader and writer of the schema, without MediaPipe, which doesn't go with TensorFlow."""
    package = importlib.util.find_spec("mediapipe")
    if package is None:
        pytest.skip("MediaPipe is not installed: pip install -e '.[devices]'")
    path = Path(package.origin).parent / "tasks" / "metadata" / "metadata_schema_py_generated.py"
    spec = importlib.util.spec_from_file_location("metadata_schema", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_official_schema_reads_it_and_would_write_the_same_bytes(model, official):
    written = flatbuffer_of(add_metadata(model, FACTS))
    assert written[4:8] == b"M001"
    read = official.ModelMetadataT.InitFromObj(official.ModelMetadata.GetRootAs(written))
    assert (read.name, read.version, read.author, read.license) == (
        b"A test",
        b"2.0.0",
        b"Somebody",
        b"Apache-2.0",
    )
    (graph,) = read.subgraphMetadata
    (image,) = graph.inputTensorMetadata
    assert image.content.contentProperties.colorSpace == official.ColorSpaceType.RGB
    assert (image.processUnits[0].options.mean, image.processUnits[0].options.std) == ([0], [1])
    probabilities, score = graph.outputTensorMetadata
    (labels,) = probabilities.associatedFiles
    assert (probabilities.name, labels.name) == (b"probabilities", b"labels.txt")
    assert labels.type == official.AssociatedFileType.TENSOR_AXIS_LABELS
    assert score.processUnits[0].optionsType == official.ProcessUnitOptions.ScoreCalibrationOptions

    builder = flatbuffers.Builder()
    builder.Finish(read.Pack(builder), b"M001")
    assert bytes(builder.Output()) == written


def test_any_zip_reader_finds_the_files_uncompressed(model):
    with zipfile.ZipFile(io.BytesIO(add_metadata(model, FACTS))) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert files.pop("labels.txt").split("\n") == FACTS["labels"]
    assert files.pop("score_labels.txt") == "in_scope"
    scale, slope, offset = map(float, files.pop("score_calibration.txt").split(","))
    assert scale / (1 + np.exp(-(slope * FACTS["score_threshold"] + offset))) == 0.5
    facts = json.loads(files.pop("scene.json"))
    assert facts | {"labels": FACTS["labels"]} == FACTS
    assert not files


def test_the_model_stays_the_same(model):
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    before, after = (
        tflite.run(tflite.load_interpreter(content), image) for content in (model, add_metadata(model, FACTS))
    )
    assert list(before) == list(after) == ["probabilities", "score"]
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])


def test_the_same_facts_give_the_same_bytes_and_others_take_their_place(model):
    first = add_metadata(model, FACTS)
    assert add_metadata(model, FACTS | {"score_threshold": np.float32(-1.25)}) == first
    assert add_metadata(add_metadata(model, FACTS | {"version": "1.0.0"}), FACTS) == first


def test_buffers_are_aligned_for_processors_that_read_them_in_place(model):
    content = add_metadata(model, FACTS)
    parsed = schema.Model.GetRootAs(content)
    buffers = [parsed.Buffers(number) for number in range(parsed.BuffersLength())]
    starts = [data._tab.Vector(data._tab.Offset(4)) for data in buffers if data.DataLength()]
    assert starts and {start % ALIGNMENT for start in starts} == {0}


def test_what_is_missing_is_named(model):
    with pytest.raises(ValueError, match="Expected a TFLite file"):
        add_metadata(b"something else", FACTS)
    with pytest.raises(ValueError, match=r"labels, version too, found score_threshold"):
        add_metadata(model, {"score_threshold": 0.0})


def test_a_label_that_is_no_line_of_its_own_is_refused(model):
    for label in ("two\nlines", "two\u2028lines", " ", "sea "):
        with pytest.raises(ValueError, match="Expected labels of one line"):
            add_metadata(model, FACTS | {"labels": ["coast", label, "mountain"]})
    with pytest.raises(ValueError, match="Expected different labels"):
        add_metadata(model, FACTS | {"labels": ["coast", "coast", "mountain"]})


def test_a_runs_file_speaks_of_that_run_alone(model):
    final = {"backbone": "mobilenet", "head": "exact", "l2": 0.03, "keep": 0.975, "read_off": "five folds"}
    final |= {"counts": {"own": {"Bus": 7, "Zug 2": 5}}}
    facts = facts_of(final, ("Bus", "Zug 2"), "2.1.0")
    assert facts["labels"] == ["Bus", "Zug 2"] and facts["trained_on"] == final["counts"]
    assert facts["threshold"] == {"keep": 0.975, "read_off": "five folds"}
    assert facts["description"].startswith("Bus or Zug 2: mobilenet")
    assert "without images of other classes" in facts["description"]
    assert not {"author", "licence"} & set(facts)  # the study's own model alone has this project's
    with_others = final | {"counts": {"own": {"Bus": 7, "Zug 2": 5, "other": 3}}}
    assert "without" not in facts_of(with_others, ("Bus", "Zug 2"), "2.1.0")["description"]
    assert "licence" not in facts_of(final, ("coast", "forest", "mountain"), "2.1.0")  # of one's own images
    assert "licence" in facts_of(final, ("coast", "forest", "mountain"), "2.1.0", study=True)
    assert facts_of(final, tuple(map(str, range(200))), "1")["description"].startswith(
        "200 classes, 0 to 199"
    )
    add_metadata(model, facts | {"labels": ["a", "b", "c"]})


def test_labels_and_probabilities_of_an_image_file(model, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(add_metadata(model, FACTS))
    Image.new("RGB", (40, 50), (10, 200, 30)).save(tmp_path / "image.png")
    answers = tflite.probabilities(path, tmp_path / "image.png")
    assert list(answers) == FACTS["labels"] and sum(answers.values()) == pytest.approx(1, abs=1e-3)
