"""Leaving one source out: nobody is tested on what was trained on, and every source counts the same."""

import numpy as np
import pytest

from train_model.evaluation.leave_one_source_out import accuracy_table, compare, folds, variety_curve
from train_model.evaluation.ood_scores import SERVED, auroc_table, fit_scores
from train_model.evaluation.recipes import TrainingData, recipes
from train_model.metrics import paired_difference

SOURCES = np.repeat(["sun", "miml", "corel"], (60, 30, 30))


@pytest.fixture(scope="module")
def world():
    """Features of three scenes from three sources, each source shifted its own way, and of other things."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    shift = dict(zip(("sun", "miml", "corel"), rng.normal(0, 0.5, (3, 24)), strict=True))
    features = 3 * np.eye(24)[labels] + rng.normal(size=(120, 24)) + [shift[name] for name in SOURCES]
    others = 3 * np.eye(24)[3] + rng.normal(size=(40, 24))
    return np.abs(features).astype(np.float32), labels, np.abs(others).astype(np.float32)


def test_a_source_is_tested_by_a_model_of_the_others_only():
    trainable = np.arange(120) % 5 > 0
    labels = np.arange(120) % 3
    found = folds(SOURCES, trainable, labels)
    assert list(found) == ["sun", "miml", "corel"]
    for name, (train, tested) in found.items():
        assert name not in SOURCES[train] and set(SOURCES[tested]) == {name}
        assert trainable[train].all() and len(tested) == (name == SOURCES).sum()
    assert folds(SOURCES[:60], trainable[:60], labels[:60]) == {}


def test_a_source_without_others_of_two_scenes_is_not_left_out():
    sources, labels = np.repeat(["own", "beaches"], 30), np.r_[np.arange(30) % 3, np.zeros(30, int)]
    assert folds(sources, np.ones(60, bool), labels) == {}


def test_every_source_counts_the_same():
    right = SOURCES == "sun"  # all 60 of the large source, none of the others
    gap = paired_difference(right, np.zeros(120, bool), SOURCES)
    assert gap.value == pytest.approx(1 / 3) and gap.significant
    table = compare({"all": right, "none": ~right & right}, SOURCES, "none")
    assert table.loc["all", "mean"] == pytest.approx(1 / 3) and table.loc[
        "all", "difference"
    ] == pytest.approx(1 / 3)


def test_equal_recipes_do_not_differ_significantly():
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 120)) < 0.9
    assert not paired_difference(first, second, SOURCES).significant


def test_accuracy_table_has_a_row_per_source_and_gaps_where_a_scene_is_missing():
    labels = np.arange(120) % 3
    labels[SOURCES == "corel"] = 0
    table = accuracy_table(np.arange(120) % 2 == 0, SOURCES, labels)
    assert table.loc["sun", "images"] == 60 and table.loc["sun", "accuracy"] == 0.5
    assert np.isnan(table.loc["corel", "forest"])


def test_recipes_learn_and_leave_out_what_they_have_no_views_for(world):
    features, labels, _ = world
    data = TrainingData(features, labels, np.full(120, ""), {"random_corruptions": features[None] * 1.1})
    found = recipes(data, l2=0.01, learning_rate=0.05, epochs=30)
    assert "original project, its augmentation" not in found and next(iter(found)) == "dense layer with L2"
    train, tested = folds(SOURCES, np.ones(120, bool), labels)["corel"]
    for name, recipe in found.items():
        logits = recipe(train, features[tested])
        assert logits.shape == (30, 3)
        assert (logits.argmax(axis=1) == labels[tested]).mean() > 0.8, name


def test_variety_is_measured_at_equal_numbers(world):
    features, labels, _ = world
    curve = variety_curve(
        features, labels, SOURCES, folds(SOURCES, np.ones(120, bool), labels), 0.01, sizes=(24,), draws=2
    )
    assert set(curve["sources"]) == {1, 2} and set(curve["images"]) == {24}
    assert len(curve) == 3 * 2 * 2


def test_scores_are_compared_on_the_source_that_none_was_fitted_to(world):
    features, labels, others = world
    train, tested = folds(SOURCES, np.ones(120, bool), labels)["corel"]
    scores = fit_scores(features[train], labels[train], others[:20], l2=0.01)
    table = auroc_table({"corel": (scores, features[tested], others[20:])})
    assert {"energy", "fourth output", "fifth nearest neighbour", SERVED} <= set(table.index)
    assert table.loc[SERVED, "mean"] > 0.95
    assert "evidence" not in fit_scores(features[train], labels[train], others[:0], l2=0.01)
