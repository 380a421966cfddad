"""The part that is tuned, on cached maps, is the whole network; and weights between two states are means."""

import keras
import numpy as np
import pytest

from data_prep_eda.dataset import SAMPLE
from train_model.features import extract_features
from train_model.final_model import fit_head
from train_model.fine_tuning import between, maps_below, upper_model


def test_maps_and_upper_blocks_answer_as_the_whole_network_and_learn():
    paths = sorted(SAMPLE.glob("*/*_0[0-3].jpg"))
    labels = np.repeat([0, 1, 2], 4)
    features = extract_features(paths)
    kernel, bias = fit_head(features, labels, 0.03, 3)
    maps, model = maps_below(paths), upper_model(kernel, bias)
    assert maps.shape == (12, 14, 14, 512) and maps.dtype == np.float16
    assert model.predict(maps, verbose=0) == pytest.approx(features @ kernel + bias, abs=0.05)
    frozen = model.get_weights()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(maps, labels)
    assert sum(not np.array_equal(*pair) for pair in zip(frozen, model.get_weights(), strict=True)) > 10


def test_half_way_between_two_states():
    frozen, tuned = [np.zeros(3), np.ones((2, 2))], [np.full(3, 4.0), np.ones((2, 2))]
    half = between(frozen, tuned, 0.25)
    assert half[0].tolist() == [1, 1, 1] and (half[1] == 1).all()
    assert (between(frozen, tuned, 1.0)[0] == tuned[0]).all()
