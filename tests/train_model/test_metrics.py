"""Intervals, tables and costs, against values that are known."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from train_model.metrics import accuracy, confusion, multiply_adds, per_scene


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


def test_confusion_has_the_truth_in_rows():
    matrix = confusion(np.array([0, 0, 2]), np.array([0, 1, 2]))
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    table = per_scene(np.array([0, 0, 2]), np.array([0, 1, 2]))
    assert table.loc["coast", "recall"] == 0.5 and table.loc["forest", "precision"] == 0


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
