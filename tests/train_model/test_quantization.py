"""Rounding to 8 bits that minds what the weights are multiplied with."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from data_prep_eda.dataset import SAMPLE
from data_prep_eda.preprocessing import load_image
from train_model import tflite
from train_model.backbones import BACKBONES, feature_extractor
from train_model.quantization import STEPS, round_filters, rounded_weights


@pytest.fixture
def related_inputs():
    """Inputs of a layer that rise and fall together, as neighbouring pixels do: `[n, inputs]`."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(4000, 1)) + 0.3 * rng.normal(size=(4000, 16))


def test_each_weight_is_a_whole_number_of_its_filters_steps(related_inputs):
    weights = np.random.default_rng(1).normal(size=(1, 5, 16))
    rounded = round_filters(weights, np.cov(related_inputs.T)[None])
    steps = rounded / (np.abs(weights).max(axis=2, keepdims=True) / STEPS)
    assert np.allclose(steps, np.round(steps), atol=1e-6)
    # The converter finds the steps by the largest weight, which therefore has to stay.
    np.testing.assert_allclose(np.abs(steps).max(axis=2), STEPS)


def test_outputs_move_less_than_by_rounding_each_weight_to_the_nearest(related_inputs):
    weights = np.random.default_rng(1).normal(size=(1, 40, 16))
    step = np.abs(weights).max(axis=2, keepdims=True) / STEPS
    nearest = np.round(weights / step) * step
    rounded = round_filters(weights, np.cov(related_inputs.T)[None])

    def error(candidate):
        return np.std(related_inputs @ (candidate - weights)[0].T)

    assert error(rounded) < 0.6 * error(nearest)


def test_a_model_has_its_own_weights_again_afterwards():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(pixels)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, activation="relu6")(x)
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
    before, answers = model.get_weights(), model.predict(images, verbose=0)
    with pytest.raises(KeyboardInterrupt), rounded_weights(model, images):
        rounded = model.predict(images, verbose=0)
        assert not np.array_equal(model.get_weights()[0], before[0])
        raise KeyboardInterrupt
    for weights, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, old)
    # The means of what comes out are kept: in a batch normalisation, or in the layer's own bias.
    assert np.abs(rounded.mean(axis=0) - answers.mean(axis=0)).max() < 0.02 * answers.std()


@pytest.mark.parametrize("unusual", [{"groups": 2}, {"dilation_rate": 2}, {"strides": (1, 2)}])
def test_unusual_layers_are_left_to_the_converter(unusual):
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3)(pixels)
    x = keras.layers.Conv2D(8, 3, **unusual)(x)
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))
    before = [layer.get_weights() for layer in model.layers]
    with rounded_weights(model, np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)):
        plain, other = model.layers[1], model.layers[2]
        assert not np.array_equal(plain.get_weights()[0], before[1][0])
        np.testing.assert_array_equal(other.get_weights()[0], before[2][0])


def test_mobilenets_8_bit_features_stay_near_the_exact_ones():
    paths = sorted(SAMPLE.glob("*/*.jpg"))
    images = np.stack([load_image(path, 224) for path in paths[::4]])
    unseen = np.stack([load_image(path, 224) for path in paths[2::24]])
    extractor = feature_extractor(BACKBONES["mobilenet"])
    exact = extractor.predict(unseen, verbose=0)

    def distance(rounding):
        content = tflite.convert(extractor, "int8", images, rounding=rounding)
        interpreter = tflite.load_interpreter(content)
        (features,) = zip(*(tflite.run(interpreter, image).values() for image in unseen), strict=True)
        return np.linalg.norm(np.stack(features) - exact) / np.linalg.norm(exact)

    assert distance(rounding=True) < 0.6 * distance(rounding=False)
