"""What 8 bits are known to do to a network is taken back before they do it."""

import keras
import numpy as np
import pytest

from data_prep_eda.dataset import SAMPLE
from data_prep_eda.preprocessing import load_image
from train_model import tflite
from train_model.backbones import BACKBONES, feature_extractor
from train_model.quantization import STEPS, corrected, rounding_error


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)


def network(offset=0.0, **unusual) -> keras.Model:
    """Convolutions in all forms: before a batch normalisation, with a bias, depthwise, and `unusual`."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset)(pixels)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, activation="relu6")(x)
    x = keras.layers.Conv2D(8, 3, use_bias=False, **unusual)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))


def round_weights(model: keras.Model) -> None:
    """As the converter does."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            layer.kernel.assign_add(rounding_error(layer))


@pytest.mark.parametrize("unusual", [{}, {"groups": 2}, {"dilation_rate": 2}, {"strides": (1, 2)}])
def test_means_stay_where_they_were_when_the_weights_are_rounded(images, unusual):
    model, rounded, plain = network(**unusual), network(**unusual), network(**unusual)
    with corrected(rounded, images):
        round_weights(rounded)
        moved = np.abs(rounded.predict(images, verbose=0) - model.predict(images, verbose=0)).mean()
    round_weights(plain)
    assert moved < 0.5 * np.abs(plain.predict(images, verbose=0) - model.predict(images, verbose=0)).mean()


def test_weights_become_whole_numbers_of_their_filters_steps():
    layer = network().layers[2]
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    steps = (kernel + rounding_error(layer)) / np.abs(kernel).max(axis=(0, 1, 2)) * STEPS
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    np.testing.assert_allclose(np.abs(steps).max(axis=(0, 1, 2)), STEPS)


def test_a_model_is_as_it_was_afterwards(images):
    model = network(offset=-1.0)
    before = model.get_weights()
    with pytest.raises(KeyboardInterrupt), corrected(model, images):
        assert model.layers[1].offset == pytest.approx(-128 / 127.5)  # zero is a level now
        raise KeyboardInterrupt
    assert model.layers[1].offset == -1
    for weights, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, old)


def test_mobilenets_8_bit_features_stay_near_the_exact_ones():
    paths = sorted(SAMPLE.glob("*/*.jpg"))
    pictures = np.stack([load_image(path, 224) for path in paths[::30]])
    unseen = np.stack([load_image(path, 224) for path in paths[2::30]])
    extractor = feature_extractor(BACKBONES["mobilenet"])
    exact = extractor.predict(unseen, verbose=0)

    def distance(corrected):
        interpreter = tflite.load_interpreter(
            tflite.convert(extractor, "int8", pictures, corrected=corrected)
        )
        (features,) = zip(*(tflite.run(interpreter, picture).values() for picture in unseen), strict=True)
        return np.linalg.norm(np.stack(features) - exact) / np.linalg.norm(exact)

    assert distance(corrected=True) < 0.5 * distance(corrected=False)
