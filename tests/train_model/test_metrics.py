"""Intervals, tables, costs and calibration, against values that are known."""

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from train_model.metrics import (
    accuracy,
    calibration_error,
    confusion,
    label_indices,
    loss_and_accuracy,
    multiply_adds,
    per_class,
    reliability_table,
    worst_confusions,
)


def test_wilson_interval():
    # Newcombe, Statistics in Medicine 17, 1998, table I, method 3: 81 of 263.
    share = accuracy(np.zeros(263, int), np.r_[np.zeros(81, int), np.ones(182, int)])
    assert (share.successes, share.trials) == (81, 263)
    assert share.low == pytest.approx(0.2553, abs=5e-5)
    assert share.high == pytest.approx(0.3662, abs=5e-5)


def test_all_right_is_not_certain():
    share = accuracy(np.ones(104, int), np.ones(104, int))
    assert share.value == share.high == 1
    assert 0.95 < share.low < 0.97


NAMES = ("a", "b", "ç d")


def test_confusion_has_the_truth_in_rows():
    matrix = confusion(np.array([0, 0, 2]), np.array([0, 1, 2]), NAMES)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_recall_per_class_has_its_interval_and_is_missing_without_images():
    truth, predicted = np.array([0] * 10 + [2]), np.array([0] * 9 + [1, 2])
    table = per_class(truth, predicted, NAMES)
    assert table.loc["a", "recall"] == 0.9
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx([0.596, 0.982], abs=1e-3)
    assert np.isnan(table.loc["b", "recall"]) and table.loc["b", ["low", "high"]].tolist() == [0, 1]
    assert table["recall"].mean() == pytest.approx(
        0.95
    )  # macro average: each class that has images counts the same


def test_the_worst_confusions_come_first():
    truth, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 2, 1, 2])
    table = worst_confusions(truth, predicted, NAMES, 1)
    assert table.to_dict("records") == [{"label": "a", "predicted": "b", "images": 2, "share": 2 / 3}]
    assert len(worst_confusions(truth, truth, NAMES)) == 0


def test_labels_are_looked_up_by_name():
    assert label_indices(pd.Series(["ç d", "a"]), NAMES).tolist() == [2, 0]
    with pytest.raises(KeyError):
        label_indices(pd.Series(["other"]), NAMES)


def test_multiply_adds():
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(pixels)  # 16 places, 3 x 3 x 3 x 4
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)  # 16 places, 3 x 3 x 4
    x = keras.layers.SeparableConv2D(5, 3, padding="same")(x)  # 16 places, 3 x 3 x 4 and 4 x 5
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))  # 5 x 2
    assert multiply_adds(keras.Model(pixels, x)) == 16 * (108 + 36 + 36 + 20) + 10
    # The paper counts 569 million for the whole network; its classifier has one million of them.
    mobilenet = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(224, 224, 3))
    assert multiply_adds(mobilenet) == pytest.approx(568e6, rel=0.005)


@pytest.fixture(scope="module")
def honest():
    """Logits whose softmax is the true distribution of the labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    return logits, labels


def test_the_loss_is_least_for_the_honest_model(honest):
    logits, labels = honest
    half, honest, double = (loss_and_accuracy(factor * logits, labels)[0] for factor in (0.5, 1, 2))
    assert honest < min(half, double)


def test_an_honest_model_has_no_gap_and_the_error_that_chance_makes(honest):
    logits, labels = honest
    fair = calibration_error(softmax(logits, axis=1), labels)
    assert fair.low < 0 < fair.high and fair.low < fair.gap < fair.high
    assert fair.ece == pytest.approx(fair.expected_if_calibrated, abs=0.01)


@pytest.mark.parametrize(("factor", "sign"), [(4, 1), (0.25, -1)])
def test_the_gap_tells_a_boaster_from_a_modest_model(honest, factor, sign):
    logits, labels = honest
    found = calibration_error(softmax(factor * logits, axis=1), labels)
    assert sign * found.gap > 0.1
    assert min(sign * found.low, sign * found.high) > 0
    assert found.ece > 5 * found.expected_if_calibrated


def test_the_gaps_interval_holds_the_truth_at_least_19_times_in_20(honest):
    logits, labels = honest
    parts = np.random.default_rng(1).permutation(len(labels)).reshape(40, 100)
    found = [calibration_error(softmax(logits[part], axis=1), labels[part], draws=1) for part in parts]
    assert sum(one.low <= 0 <= one.high for one in found) >= 36


def test_few_images_have_an_error_without_being_miscalibrated(honest):
    logits, labels = honest
    few, many = (calibration_error(softmax(logits[:n], axis=1), labels[:n]) for n in (100, 4000))
    assert few.expected_if_calibrated > 0.05 > 0.03 > many.expected_if_calibrated


def test_the_gap_by_hand():
    # Confidence 0.4, 81 of 263 right, one bin; the accuracy's interval is that of test_metrics.py.
    labels = np.r_[np.zeros(81, int), np.ones(182, int)]
    found = calibration_error(np.tile([0.4, 0.3, 0.3], (263, 1)), labels)
    assert (found.gap, found.ece) == pytest.approx((0.4 - 81 / 263, 0.4 - 81 / 263))
    assert (found.low, found.high) == pytest.approx((0.4 - 0.3662, 0.4 - 0.2553), abs=5e-5)


def test_no_wrong_answer_among_few_is_no_sign_of_modesty():
    found = calibration_error(np.tile([0.98, 0.01, 0.01], (40, 1)), np.zeros(40, int))
    assert found.gap == pytest.approx(-0.02) and found.low < 0 < found.high


def test_reliability_table_counts_every_image_once(honest):
    logits, labels = honest
    table = reliability_table(softmax(logits, axis=1), labels, bins=10)
    assert table["images"].sum() == len(labels)
    assert table["confidence"].is_monotonic_increasing
    assert (table["low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["high"]).all()
    assert np.abs(table["confidence"] - table["accuracy"]).max() < 0.06


def test_equal_confidences_make_one_bin():
    table = reliability_table(np.tile([0.8, 0.1, 0.1], (10, 1)), np.zeros(10, int))
    assert len(table) == 1
    assert table.loc[0, "accuracy"] == 1
