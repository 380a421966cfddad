"""The served head is the solution of its problem, the threshold is read off unseen images, and saved models are anybody's."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from data_prep_eda.dataset import SAMPLE
from data_prep_eda.preprocessing import load_image
from train_model import final_model, record
from train_model.features import extract_features
from train_model.final_model import (
    NEVER,
    class_importance,
    fit_head,
    fit_model,
    held_out_scores,
    save_model,
    trained_model,
)
from train_model.out_of_scope import threshold
from train_model.parameters import ParameterError
from train_model.record import record_metrics


def blobs(classes: int, n: int = 300, scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds of 24 features, one per class, of unequal sizes: features, labels."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(1.5 / classes, n) - 1, classes - 1)
    labels[:classes] = np.arange(classes)
    centres = np.random.default_rng(99).normal(size=(classes, 24))
    return (scale * (rng.normal(size=(n, 24)) + centres[labels] + 2)).astype(np.float32), labels


def objective(features, labels, kernel, bias, l2, importance=None):
    losses = -log_softmax(features.astype(float) @ kernel + bias, axis=1)[np.arange(len(labels)), labels]
    return np.average(losses, weights=importance) + l2 * (kernel.astype(float) ** 2).sum()


def gradient(features, labels, kernel, bias, l2, importance=None):
    """Largest number of the objective's gradient, by kernel and bias."""
    features, importance = features.astype(float), 1 if importance is None else importance[:, None]
    error = softmax(features @ kernel + bias, axis=1) - np.eye(len(bias))[labels]
    error *= importance / len(labels)
    return max(np.abs(features.T @ error + 2 * l2 * kernel).max(), np.abs(error.sum(axis=0)).max())


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("scale", [0.1, 1, 10])
@pytest.mark.parametrize("classes", [2, 3, 20])
def test_the_head_is_where_the_gradient_vanishes(classes, scale, class_weights):
    """A training that stopped short, a wrong factor in l2 or a forgotten weight all leave a slope."""
    features, labels = blobs(classes, scale=scale)
    importance = class_importance(labels, class_weights)
    for l2 in (0.003, 0.3):
        head = fit_head(features, labels, l2, classes, importance)
        assert gradient(features, labels, *head, l2, importance) < 2e-5 * max(1, scale)


@pytest.mark.parametrize("classes", [2, 4])
def test_another_solver_finds_the_same_head(classes):
    features, labels = blobs(classes, 120)

    def value(flat):
        kernel, bias = flat[:-classes].reshape(24, classes), flat[-classes:]
        return objective(features, labels, kernel, bias, 0.03)

    other = minimize(value, np.zeros(25 * classes), method="BFGS", options={"gtol": 1e-6}).x
    theirs = softmax(features @ other[:-classes].reshape(24, classes) + other[-classes:], axis=1)
    kernel, bias = fit_head(features, labels, 0.03, classes)
    assert softmax(features @ kernel + bias, axis=1) == pytest.approx(theirs, abs=1e-3)


def test_l2_means_what_keras_means_by_it_and_a_training_that_is_too_short_is_seen():
    features, labels = blobs(3)
    mean, (kernel, bias) = features.mean(axis=0), fit_head(features, labels, 0.01, 3)
    exact, differences = softmax(features @ kernel + bias, axis=1), {}
    for steps in (20, 1500):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))
        model = keras.Sequential([keras.Input((24,)), dense])
        rate = keras.optimizers.schedules.CosineDecay(0.1, steps)
        model.compile(
            keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        every_step = np.tile(features - mean, (steps, 1)), np.tile(labels, steps)  # on all images
        model.fit(*every_step, batch_size=len(labels), shuffle=False, verbose=0)
        trained = softmax(model.predict(features - mean, verbose=0), axis=1)
        differences[steps] = np.abs(trained - exact).max()
    assert differences[1500] < 0.01 < differences[20]


def test_a_class_without_an_image_is_never_predicted():
    features, labels = blobs(2)
    kernel, bias = fit_head(features, 2 * labels, 0.05, 4)
    assert bias[1] == bias[3] == NEVER
    assert set((features @ kernel + bias).argmax(axis=1)) == {0, 2}


def test_balanced_weights_raise_the_recall_of_a_rare_class():
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], (280, 20))
    features = rng.normal(size=(300, 8)) + 0.8 * labels[:, None]
    recalls = {}
    for kind in ("none", "balanced"):
        kernel, bias = fit_head(features, labels, 0.3, 2, class_importance(labels, kind))
        recalls[kind] = (features @ kernel + bias).argmax(axis=1)[labels == 1].mean()
    assert class_importance(labels, "balanced").mean() == pytest.approx(1)
    assert recalls["balanced"] > recalls["none"] + 0.2


def test_held_out_scores_are_of_models_that_have_not_seen_the_image(monkeypatch):
    """A copy in another fold would be scored as known; so would an image that its own model was fitted to."""
    features, labels = blobs(3, 60)
    features = np.abs(np.r_[features, features])  # every image twice
    labels, sources, fitted = np.tile(labels, 2), np.repeat(["a", "b"], 60), []
    fit = fit_model
    monkeypatch.setattr(final_model, "fit_model", lambda *args: fitted.append(args[0]) or fit(*args))
    scores = held_out_scores(features, features, labels, sources, features[:0], 0.03, 3)
    assert len(scores) == 120 and len(fitted) == 5
    seen = [{row.tobytes() for row in part} for part in fitted]
    for row in features:
        assert sum(row.tobytes() not in part for part in seen) == 1


def test_too_few_images_to_hold_any_out_give_no_scores():
    features, labels = np.eye(2, 8), np.array([0, 1])
    assert len(held_out_scores(features, features, labels, np.array(["a", "a"]), features[:0], 0.03, 2)) == 0


def test_the_threshold_keeps_the_wanted_share_of_new_images_and_one_of_seen_images_does_not():
    features, labels = blobs(4, 600)
    held_out = held_out_scores(features, features, labels, np.full(600, "a"), features[:0], 0.03, 4)
    model = fit_model(features, labels, features[:0], 0.03, 4)
    fresh = model.score(blobs(4, 2000, seed=1)[0])
    assert np.mean(fresh >= threshold(held_out, 0.9)) >= 0.9
    assert np.mean(fresh >= threshold(model.score(features), 0.9)) < 0.9


def test_the_full_model_answers_as_the_head_on_features():
    paths = sorted(SAMPLE.glob("*/*_0[0-3].jpg"))
    features, labels = extract_features(paths), np.repeat([0, 1, 2], 4)
    trained = fit_model(features, labels, features[:0], 0.03, 5)
    answers = trained.build().predict(np.stack([load_image(path, 224) for path in paths]), verbose=0)
    assert answers["probabilities"].shape == (12, 5)
    assert answers["probabilities"] == pytest.approx(trained.probabilities(features), abs=1e-3)
    assert answers["score"][:, 0] == pytest.approx(trained.score(features), abs=0.02)


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


def test_a_fresh_process_without_this_project_gives_the_same_answers(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    features = rng.gamma(1.0, 0.5, (12, 1024)) + np.eye(3, 1024)[labels]
    model = fit_model(features, labels, features[:4] + 1, 0.03, 3).build()
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


def test_a_later_notebook_gets_this_runs_model_and_no_other(tmp_path, monkeypatch, capsys):
    with pytest.raises(ParameterError, match="Run notebook 06_train_final_model"):
        trained_model(tmp_path)
    path = tmp_path / "models" / "scene_mobilenet.keras"
    path.parent.mkdir()
    path.write_bytes(b"a model")
    record_metrics(tmp_path, "final", {"saved": True})
    assert trained_model(tmp_path) == path
    record_metrics(tmp_path, "final", {"saved": False})  # the file is of an earlier training
    with pytest.raises(ParameterError, match="save_files"):
        trained_model(tmp_path)
    monkeypatch.setattr(record, "ALONE", tmp_path / "alone")
    assert trained_model(tmp_path / "alone").parent.name == "train_model"
    assert "about the published one" in capsys.readouterr().out
