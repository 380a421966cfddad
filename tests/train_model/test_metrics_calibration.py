"""Log loss and calibration error on classifiers whose true calibration is known."""

import numpy as np
import pytest
from scipy.special import softmax

from train_model.metrics import calibration_error, log_loss, reliability_table


@pytest.fixture(scope="module")
def honest():
    """Logits whose softmax is the true distribution of the labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    return logits, labels


def test_log_loss_is_least_for_the_honest_model(honest):
    logits, labels = honest
    assert log_loss(logits, labels) < min(log_loss(factor * logits, labels) for factor in (0.5, 2))


def test_calibration_error_tells_an_honest_model_from_a_boaster(honest):
    logits, labels = honest
    fair = calibration_error(softmax(logits, axis=1), labels, resamples=200)
    boast = calibration_error(softmax(4 * logits, axis=1), labels, resamples=200)
    assert fair.value < 0.03
    assert fair.low <= fair.value <= fair.high or fair.low == 0
    assert boast.value > 0.1
    assert boast.low > fair.high


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
