"""The recipe of the served model: closed form, calibrated, the same in NumPy and Keras."""

import keras
import numpy as np
import pytest

from train_model import final_model
from train_model.final_model import RARE, fit_discriminant, kind_importance, train, view_features


@pytest.fixture(scope="module")
def blobs():
    """Three overlapping clouds of 16 features: (training, labels, unseen, labels)."""

    def draw(seed, n):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 3
        return rng.normal(size=(n, 16)) + 1.5 * np.eye(16)[labels] + 2, labels

    return *draw(0, 150), *draw(1, 600)


def test_discriminant_is_near_the_best_possible(blobs):
    features, labels, unseen, truth = blobs
    kernel, bias = fit_discriminant(features, labels)
    best = (unseen[:, :3].argmax(axis=1) == truth).mean()  # the clouds are round and equal: Bayes' rule
    assert ((unseen @ kernel + bias).argmax(axis=1) == truth).mean() > best - 0.04


def test_scenes_count_alike_however_many_images_they_have(blobs):
    features, labels, unseen, truth = blobs
    few = (labels != 0) | (np.arange(len(labels)) % 9 == 0)
    kernel, bias = fit_discriminant(features[few], labels[few])
    right = (unseen @ kernel + bias).argmax(axis=1) == truth
    assert right[truth == 0].mean() > 0.6


def test_a_rare_kind_counts_more_than_its_images_but_less_than_a_common_one():
    labels = np.array([0] * 110 + [1] * 40)
    kinds = ["plain"] * 90 + ["beach"] * 19 + ["cave"] + [""] * 40
    importance = kind_importance(kinds, labels)
    assert importance.mean() == pytest.approx(1)
    plain, beach, cave, unknown = (
        importance[[kind == name for kind in kinds]] for name in ("plain", "beach", "cave", "")
    )
    assert beach[0] / plain[0] == pytest.approx((90 / 19) ** 0.5)
    assert plain.sum() > beach.sum() > cave.sum()
    assert cave[0] == pytest.approx(beach[0] * (19 / RARE) ** 0.5)  # one image does not speak for many
    assert np.ptp(unknown) == 0


def test_importance_is_like_having_a_image_several_times(blobs):
    features, labels, unseen, truth = blobs
    times = np.arange(len(labels)) % 3 + 1
    weighed = fit_discriminant(features, labels, importance=times)
    repeated = fit_discriminant(features.repeat(times, axis=0), labels.repeat(times))
    for one, other in zip(weighed, repeated, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    trained = train(features[None], labels, unseen[None], truth, importance=times)
    np.testing.assert_allclose(trained.kernel * trained.temperature, weighed[0], rtol=1e-4)


def test_probabilities_are_calibrated_and_scores_thresholded(blobs):
    features, labels, unseen, truth = blobs
    trained = train(features[None], labels, unseen[None], truth)
    probabilities = trained.probabilities(unseen)
    assert np.allclose(probabilities.sum(axis=1), 1)
    right = probabilities.argmax(axis=1) == truth
    assert probabilities.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.03)
    assert (trained.score(unseen) >= trained.score_threshold).mean() == pytest.approx(0.95, abs=0.01)


def test_training_is_the_same_every_time(blobs):
    features, labels, unseen, truth = blobs
    first, second = (train(features[None], labels, unseen[None], truth) for _ in range(2))
    assert np.array_equal(first.kernel, second.kernel)
    assert first.score_threshold == second.score_threshold


def test_views_are_the_image_and_then_one_augmented_view_after_the_other(monkeypatch):
    asked, reported = [], []

    def extract_features(paths, backbone, *, view, progress, **options):
        asked.append(view and view.key)
        progress(len(paths), len(paths))
        return np.full((len(paths), 4), len(asked))

    monkeypatch.setattr(final_model, "extract_features", extract_features)
    features = view_features(["a", "b"], 2, seed=7, progress=lambda done, n: reported.append((done, n)))
    assert features.shape == (3, 2, 4)
    assert asked == [None, "robust-v2-7-0", "robust-v2-7-1"]
    assert reported == [(2, 6), (4, 6), (6, 6)]
    assert view_features(["a"], 2, augmentation="none", progress=lambda *_: None).shape == (1, 1, 4)


def test_full_model_says_what_the_head_says():
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    features = rng.gamma(1.0, 0.5, (1, 12, 1024)) + np.eye(3, 1024)[labels]
    trained = train(features, labels, features, labels)
    model = trained.build()

    images = rng.integers(0, 256, (2, 224, 224, 3)).astype("float32")
    outputs = model.predict(images, verbose=0)
    pooled = keras.Model(model.input, model.get_layer("pool").output).predict(images, verbose=0)
    assert outputs["score"].shape == (2, 1)
    assert np.allclose(outputs["probabilities"], trained.probabilities(pooled), atol=1e-4)
    assert np.allclose(outputs["score"][:, 0], trained.score(pooled), rtol=1e-3, atol=1e-3)
