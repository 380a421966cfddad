"""How good a classifier is, and how sure one can be of that."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from train_model.preprocessing import SCENES, load_photograph


@dataclass(frozen=True)
class Proportion:
    """A share with its 95 % interval.

    Attributes:
        successes: how many.
        trials: of how many.
        value: the share.
        low: lower end of the Wilson score interval.
        high: upper end.
    """

    successes: int
    trials: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, {self.successes} of {self.trials})"


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> Proportion:
    """Accuracy with its Wilson score interval (Wilson 1927, JASA 22:209), which stays within 0 and 1.

    Args:
        labels: `int [n]`.
        predicted: `int [n]`.

    Returns:
        The share of equal entries.
    """
    right = int(np.sum(labels == predicted))
    interval = binomtest(right, len(labels)).proportion_ci(0.95, method="wilson")
    return Proportion(right, len(labels), right / len(labels), float(interval.low), float(interval.high))


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Counts `[3, 3]` with the true scene in the row and the predicted one in the column."""
    return confusion_matrix(labels, predicted, labels=range(len(SCENES)))


def per_scene(labels: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Precision, recall, F1 and number of photographs per scene."""
    columns = precision_recall_fscore_support(labels, predicted, labels=range(len(SCENES)), zero_division=0)
    return pd.DataFrame(
        dict(zip(("precision", "recall", "f1", "photographs"), columns, strict=True)), index=list(SCENES)
    )


def scene_indices(scenes: pd.Series) -> np.ndarray:
    """Scene names to their positions in the model's output."""
    return scenes.map(SCENES.index).to_numpy(dtype=np.int64)


def load_photographs(paths: pd.Series, size: int) -> np.ndarray:
    """Photographs as `uint8 [n, size, size, 3]`."""
    return np.stack([load_photograph(path, size) for path in paths])


def predict(model: keras.Model, photographs: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Probabilities of a Keras model.

    Args:
        model: takes `[n, size, size, 3]` pixels of levels 0 to 255 and has an output `probabilities`.
        photographs: `uint8 [n, size, size, 3]`.
        batch_size: photographs at a time.

    Returns:
        `float32 [n, 3]`.
    """
    return model.predict(photographs, batch_size=batch_size, verbose=0)["probabilities"]


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one photograph: what its convolutions and dense layers cost.

    Args:
        model: a functional model of a fixed input size.

    Returns:
        Number of multiplications with their additions, the usual measure of a network's cost.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.SeparableConv2D):
            places = np.prod(layer.output.shape[1:3])
            depthwise, pointwise = layer.weights[:2]
            total += places * (np.prod(depthwise.shape) + np.prod(pointwise.shape))
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            total += np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Dense):
            total += np.prod(layer.kernel.shape)
    return int(total)
