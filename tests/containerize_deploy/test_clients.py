"""One file for all: every client that runs here reads the served file's bytes and gives the service's answers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from containerize_deploy.scene_model import MODEL_FILE, SceneModel
from data_prep_eda.dataset import SAMPLE
from data_prep_eda.preprocessing import load_image
from train_model import tflite

MODEL = SceneModel()
IMAGES = np.stack([load_image(path, MODEL.size) for path in sorted(SAMPLE.glob("*/*_0[01].jpg"))])
EXPECTED = [MODEL.classify(image) for image in IMAGES]
PROBABILITIES = np.array([list(answer.probabilities.values()) for answer in EXPECTED])
SCORES = np.array([answer.score for answer in EXPECTED])

MEDIAPIPE = """
from mediapipe import Image, ImageFormat
from mediapipe.tasks.python import BaseOptions, vision

options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model))
with vision.ImageClassifier.create_from_options(options) as classifier:
    for image in images:
        scenes, scope = classifier.classify(Image(ImageFormat.SRGB, image)).classifications
        assert (scenes.head_name, scope.head_name) == ("probabilities", "score")
        by_name = {category.category_name: category.score for category in scenes.categories}
        answers.append([by_name[scene] for scene in ("coast", "forest", "mountain")])
        (category,) = scope.categories
        assert category.category_name == "in_scope"
        scores.append(category.score)
"""
TFLITE_MICRO = """
from tflite_micro.python.tflite_micro import runtime

interpreter = runtime.Interpreter.from_file(model)
for image in images:
    interpreter.set_input(image[np.newaxis], 0)
    interpreter.invoke()
    answers.append(interpreter.get_output(0)[0])
    scores.append(interpreter.get_output(1)[0, 0])
"""
ALONE = """
import sys
import numpy as np

model, images, target = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
answers, scores = [], []
{client}
np.savez(target, answers=answers, scores=scores)
"""


def ask(client: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and scores by a client in a process of its own; skips where it isn't installed or can't start."""
    np.save(folder / "images.npy", IMAGES)
    arguments = [str(MODEL_FILE), str(folder / "images.npy"), str(folder / "answers.npz")]
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(client=client), *arguments], capture_output=True, text=True
    )
    reason = done.stderr.strip().split("\n")[-1]
    if done.returncode and reason.startswith(("ImportError", "ModuleNotFoundError", "OSError")):
        pytest.skip(f"pip install -e '.[devices]' first: {reason}")
    assert not done.returncode, done.stderr
    answers = np.load(folder / "answers.npz")
    return answers["answers"], answers["scores"]


def test_mediapipe_names_the_scenes_and_puts_the_threshold_at_one_half(tmp_path):
    answers, scores = ask(MEDIAPIPE, tmp_path)
    np.testing.assert_allclose(answers, PROBABILITIES, atol=1e-6)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-4 * (SCORES - MODEL.score_threshold))), atol=1e-5)
    assert ((scores >= 0.5) == [answer.in_scope for answer in EXPECTED]).all()


def test_tflite_micro_gives_the_same_labels(tmp_path):
    answers, scores = ask(TFLITE_MICRO, tmp_path)
    assert (answers.argmax(axis=1) == PROBABILITIES.argmax(axis=1)).all()
    np.testing.assert_allclose(answers, PROBABILITIES, atol=0.05)  # other rounding than XNNPACK's
    np.testing.assert_allclose(scores, SCORES, atol=0.2)


@pytest.mark.parametrize("runtime", ["litert", "tflite_runtime"])
def test_both_runtimes_for_python_give_the_same_labels(runtime):
    if runtime not in tflite.available_runtimes():
        pytest.skip("tflite-runtime 2.14, its last release, has no wheel for this Python")
    with tflite.RuntimeProcess(runtime) as process:
        process.load("served", MODEL_FILE)
        outputs = process.run("served", IMAGES)
    exact = 1e-6 if runtime == "litert" else 0.05
    np.testing.assert_allclose(outputs["probabilities"], PROBABILITIES, atol=exact)
    assert (outputs["probabilities"].argmax(axis=1) == PROBABILITIES.argmax(axis=1)).all()
    np.testing.assert_allclose(outputs["score"][:, 0], SCORES, atol=4 * exact)


def test_clients_that_know_no_signature_find_the_probabilities_first():
    interpreter = tflite.load_interpreter(MODEL_FILE)
    shapes = [details["shape"].tolist() for details in interpreter.get_output_details()]
    assert shapes == [[1, 3], [1, 1]]
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["probabilities", "score"]}
    }
