"""Folds keep groups together, and the comparison of recipes doesn't cry wolf."""

import numpy as np
import pytest

from train_model.evaluation.crossval import compare, cross_validate, folds, summarise

LABELS = np.repeat([0, 1, 2], 60)
GROUPS = np.arange(180) // 3  # threes belong together, within a scene
DIVISIONS = list(folds(LABELS, GROUPS, n_folds=5, repeats=4))


def _guess(share_right, seed):
    """A recipe that names the right scene for a share of the images."""
    rng = np.random.default_rng(seed)

    def recipe(fold):
        truth = LABELS[fold.test]
        said = np.where(rng.random(len(truth)) < share_right, truth, (truth + 1) % 3)
        return np.eye(3)[said] * 0.8 + 0.2 / 3

    return recipe


def test_no_group_is_on_both_sides_of_a_fold():
    for fold in DIVISIONS:
        assert not set(GROUPS[fold.train]) & set(GROUPS[fold.test])


def test_every_repeat_tests_every_image_once_and_differs():
    repeats = [np.concatenate([f.test for f in DIVISIONS if f.repeat == r]) for r in range(4)]
    for tested in repeats:
        assert np.array_equal(np.sort(tested), np.arange(180))
    assert not np.array_equal(repeats[0], repeats[1])


def test_scenes_keep_their_share():
    for fold in DIVISIONS:
        assert np.bincount(LABELS[fold.test]).min() >= 9


@pytest.fixture(scope="module")
def scores():
    recipes = {"poor": _guess(0.8, 1), "equal": _guess(0.8, 2), "good": _guess(0.97, 3)}
    return cross_validate(recipes, LABELS, DIVISIONS)


def test_a_real_difference_is_found(scores):
    difference = compare(scores, "good", "poor")
    assert difference.real
    assert difference.value == pytest.approx(0.17, abs=0.05)
    assert difference.p < 0.01


def test_no_difference_between_equals(scores):
    assert not compare(scores, "equal", "poor").real


def test_interval_is_wider_than_the_plain_t_test_would_have_it(scores):
    wide = scores.pivot(index=["repeat", "fold"], columns="recipe", values="accuracy")
    plain = (wide["good"] - wide["poor"]).sem() * 2.09
    difference = compare(scores, "good", "poor")
    assert (difference.high - difference.low) / 2 > 2 * plain


def test_a_recipe_against_itself_is_no_difference(scores):
    difference = compare(scores.assign(recipe=scores["recipe"]), "good", "good")
    assert (difference.value, difference.p) == (0, 1)


def test_summary_compares_with_the_reference(scores):
    table = summarise(scores, "poor")
    assert list(table.index) == ["poor", "equal", "good"]
    assert np.isnan(table.loc["poor", "accuracy_difference"])
    assert table.loc["good", "accuracy_low"] > 0
    assert table.loc["good", "log_loss_high"] < 0  # lower is better
