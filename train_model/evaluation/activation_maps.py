"""Where a model sees a class: class activation maps, and the part of the image they lie in.

For a dense layer on globally averaged feature maps, Grad-CAM (Selvaraju et al., arXiv:1610.02391) is the same
as the class activation map of Zhou et al. (arXiv:1512.04150): the gradient of a logit with respect to the maps
is the layer's kernel, everywhere. So no gradient is computed, and the maps add up: their mean is the logit.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
from PIL import Image


def activation_maps(model: keras.Model, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """How much each place speaks for each class.

    Args:
        model: a classifier with the layers `pool` and `logits`; see `train_model.backbones.assemble`.
        images: `uint8 [n, size, size, 3]`.
        batch_size: images at a time.

    Returns:
        `float32 [n, h, w, classes]`, 7 by 7 for MobileNet at 224 pixels. Each class's against the mean of
        all: 0 speaks for none. The mean over the places is the logit's lead.
    """
    pool, logits = model.get_layer("pool"), model.get_layer("logits")
    maps = keras.Model(model.input, pool.input).predict(images, batch_size=batch_size, verbose=0)
    kernel, bias = (np.asarray(weight) for weight in logits.get_weights())
    return maps @ (kernel - kernel.mean(axis=1, keepdims=True)) + (bias - bias.mean())


def enlarge(activation: np.ndarray, size: int) -> np.ndarray:
    """A map `[h, w]` at the image's size, `float32 [size, size]`, to lay over it."""
    image = Image.fromarray(np.asarray(activation, np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def mean_maps(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean map of each class for itself, `[classes, h, w]`: where coasts look like coasts."""
    return np.stack([maps[labels == label][..., label].mean(axis=0) for label in range(maps.shape[-1])])


def evidence_by_height(maps: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Whether a class is recognised by the sky, the middle or the ground.

    Args:
        maps: `[n, h, w, classes]`, from `activation_maps`.
        labels: `int [n]`, the class whose evidence counts.
        class_names: the classes.

    Returns:
        One row per class: the share of the positive evidence in the `top`, `middle` and `bottom` third of the
        image; a third is what no preference would give.
    """
    own = np.maximum(np.take_along_axis(maps, labels[:, None, None, None], axis=3)[..., 0], 0)
    height = own.shape[1]
    # Rows that straddle two thirds count in each by their part in it.
    edges = np.arange(height + 1) / height
    overlap = [
        np.clip(np.minimum(edges[1:], (third + 1) / 3) - np.maximum(edges[:-1], third / 3), 0, None) * height
        for third in range(3)
    ]
    by_row = own.sum(axis=2)
    shares = np.stack([by_row @ part for part in overlap], axis=1)
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    return pd.DataFrame(
        [shares[labels == label].mean(axis=0) for label in range(len(class_names))],
        index=list(class_names),
        columns=["top", "middle", "bottom"],
    )
