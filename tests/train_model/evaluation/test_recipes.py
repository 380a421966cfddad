"""Every candidate learns, lacks only what it has no data for, and counts by the share of its heads that are right."""

import numpy as np
import pytest

from train_model.evaluation.recipes import TrainingData, recipes, share_right, strength_curve


@pytest.fixture(scope="module")
def world():
    """Features and labels of three classes."""
    rng, labels = np.random.default_rng(0), np.arange(120) % 3
    return np.abs(3 * np.eye(24)[labels] + rng.normal(size=(120, 24))).astype(np.float32), labels


def test_recipes_learn_and_leave_out_what_they_have_no_views_for(world):
    features, labels = world
    data = TrainingData(features, labels, 3, None, {"random_corruptions": features[None] * 1.1})
    found = recipes(data, l2=0.01, learning_rate=0.05, epochs=30, seeds=(0, 1))
    assert "original project, its augmentation" not in found and next(iter(found)) == "dense layer with L2"
    assert "rare subcategories weighted" not in found
    train, tested = np.arange(90), np.arange(90, 120)
    for name, recipe in found.items():
        logits = recipe(train, features[tested])
        assert logits.shape == (2 if name == "original project" else 1, 30, 3)
        assert share_right(logits, labels[tested]).mean() > 0.8, name


def test_heads_of_several_seeds_count_by_their_share():
    logits = np.array([[[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]]])
    assert share_right(logits, np.array([0, 1])).tolist() == [1, 0.5]


def test_what_counts_a_rare_subcategory_more_changes_the_head(world):
    features, labels = world
    kinds = np.where(np.arange(120) < 9, "rare", "common")
    both = recipes(TrainingData(features, labels, 3, kinds), l2=0.1, learning_rate=0.01)
    names = ("dense layer with L2", "rare subcategories weighted")
    plain, weighted = (both[name](np.arange(60), features[60:]) for name in names)
    assert not np.allclose(plain, weighted, atol=1e-3)


def test_the_strength_curve_compares_strengths_on_the_same_images(world):
    features, labels = world
    left_out = {"a": (np.arange(60), np.arange(60, 120))}
    curve = strength_curve(features, labels, left_out, [0.01, 100.0], sizes=(2, 15), draws=2)
    assert len(curve) == 2 * 2 * 2 and set(curve["tested"]) == {"a"}
    means = curve.groupby(["per_class", "l2"])["accuracy"].mean()
    assert means[15, 0.01] > means[2, 0.01] and means[15, 0.01] > 0.8
