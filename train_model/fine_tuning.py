"""Fine-tuning MobileNet's last blocks, and the weights between frozen and fine-tuned.

What lies below the blocks stays frozen, so its feature maps are computed once. Models between the frozen weights and the
fine-tuned ones often do better on images from elsewhere than either (WiSE-FT, arXiv:2109.01903).
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from data_prep_eda.preprocessing import load_image
from train_model import tflite
from train_model.backbones import BACKBONES, load_backbone
from train_model.features import compute_litert

SIZE = BACKBONES["mobilenet"].input_size
BELOW = "conv_pw_11_relu"  # the last layer below blocks 12 and 13: 14 x 14 places, 512 channels


def maps_below(
    paths: Iterable[str | Path], weights: str = "auto", progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Feature maps of image files below the last two blocks, `float16 [n, 14, 14, 512]`, 0.2 MB per image."""
    paths, network = list(paths), load_backbone(BACKBONES["mobilenet"], weights)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    below = keras.Model(network.input, network.get_layer(BELOW).output)
    model = keras.Model(image, below(scaled, training=False))
    maps = np.empty((len(paths), *model.output.shape[1:]), np.float16)
    content = tflite.convert(model, "float32")
    values = compute_litert(content, lambda row: load_image(paths[row], SIZE), range(len(paths)))
    for row, value in enumerate(values):
        maps[row] = value
        if progress:
            progress(row + 1, len(paths))
    return maps


def upper_model(kernel: np.ndarray, bias: np.ndarray, weights: str = "auto") -> keras.Model:
    """Blocks 12 and 13, pooling and a head, `kernel [features, classes]` and `bias [classes]`: `maps_below` to logits."""
    network = load_backbone(BACKBONES["mobilenet"], weights)
    network.trainable = True
    first = network.layers.index(network.get_layer(BELOW)) + 1
    maps = values = keras.Input(network.get_layer(BELOW).output.shape[1:], name="maps")
    for layer in network.layers[first:]:
        values = layer(values)
    dense = keras.layers.Dense(len(bias), name="logits")
    model = keras.Model(maps, dense(keras.layers.GlobalAveragePooling2D(name="pool")(values)))
    dense.set_weights([kernel, bias])
    return model


def between(frozen: list[np.ndarray], tuned: list[np.ndarray], share: float) -> list[np.ndarray]:
    """A model's weights between two states of them: (1 - share) * frozen + share * tuned."""
    return [(1 - share) * before + share * after for before, after in zip(frozen, tuned, strict=True)]
