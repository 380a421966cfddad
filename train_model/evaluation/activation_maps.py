"""Where a model sees a class: class activation maps, and the part of the image they lie in.

For a dense layer on globally averaged feature maps, Grad-CAM (arXiv:1610.02391) is the same as the class activation map
(arXiv:1512.04150): a logit's gradient with respect to the maps is the layer's kernel, everywhere.
"""

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
from PIL import Image


def activation_maps(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """How much each place of images `uint8 [n, size, size, 3]` speaks for each class, `float32 [n, h, w, classes]`.

    The model has the layers `pool` and `logits`, as `assemble` builds it. The mean over the places is the logit's lead.
    """
    maps = keras.Model(model.input, model.get_layer("pool").input).predict(images, verbose=0)
    kernel, bias = model.get_layer("logits").get_weights()
    return maps @ (kernel - kernel.mean(axis=1, keepdims=True)) + (bias - bias.mean())


def enlarge(activation: np.ndarray, size: int) -> np.ndarray:
    """A map `[h, w]` at the image's size, `float32 [size, size]`, to lay over it."""
    image = Image.fromarray(np.asarray(activation, np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def mean_maps(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean map of each class for itself, `[classes, h, w]`: where coasts look like coasts."""
    return np.stack([maps[labels == label][..., label].mean(axis=0) for label in range(maps.shape[-1])])


def evidence_by_height(maps: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Share of each class's positive evidence in the `top`, `middle` and `bottom` third of the image, a row per class.

    Takes `activation_maps`, and the classes `int [n]` whose evidence counts.
    """
    own = np.maximum(np.take_along_axis(maps, labels[:, None, None, None], axis=3)[..., 0], 0)
    # Each row counts as three, so that a third of the image is a whole number of them.
    by_row = np.repeat(own.sum(axis=2).astype(np.float64), 3, axis=1)
    shares = by_row.reshape(len(by_row), 3, -1).sum(axis=2)
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    means = [shares[labels == label].mean(axis=0) for label in range(len(class_names))]
    return pd.DataFrame(means, list(class_names), ["top", "middle", "bottom"])
