"""The maps add up to the logits and point at what the model sees."""

import keras
import numpy as np
import pytest

from train_model.evaluation.activation_maps import activation_maps, enlarge, evidence_by_height, mean_maps

LABELS, NAMES = np.array([0, 1, 2]), ("coast", "forest", "mountain")


@pytest.fixture(scope="module")
def model():
    """Calls blue coast, green forest and red mountain: its feature maps are the colour channels, shrunk."""
    image = keras.Input((28, 28, 3), name="image")
    maps = keras.layers.AveragePooling2D(4)(image)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(maps)
    logits = keras.layers.Dense(3, name="logits")(pooled)
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    model = keras.Model(image, {"probabilities": probabilities, "logits": logits})
    kernel = np.zeros((3, 3))
    kernel[2, 0] = kernel[1, 1] = kernel[0, 2] = 0.02
    model.get_layer("logits").set_weights([kernel, np.array([0.5, 0, 0])])
    return model


@pytest.fixture(scope="module")
def images():
    """Sea below, trees below, rock above; the rest is grey."""
    images = np.full((3, 28, 28, 3), 60, np.uint8)
    images[0, 20:] = (0, 0, 255)
    images[1, 20:] = (0, 255, 0)
    images[2, :8] = (255, 0, 0)
    return images


def test_maps_average_to_the_lead_of_each_logit(model, images):
    maps = activation_maps(model, images)
    logits = model.predict(images, verbose=0)["logits"]
    assert maps.shape == (3, 7, 7, 3)
    assert np.allclose(maps.mean(axis=(1, 2)), logits - logits.mean(axis=1, keepdims=True), atol=1e-4)


def test_evidence_lies_where_the_colour_is(model, images):
    table = evidence_by_height(activation_maps(model, images), LABELS, NAMES)
    assert table.loc["forest", "bottom"] > 0.9
    assert table.loc["mountain", "top"] > 0.9
    assert np.allclose(table.sum(axis=1), 1)


def test_evidence_everywhere_is_a_third_each():
    table = evidence_by_height(np.ones((3, 7, 7, 3)), LABELS, NAMES)
    assert np.allclose(table, 1 / 3)


def test_mean_maps_and_enlarging_keep_the_place(model, images):
    means = mean_maps(activation_maps(model, images), LABELS)
    large = enlarge(means[1], 28)
    assert large.shape == (28, 28)
    assert large[24:].mean() > large[:4].mean()
