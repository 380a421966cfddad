"""Leaving one source out: nobody is tested on what was trained on, and every source counts the same."""

import numpy as np
import pytest

from train_model.evaluation.leave_one_source_out import (
    accuracy_table,
    compare,
    elsewhere,
    folds,
    split_halves,
    variety_curve,
)
from train_model.evaluation.ood_scores import SERVED, _resampled_auroc, auroc_table, fit_scores
from train_model.evaluation.recipes import TrainingData, recipes, share_right
from train_model.metrics import auroc

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


def test_a_source_is_left_out_with_its_family():
    sources, labels = np.repeat(["sun", "corel1k", "corel5k"], 30), np.arange(90) % 3
    train, tested = folds(sources, np.ones(90, bool), labels, tested=np.arange(90) % 2 == 0)["corel5k"]
    assert set(sources[train]) == {"sun"} and set(sources[tested]) == {"corel5k"} and (tested % 2 == 0).all()
    assert elsewhere(sources, "corel1k").tolist() == (sources == "sun").tolist()


def test_a_source_without_others_of_two_scenes_is_not_left_out():
    sources, labels = np.repeat(["own", "beaches"], 30), np.r_[np.arange(30) % 3, np.zeros(30, int)]
    assert folds(sources, np.ones(60, bool), labels) == {}


def test_every_source_counts_the_same():
    right = SOURCES == "sun"  # all 60 of the large source, none of the others
    table = compare({"all": right, "none": ~right & right}, SOURCES, "none")
    assert table.loc["all", "mean"] == pytest.approx(1 / 3) and table.loc[
        "all", "difference"
    ] == pytest.approx(1 / 3)


def test_equal_recipes_do_not_differ_significantly():
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 120)) < 0.9
    assert not compare({"first": first, "second": second}, SOURCES, "first").loc["second", "significant"]


def test_significance_is_corrected_for_the_number_of_recipes():
    """One small gain is significant by itself, and no longer among many comparisons."""
    base = np.ones(120)
    base[:9] = 0
    alone = compare({"base": base, "gain": np.r_[np.ones(5), base[5:]]}, SOURCES, "base").loc["gain"]
    many = {f"same {number}": base for number in range(30)}
    among = compare({"base": base, "gain": np.r_[np.ones(5), base[5:]], **many}, SOURCES, "base").loc["gain"]
    assert alone["difference"] == among["difference"] == pytest.approx(5 / 60 / 3)
    assert alone["significant"] and not among["significant"] and among["low"] < alone["low"]


def test_the_reference_is_not_compared_with_itself():
    table = compare({"base": np.ones(120)}, SOURCES, "base")
    assert table.loc["base", ["difference", "low", "high", "significant"]].isna().all()


def test_split_halves_agree_where_recipes_differ_and_not_where_chance_ranks_them():
    rng = np.random.default_rng(0)
    apart = {f"{share}": rng.random(120) < share for share in (0.1, 0.3, 0.5, 0.7, 0.9)}
    alike = {f"{number}": rng.random(120) < 0.9 for number in range(8)}
    clear, unclear = split_halves(apart, SOURCES), split_halves(alike, SOURCES)
    assert clear["median"] > 0.85 > 0.5 > unclear["median"]
    assert unclear["low"] < unclear["median"] < unclear["high"]


def test_accuracy_table_has_a_row_per_source_and_gaps_where_a_scene_is_missing():
    labels = np.arange(120) % 3
    labels[SOURCES == "corel"] = 0
    table = accuracy_table(np.arange(120) % 2 == 0, SOURCES, labels)
    assert table.loc["sun", "images"] == 60 and table.loc["sun", "accuracy"] == 0.5
    assert np.isnan(table.loc["corel", "forest"])


def test_recipes_learn_and_leave_out_what_they_have_no_views_for(world):
    features, labels, _ = world
    data = TrainingData(features, labels, np.full(120, ""), {"random_corruptions": features[None] * 1.1})
    found = recipes(data, l2=0.01, learning_rate=0.05, epochs=30, seeds=(0, 1))
    assert "original project, its augmentation" not in found and next(iter(found)) == "dense layer with L2"
    train, tested = folds(SOURCES, np.ones(120, bool), labels)["corel"]
    for name, recipe in found.items():
        logits = recipe(train, features[tested])
        assert logits.shape == (2 if name == "original project" else 1, 30, 3)
        assert share_right(logits, labels[tested]).mean() > 0.8, name


def test_heads_of_several_seeds_count_by_their_share():
    logits = np.array([[[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]]])
    assert share_right(logits, np.array([0, 1])).tolist() == [1, 0.5]


def test_variety_is_measured_at_equal_numbers(world):
    features, labels, _ = world
    curve = variety_curve(
        features, labels, SOURCES, folds(SOURCES, np.ones(120, bool), labels), 0.01, sizes=(24,), draws=2
    )
    assert set(curve["families"]) == {1, 2} and set(curve["images"]) == {24}
    assert len(curve) == 3 * 2 * 2
    assert set(curve.query("left_out == 'sun'")["trained_on"]) == {"miml", "corel", "miml + corel"}


def test_sources_of_a_family_are_one_to_train_on(world):
    features, labels, _ = world
    sources = np.repeat(["sun", "miml", "corel1k", "corel5k"], 30)
    left_out = folds(sources, np.ones(120, bool), labels)
    curve = variety_curve(features, labels, sources, left_out, 0.01, sizes=(24,), draws=2)
    assert set(curve.query("left_out == 'corel1k'")["trained_on"]) == {"sun", "miml", "sun + miml"}
    assert set(curve.query("left_out == 'miml' and families == 1")["trained_on"]) == {"sun", "corel"}


def test_scores_are_compared_on_the_source_that_none_was_fitted_to(world):
    features, labels, others = world
    train, tested = folds(SOURCES, np.ones(120, bool), labels)["corel"]
    scores = fit_scores(features[train], labels[train], others[:20], l2=0.01)
    table = auroc_table({"corel": (scores, features[tested], others[20:])})
    assert {"energy", "fourth output", "fifth nearest neighbour", SERVED} <= set(table.index)
    assert table.loc[SERVED, "mean"] > 0.95
    assert table.loc[SERVED, ["difference", "low", "high"]].isna().all()
    beside = table.drop(SERVED)
    assert (beside["difference"] == beside["mean"] - table.loc[SERVED, "mean"]).all()
    assert (beside["low"] <= beside["high"]).all()
    assert "evidence" not in fit_scores(features[train], labels[train], others[:0], l2=0.01)


def test_a_resampled_auroc_is_that_of_the_resampled_images():
    rng = np.random.default_rng(0)
    scenes, others = rng.integers(3, 9, 20), rng.integers(0, 7, 30)  # with ties
    counts = [rng.multinomial(len(x), np.full(len(x), 1 / len(x)), 5) for x in (scenes, others)]
    expected = [auroc(np.repeat(scenes, s), np.repeat(others, o)) for s, o in zip(*counts, strict=True)]
    assert _resampled_auroc(scenes, others, *counts) == pytest.approx(expected)
