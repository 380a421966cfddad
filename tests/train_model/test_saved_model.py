"""Saved models are anybody's: a fresh process with Keras alone loads, runs and converts them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from train_model.final_model import fit_model
from train_model.study import save_model

ALONE = """
import sys
import numpy as np, keras, tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

images, answers = np.load("images.npy"), {}
for saved in sys.argv[1:]:
    model = keras.models.load_model(saved, compile=False)
    answers |= {f"{saved} {name}": values for name, values in model.predict(images, verbose=0).items()}
interpreter = Interpreter(model_content=tf.lite.TFLiteConverter.from_keras_model(model).convert())
lite = interpreter.get_signature_runner()(**{model.inputs[0].name: images[:1]})
np.savez("answers.npz", **answers, **{f"lite {name}": values for name, values in lite.items()})
assert not {"train_model", "data_prep_eda"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    features = rng.gamma(1.0, 0.5, (12, 1024)) + np.eye(3, 1024)[labels]
    return fit_model(features, labels, features[:4] + 1, l2=0.03).build()


def test_a_fresh_process_without_this_project_gives_the_same_answers(model, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    saved = [path.name for path in save_model(model, tmp_path)]
    assert saved == ["scene_mobilenet.keras", "scene_mobilenet.h5"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, *saved], cwd=tmp_path, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    for name, expected in model.predict(images, verbose=0).items():
        for path in saved:
            np.testing.assert_allclose(answers[f"{path} {name}"], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(answers[f"lite {name}"], expected[:1], rtol=1e-3, atol=1e-3)
