"""Scores are compared on images that none of them was fitted to, in pairs."""

import numpy as np
import pandas as pd
import pytest

from train_model.evaluation.leave_one_source_out import TEST
from train_model.evaluation.ood_scores import SERVED, _resampled_auroc, auroc_table, fit_scores, others_for
from train_model.metrics import auroc


@pytest.fixture(scope="module")
def world():
    """Features and labels of three classes, and features of other things."""
    rng, labels = np.random.default_rng(0), np.arange(120) % 3
    features = 3 * np.eye(24)[labels] + rng.normal(size=(120, 24))
    others = 3 * np.eye(24)[3] + rng.normal(size=(40, 24))
    return np.abs(features).astype(np.float32), labels, np.abs(others).astype(np.float32)


def test_scores_are_compared_on_the_source_that_none_was_fitted_to(world):
    features, labels, others = world
    train, tested = np.arange(90), np.arange(90, 120)
    scores = fit_scores(features[train], labels[train], others[:20], l2=0.01, classes=3)
    table = auroc_table({"corel": (scores, features[tested], others[20:])})
    assert {"energy", "extra output", "fifth nearest neighbour", SERVED} <= set(table.index)
    assert table.loc[SERVED, "mean"] > 0.95
    assert table.loc[SERVED, ["difference", "low", "high"]].isna().all()
    beside = table.drop(SERVED)
    assert (beside["difference"] == beside["mean"] - table.loc[SERVED, "mean"]).all()
    assert (beside["low"] <= beside["high"]).all()
    assert "evidence" not in fit_scores(features[train], labels[train], others[:0], l2=0.01, classes=3)


def test_a_resampled_auroc_is_that_of_the_resampled_images():
    rng = np.random.default_rng(0)
    scenes, others = rng.integers(3, 9, 20), rng.integers(0, 7, 30)  # with ties
    counts = [rng.multinomial(len(x), np.full(len(x), 1 / len(x)), 5) for x in (scenes, others)]
    expected = [auroc(np.repeat(scenes, s), np.repeat(others, o)) for s, o in zip(*counts, strict=True)]
    assert _resampled_auroc(scenes, others, *counts) == pytest.approx(expected)


def test_a_score_is_asked_about_others_that_it_was_not_taught():
    others = pd.DataFrame(
        {"source": ["own", "own", "corel1k", "corel5k"], "split": ["train", "test", "train", "train"]}
    )
    taught, asked = others_for(others, "corel1k")
    assert taught.tolist() == [True, False, False, False] and asked.tolist() == [False, False, True, False]
    taught, asked = others_for(others, TEST)
    assert taught.tolist() == [True, False, True, True] and asked.tolist() == [False, True, False, False]
