"""The OOD score separates the classes from all else, in NumPy and in the model alike, and its threshold means what it says."""

import keras
import numpy as np
import pytest
from scipy.stats import norm

from train_model.final_model import fit_model
from train_model.metrics import auroc
from train_model.out_of_scope import fit_ood_score, threshold

FEATURES = 48


def world(seed, n=240):
    """Positive features of three classes and of a fourth thing: each kind has strong features of its own."""
    rng = np.random.default_rng(seed)
    profiles = np.random.default_rng(99).gamma(1.0, 1.0, (4, FEATURES))
    labels = np.arange(n) % 4
    features = profiles[labels] * rng.gamma(9, 1 / 9, (n, FEATURES)) * rng.uniform(0.5, 1.5, (n, 1))
    return features[labels < 3], labels[labels < 3], features[labels == 3]


@pytest.fixture(scope="module")
def score():
    features, labels, others = world(0)
    return fit_model(features, labels, others, l2=0.03, classes=3).score


def test_the_classes_score_higher_than_all_else(score):
    known, _, others = world(1)
    assert auroc(score(known), score(others)) > 0.97


def test_without_images_of_other_classes_there_is_no_evidence_and_still_a_score():
    features, labels, others = world(0)
    score = fit_model(features, labels, others[:0], l2=0.03, classes=3).score
    known, _, others = world(1)
    assert not score.evidence_kernel.any()
    assert auroc(score(known), score(others)) > 0.9


def test_what_it_was_not_shown_is_refused_by_its_distance(score):
    known, _, _ = world(1)
    far = np.abs(np.random.default_rng(2).normal(size=(50, FEATURES)))
    parts = {name: auroc(score.parts(known)[name], score.parts(far)[name]) for name in score.parts(far)}
    assert parts["nearness"] > 0.95


def test_the_model_computes_the_same_score(score):
    pooled = keras.Input((FEATURES,))
    model = keras.Model(pooled, score.with_threshold(0.5).layers(pooled))
    known, _, _ = world(1)
    answers = model.predict(known, verbose=0)
    assert answers.shape == (len(known), 1)
    assert answers[:, 0] == pytest.approx(score(known) - 0.5, abs=1e-3)


def test_two_inputs_far_away_never_share_a_score(score):
    known, _, _ = world(1)
    scores = score(known[:20] * np.linspace(10, 1000, 20)[:, None])
    assert len(np.unique(scores)) == 20


def test_the_threshold_keeps_the_wanted_share_and_lies_on_no_score():
    rng, kept = np.random.default_rng(0), []
    for _ in range(300):
        scores = rng.normal(size=400)
        limit = threshold(scores, 0.95)
        assert np.abs(scores - limit).min() > 0
        kept.append(norm.sf(limit))
    assert np.mean(kept) == pytest.approx(0.95, abs=0.005)
    assert threshold(np.arange(1000.0), 0.975) == 24.5


@pytest.mark.parametrize("n", [2, 5, 19])
def test_of_few_images_the_threshold_leaves_a_margin(n):
    """It once lay on an image's own score and refused the image that it was read off."""
    kept = []
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(size=n + 1)
        limit = threshold(scores[:-1], 0.975)
        assert limit < scores[:-1].min() - 0.04
        kept.append(scores[-1] >= limit)
    assert np.mean(kept) > 0.95


def test_equal_scores_are_all_kept():
    assert threshold(np.ones(10), 0.975) < 1 and threshold(np.ones(1000), 0.975) == 1


def test_every_class_has_prototypes_of_its_own_however_rare():
    """Clusters of all images together leave a rare class without any, and every image of it far away."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], (500, 500, 4))
    features = np.abs(3 * np.eye(3, FEATURES)[labels] + 0.3 * rng.normal(size=(1004, FEATURES)))
    score = fit_ood_score(features, labels, np.eye(FEATURES, 3), np.zeros(3), features[:0])
    nearest = score.prototypes[:3].argmax(axis=0)
    assert set(nearest) == {0, 1, 2} and score.prototypes.shape[1] <= 66
    nearness = score.parts(features)["nearness"]
    assert np.median(nearness[labels == 2]) > np.quantile(nearness[labels < 2], 0.01)


@pytest.mark.parametrize("classes", [2, 200])
def test_two_classes_or_two_hundred(classes):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 3)
    features = np.abs(np.eye(classes, 256)[labels] * 4 + rng.normal(size=(len(labels), 256)))
    score = fit_ood_score(features, labels, np.eye(256, classes), np.zeros(classes), features[:0])
    assert score.prototypes.shape == (256, classes) if classes > 64 else score.prototypes.shape[1] >= classes
    assert np.isfinite(score(features)).all()


def test_fewer_images_than_prototypes():
    features, labels, others = world(0, 8)
    assert np.isfinite(fit_model(features, labels, others, l2=0.03, classes=3).score(features)).all()
