"""The served head: one dense layer with L2, the same by scikit-learn, by Keras and in the full model."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from data_prep_eda.dataset import SAMPLE
from data_prep_eda.preprocessing import load_image
from train_model.features import extract_features
from train_model.final_model import NEVER, fit_head, fit_model


@pytest.fixture(scope="module")
def blobs():
    """Three overlapping clouds of 16 features: features, labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    return (rng.normal(size=(300, 16)) + 1.5 * np.eye(16)[labels] + 2).astype(np.float32), labels


def objective(features, labels, kernel, bias, l2):
    losses = -log_softmax(features @ kernel + bias, axis=1)[np.arange(len(labels)), labels]
    return losses.mean() + l2 * (kernel**2).sum()


@pytest.mark.parametrize("l2", [0.01, 0.3])
def test_l2_means_what_keras_means_by_it(blobs, l2):
    features, labels = blobs
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(l2))
    model = keras.Sequential([keras.Input((16,)), dense])
    rate = keras.optimizers.schedules.CosineDecay(0.1, 400)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    mean = features.mean(axis=0)
    for _ in range(400):
        model.train_on_batch(features - mean, labels)
    kernel, bias = dense.get_weights()
    exact = fit_head(features, labels, l2)
    assert kernel == pytest.approx(exact[0], abs=0.02)
    assert (
        objective(features, labels, *exact, l2)
        <= objective(features, labels, kernel, bias - mean @ kernel, l2) + 1e-6
    )


def test_two_scenes_are_regularised_like_three(blobs):
    features, labels = (part[blobs[1] != 2] for part in blobs)
    kernel, bias = fit_head(features, labels, 0.05)
    best = objective(features, labels, kernel, bias, 0.05)
    for factor in (0.9, 1.1):
        assert objective(features, labels, factor * kernel, bias, 0.05) > best
    assert bias[2] == NEVER and (features @ kernel + bias).argmax(axis=1).max() == 1


def test_the_full_model_answers_as_the_head_on_features():
    paths = sorted(SAMPLE.glob("*/*_0[0-3].jpg"))
    labels = np.repeat([0, 1, 2], 4)
    features = extract_features(paths)
    trained = fit_model(features, labels, features[:0], l2=0.03)
    images = np.stack([load_image(path, 224) for path in paths])
    answers = trained.build().predict(images, verbose=0)
    assert answers["probabilities"] == pytest.approx(trained.probabilities(features), abs=1e-3)
    assert answers["score"][:, 0] == pytest.approx(trained.score(features), abs=0.02)
