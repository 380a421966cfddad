"""The OOD score tells scenes from other things, in NumPy and in the model alike."""

import keras
import numpy as np
import pytest

from train_model.final_model import fit_model
from train_model.metrics import auroc
from train_model.out_of_scope import threshold

FEATURES = 48


def world(seed, n=240):
    """Positive features of three scenes and of a fourth thing: each kind has strong features of its own."""
    rng = np.random.default_rng(seed)
    profiles = np.random.default_rng(99).gamma(1.0, 1.0, (4, FEATURES))
    labels = np.arange(n) % 4
    features = profiles[labels] * rng.gamma(9, 1 / 9, (n, FEATURES)) * rng.uniform(0.5, 1.5, (n, 1))
    return features[labels < 3], labels[labels < 3], features[labels == 3]


@pytest.fixture(scope="module")
def score():
    features, labels, others = world(0)
    return fit_model(features, labels, others, l2=0.03).score


def test_scenes_score_higher_than_other_things(score):
    scenes, _, others = world(1)
    assert auroc(score(scenes), score(others)) > 0.97


def test_without_images_of_other_things_there_is_no_evidence_and_still_a_score():
    features, labels, others = world(0)
    score = fit_model(features, labels, others[:0], l2=0.03).score
    scenes, _, others = world(1)
    assert not score.evidence_kernel.any()
    assert auroc(score(scenes), score(others)) > 0.9


def test_what_nobody_has_shown_is_refused_by_its_distance(score):
    scenes, _, _ = world(1)
    far = np.abs(np.random.default_rng(2).normal(size=(50, FEATURES)))
    parts = {name: auroc(score.parts(scenes)[name], score.parts(far)[name]) for name in score.parts(far)}
    assert parts["nearness"] > 0.95


def test_the_model_computes_the_same_score(score):
    pooled = keras.Input((FEATURES,))
    model = keras.Model(pooled, score.with_threshold(0.5).layers(pooled))
    scenes, _, _ = world(1)
    answers = model.predict(scenes, verbose=0)
    assert answers.shape == (len(scenes), 1)
    assert answers[:, 0] == pytest.approx(score(scenes) - 0.5, abs=1e-3)


def test_two_inputs_far_away_never_share_a_score(score):
    scenes, _, _ = world(1)
    scores = score(scenes[:20] * np.linspace(10, 1000, 20)[:, None])
    assert len(np.unique(scores)) == 20


def test_the_threshold_keeps_the_wanted_share_of_every_source_alike():
    rng = np.random.default_rng(0)
    large, small = rng.normal(2, 1, 2000), rng.normal(0, 1, 100)
    limit = threshold(np.r_[large, small], np.repeat(["large", "small"], (2000, 100)), 0.9)
    kept = [np.mean(scores >= limit) for scores in (large, small)]
    assert np.mean(kept) == pytest.approx(0.9, abs=0.01) and kept[1] > 0.75
    assert np.mean(large >= threshold(large, np.zeros(2000), 0.95)) == pytest.approx(0.95, abs=0.001)


def test_fewer_images_than_prototypes():
    features, labels, others = world(0, 8)
    assert np.isfinite(fit_model(features, labels, others, l2=0.03).score(features)).all()
