"""Heads trained side by side equal heads trained alone, and the full model trained with a frozen backbone."""

import keras
import numpy as np
import pytest

from train_model.backbones import BACKBONES, assemble
from train_model.features import extract_features
from train_model.heads import train_heads
from train_model.metrics import load_images, predict


@pytest.fixture(scope="module")
def problem():
    """Features of three noisy clusters: (train, labels, validation, labels)."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 40))
    labels = np.repeat([0, 1, 2], 30)
    features = (centres[labels] + rng.normal(size=(90, 40)) * 2).astype(np.float32)
    order = rng.permutation(90)
    return features[order[:70]], labels[order[:70]], features[order[70:]], labels[order[70:]]


def test_heads_side_by_side_equal_heads_alone(problem):
    rates = [0.001, 0.01, 0.1]
    together = train_heads(*problem, rates, epochs=3, seeds=[5, 6], classes=3)
    for rate in rates:
        alone = train_heads(*problem, [rate], epochs=3, seeds=[6], classes=3)
        assert np.allclose(together.kernels[rate, 6], alone.kernels[rate, 6], atol=1e-5)
        assert np.allclose(together.biases[rate, 6], alone.biases[rate, 6], atol=1e-5)


def test_training_is_repeatable_and_seeds_differ(problem):
    first, second = (train_heads(*problem, [0.01], epochs=2, seeds=[0, 1], classes=3) for _ in range(2))
    assert np.array_equal(first.kernels[0.01, 0], second.kernels[0.01, 0])
    assert not np.allclose(first.kernels[0.01, 0], first.kernels[0.01, 1], atol=1e-3)


def test_training_learns_and_the_best_epoch_is_the_best(problem):
    heads = train_heads(*problem, [0.0001, 0.01], epochs=10, classes=3)
    history, best = heads.history, heads.best()
    assert len(history) == 20 and len(best) == 2
    good = history[history["learning_rate"] == 0.01]
    assert good["loss"].iloc[-1] < 0.5 * good["loss"].iloc[0]
    assert best["val_accuracy"].max() == history["val_accuracy"].max()
    logits = heads.logits(best.iloc[1], problem[2])
    assert np.mean(logits.argmax(axis=1) == problem[3]) == best.iloc[1]["val_accuracy"]


def test_each_epoch_gets_its_own_view(problem):
    asked = []
    train_heads(lambda epoch: asked.append(epoch) or problem[0], *problem[1:], [0.01], epochs=3, classes=3)
    assert asked == [0, 1, 2]


def test_head_on_features_equals_the_full_model_with_a_frozen_backbone(images, tmp_path):
    """The shortcut of the study: what is trained on cached features is what fit() on images would give."""
    mobilenet = BACKBONES["mobilenet"]
    paths = sorted(images.glob("*/*_0[0-3].jpg"))
    labels = np.repeat([0, 1, 2], 4)
    pixels = load_images(paths, mobilenet.input_size)
    features = extract_features(paths, cache=tmp_path, engine="keras")
    heads = train_heads(
        features, labels, features[:3], labels[:3], [0.001], epochs=2, batch_size=6, seeds=[4], classes=3
    )
    shortcut = assemble(mobilenet, heads.kernels[0.001, 4][-1], heads.biases[0.001, 4][-1])

    kernel = keras.initializers.GlorotUniform(4)((mobilenet.features, 3))
    full = assemble(mobilenet, np.asarray(kernel), np.zeros(3, np.float32))
    full.compile(keras.optimizers.Adam(0.001), loss={"probabilities": "sparse_categorical_crossentropy"})
    assert len(full.trainable_variables) == 2, "the backbone is frozen"
    rng = np.random.default_rng(4)
    for _ in range(2):
        order = rng.permutation(12)
        full.fit(
            pixels[order].astype("float32"),
            {"probabilities": labels[order]},
            batch_size=6,
            shuffle=False,
            verbose=0,
        )

    answers, expected = predict(shortcut, pixels), predict(full, pixels)
    assert np.allclose(answers, expected, atol=2e-3)
    assert np.array_equal(answers.argmax(axis=1), expected.argmax(axis=1))
