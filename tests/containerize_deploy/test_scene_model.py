"""The served file: answers, facts from its own metadata, and what is refused."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from containerize_deploy.scene_model import (
    MODEL_FILE,
    ModelError,
    SceneModel,
    cpus,
    find_model,
    read_facts,
    with_threshold,
)
from data_prep_eda.dataset import REPOSITORY
from data_prep_eda.sun09 import CLASSES
from tests.containerize_deploy.colours import COLOURS
from train_model.evaluation.out_of_scope_inputs import synthetic_images
from train_model.metadata import add_metadata

MODEL = SceneModel()
IMAGE = np.random.default_rng(0).integers(0, 256, (MODEL.size, MODEL.size, 3), np.uint8)


def far_away() -> list[np.ndarray]:
    """Images as far from any scene as images can be: flat ones, noise, stripes, drawn pages and facades."""
    levels = (0, 1, 2, 85, 170, 253, 254, 255)
    flat = [np.full_like(IMAGE, colour) for colour in [*levels, (255, 0, 0), (0, 255, 0), (0, 0, 255)]]
    extremes = [np.where(np.random.default_rng(seed).random(IMAGE.shape) < 0.5, 0, 255) for seed in range(8)]
    drawn = [image for images in synthetic_images(MODEL.size, each=3).values() for image in images]
    return [image.astype(np.uint8) for image in (*flat, *extremes, *drawn)]


def test_no_two_images_far_away_get_the_same_score():
    """A score that ends at a floor says of everything below only that it is below."""
    answers = [MODEL.classify(image) for image in far_away()]
    scores = [answer.score for answer in answers]
    assert len(set(scores)) == len(scores)
    assert len({answer.probabilities["coast"] for answer in answers}) == len(answers)


def test_probabilities_sum_to_one_and_come_in_no_steps():
    probabilities = np.array([list(MODEL.classify(image).probabilities.values()) for image in far_away()])
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-6
    steps = probabilities * 256  # the 8-bit softmax gives multiples of 1/256
    assert np.abs(steps - steps.round()).max() > 0.2


def test_facts_come_from_the_file_itself():
    facts = read_facts(MODEL_FILE.read_bytes())
    assert tuple(facts["labels"]) == MODEL.labels == CLASSES
    assert facts["score_threshold"] == MODEL.score_threshold
    assert facts["version"] == MODEL.identity["version"]
    assert facts["licence"] == "Apache-2.0"


def test_the_file_names_the_images_that_the_committed_training_counted():
    facts = read_facts(MODEL_FILE.read_bytes())
    trained = json.loads((REPOSITORY / "notebooks" / "metrics.json").read_text())["final"]
    by_source = {
        source: sum(n for label, n in counts.items() if label != "other")
        if isinstance(counts, dict)
        else counts
        for source, counts in facts["trained_on"].items()
    }
    assert sum(by_source.values()) == trained["trained_on"]
    assert facts["trained_on"] == trained.get("counts", facts["trained_on"])


def test_the_file_is_small():
    assert MODEL_FILE.stat().st_size <= 4_000_000


def copy_of_the_model(folder: Path, **changes) -> Path:
    model = folder / MODEL_FILE.name
    content = MODEL_FILE.read_bytes()
    model.write_bytes(add_metadata(content, read_facts(content) | changes))
    return model


def test_the_threshold_decides_what_is_in_scope(tmp_path):
    score = MODEL.classify(IMAGE).score
    assert SceneModel(copy_of_the_model(tmp_path, score_threshold=score)).classify(IMAGE).in_scope
    assert not SceneModel(copy_of_the_model(tmp_path, score_threshold=score + 0.1)).classify(IMAGE).in_scope


def test_labels_that_are_not_the_models_are_refused(tmp_path):
    with pytest.raises(ModelError, match="probabilities"):
        SceneModel(copy_of_the_model(tmp_path, labels=["coast", "forest"]))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"Expected the model model\.tflite, found no such file"):
        SceneModel(tmp_path / "model.tflite")


def zipped(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_", "."), text)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "metadata of model"),
        (MODEL_FILE.read_bytes()[:-100], "metadata of model"),
        (zipped(labels_txt="coast"), "scene.json"),
        (zipped(labels_txt="coast", scene_json="{"), "scene.json"),
        (zipped(labels_txt="coast", scene_json="[]"), "scene.json"),
        (zipped(labels_txt="coast", scene_json='{"version": "1"}'), "score_threshold"),
        (zipped(labels_txt="coast", scene_json='{"score_threshold": 1}'), "version"),
        (zipped(labels_txt="coast", scene_json='{"version": "1", "score_threshold": "low"}'), "low"),
        (zipped(labels_txt="coast", scene_json='{"version": "1", "score_threshold": 1}'), "a TFLite model"),
    ],
    ids=[
        "empty",
        "cut",
        "no facts",
        "no JSON",
        "a list",
        "no threshold",
        "no version",
        "no number",
        "no model",
    ],
)
def test_what_is_no_model_with_metadata_is_refused(tmp_path, content, message):
    model = tmp_path / "model.tflite"
    model.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        SceneModel(model)


@pytest.mark.parametrize(
    ("memory", "expected"), [(None, 1), ("128", 1), ("1769", 1), ("3008", 1), ("3538", 2), ("10240", 5)]
)
def test_threads_follow_the_memory_that_buys_them(monkeypatch, memory, expected):
    if memory is None:
        monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)
    else:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)
    assert cpus() == expected


def test_the_model_is_found_in_a_runs_folder_or_by_the_environment(colour_run, monkeypatch):
    """Labels of any script come from the file itself."""
    inside = colour_run / "models" / MODEL_FILE.name
    assert find_model(colour_run) == find_model(str(inside)) == inside
    assert find_model() == find_model("") == MODEL_FILE
    monkeypatch.setenv("SCENES_MODEL", str(colour_run))
    assert find_model() == inside
    assert find_model(MODEL_FILE) == MODEL_FILE
    assert SceneModel().labels == tuple(COLOURS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "found no file at .*nowhere"),
        ("photo.jpg", r"found the file photo\.jpg"),
        (".", r"models/scene-classifier-model\.tflite, found no such file\. Notebook 07"),
    ],
)
def test_what_is_no_model_and_no_run_is_refused(tmp_path, name, said):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ModelError, match=said):
        find_model(tmp_path / name)


@pytest.mark.parametrize("threshold", [-1.25, 0.0, 3.5])
def test_another_threshold_gives_the_bytes_that_the_export_would_give(threshold):
    """Also the calibration that MediaPipe reads."""
    facts = read_facts(MODEL_FILE.read_bytes())
    content = add_metadata(MODEL_FILE.read_bytes(), facts)
    words = {"read_off": f"set by hand; it was {facts['score_threshold']:.6g}"}
    expected = add_metadata(content, facts | {"score_threshold": threshold, "threshold": words})
    assert with_threshold(content, threshold) == expected
    with pytest.raises(ModelError, match="metadata"):
        with_threshold(b"TFL3", threshold)
