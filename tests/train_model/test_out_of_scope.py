"""The scope score tells scenes from strangers, in NumPy and in the model alike."""

import keras
import numpy as np
import pytest

from train_model.final_model import fit_discriminant
from train_model.out_of_scope import (
    fit_scope,
    leave_one_scene_out,
    separation,
    shrunk_covariance,
    synthetic_images,
    threshold,
)

FEATURES = 48


def _world(seed, n=80):
    """Positive features of three scenes and of strangers: each kind has features of its own that are strong."""
    rng = np.random.default_rng(seed)
    profiles = np.random.default_rng(99).gamma(1.0, 1.0, (4, FEATURES))
    labels = np.arange(n) % 4
    features = profiles[labels] * rng.gamma(9, 1 / 9, (n, FEATURES)) * rng.uniform(0.5, 1.5, (n, 1))
    return features[labels < 3], labels[labels < 3], features[labels == 3]


@pytest.fixture(scope="module")
def fitted():
    features, labels, _ = _world(0, 240)
    kernel, bias = fit_discriminant(features, labels)
    return fit_scope(features, labels, kernel, bias, directions=8)


def test_scenes_score_higher_than_strangers(fitted):
    scenes, _, strangers = _world(1)
    assert separation(fitted.score(scenes), fitted.score(strangers)) > 0.95


def test_nearness_is_the_mahalanobis_distance_of_unit_features():
    features, labels, strangers = _world(0, 240)
    kernel, bias = fit_discriminant(features, labels)
    # With all directions kept nothing is approximated; without the lead only the distance is left.
    scope = fit_scope(
        features, labels, 0 * kernel + np.eye(FEATURES, 3) * 1e-9, bias, directions=FEATURES - 1
    )
    near = scope.score(strangers) - (strangers @ scope.lead_kernel + scope.lead_bias).max(axis=1)

    unit = lambda f: f / np.linalg.norm(f, axis=1, keepdims=True)  # noqa: E731
    precision = np.linalg.inv(shrunk_covariance(unit(features), labels, 0.7))
    means = [unit(features)[labels == scene].mean(axis=0) for scene in range(3)]
    offsets = [unit(strangers) - mean for mean in means]
    distance = np.min([np.einsum("nd,de,ne->n", o, precision, o) for o in offsets], axis=0)
    assert np.corrcoef(near, -distance)[0, 1] > 0.9999


def test_the_model_computes_the_same_score(fitted):
    pooled = keras.Input((FEATURES,))
    model = keras.Model(pooled, fitted.layers(pooled))
    features, _, _ = _world(2)
    computed = model.predict(features.astype("float32"), verbose=0)
    assert computed.shape == (len(features), 1)
    assert np.allclose(computed[:, 0], fitted.score(features), atol=1e-3)


def test_shrinkage_goes_from_the_plain_covariance_to_a_multiple_of_the_identity():
    features, labels, _ = _world(0, 240)
    plain = shrunk_covariance(features, labels, 0.0)
    assert np.allclose(
        shrunk_covariance(features, labels, 0.25),
        0.75 * plain + 0.25 * np.trace(plain) / FEATURES * np.eye(FEATURES),
    )


def test_threshold_keeps_the_share_it_promises():
    scores = np.random.default_rng(0).normal(size=1000)
    assert np.mean(scores >= threshold(scores, keep=0.95)) == pytest.approx(0.95, abs=0.002)


def test_a_scene_that_was_left_out_is_a_stranger():
    features, labels, _ = _world(0, 240)
    views = np.stack([features, features * 1.1])
    half = np.arange(len(labels)) % 2 == 0
    table = leave_one_scene_out(
        views, labels, [(np.where(half)[0], np.where(~half)[0])], lambda f, t, _: fit_discriminant(f, t)
    )
    assert set(table["score"]) == {"energy", "lead", "nearness", "scope"}
    assert len(table) == 3 * 4
    assert (table.query("score == 'scope'")["auroc"] > 0.9).all()


def test_synthetic_images_are_images_and_reproducible():
    images = synthetic_images(size=64, each=2)
    again = synthetic_images(size=64, each=2)
    for kind, stack in images.items():
        assert stack.shape == (2, 64, 64, 3) and stack.dtype == np.uint8
        assert np.array_equal(stack, again[kind])
        assert not np.array_equal(stack[0], stack[1])
