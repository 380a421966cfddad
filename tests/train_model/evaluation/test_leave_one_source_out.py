"""Leaving one source out: nobody is tested on what was trained on, and every source counts the same."""

import numpy as np
import pandas as pd
import pytest

from train_model.evaluation.leave_one_source_out import (
    TEST,
    accuracy_table,
    compare,
    elsewhere,
    folds,
    left_out_or_test,
    variety_curve,
)

SOURCES = np.repeat(["sun", "miml", "corel"], (60, 30, 30))


@pytest.fixture(scope="module")
def world():
    """Features of three classes from three sources, each source shifted its own way, and of other things."""
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


def test_a_source_without_others_of_two_classes_is_not_left_out():
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


def test_accuracy_table_has_a_row_per_source_and_gaps_where_a_class_is_missing():
    labels = np.arange(120) % 3
    labels[SOURCES == "corel"] = 0
    table = accuracy_table(np.arange(120) % 2 == 0, SOURCES, labels, ("coast", "forest", "mountain"))
    assert table.loc["sun", "images"] == 60 and table.loc["sun", "accuracy"] == 0.5
    assert np.isnan(table.loc["corel", "forest"])


def test_a_source_is_tested_on_the_classes_that_the_others_have():
    sources, labels = np.repeat(["own", "elsewhere"], 30), np.r_[np.arange(30) % 4, np.arange(30) % 2]
    tested = folds(sources, np.ones(60, bool), labels)["own"][1]
    assert set(labels[tested]) == {0, 1}


def test_without_further_sources_the_test_images_take_their_place(capsys):
    images = pd.DataFrame({"source": "own", "split": ["train"] * 6 + ["validation", "test", "test"]})
    ((name, (train, tested)),) = left_out_or_test(images, np.arange(9) % 3).items()
    assert name == TEST and train.tolist() == list(range(6)) and tested.tolist() == [7, 8]
    assert "show nothing about images from elsewhere" in capsys.readouterr().out


def test_variety_is_measured_at_equal_numbers(world):
    features, labels, _ = world
    left_out = folds(SOURCES, np.ones(120, bool), labels)
    curve = variety_curve(features, labels, SOURCES, left_out, 0.01, sizes=(4, 8), draws=2)
    assert set(curve["per_class"]) == {4, 8} and len(curve) == 3 * 3 * 2 * 2
    assert set(curve.query("left_out == 'sun'")["trained_on"]) == {"miml", "corel", "miml + corel"}


def test_sources_of_a_family_are_one_to_train_on_and_small_ones_none(world):
    features, labels, _ = world
    sources = np.repeat(["sun", "miml", "corel1k", "corel5k", "few"], (36, 27, 27, 27, 3))
    left_out = folds(sources, np.ones(120, bool), labels)
    curve = variety_curve(features, labels, sources, left_out, 0.01, sizes=(8,), draws=2)
    assert set(curve.query("left_out == 'corel1k'")["trained_on"]) == {"sun", "miml", "sun + miml"}
    assert set(curve.query("left_out == 'miml'")["trained_on"]) == {"sun", "corel", "sun + corel"}
