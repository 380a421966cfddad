"""Classification heads on frozen features: one dense layer each, many trained in one pass.

The heads of a sweep differ in their learning rate only, so their weights lie side by side in one matrix, and one pass over
the features trains them all, as Keras' `fit` would train each alone (notebook 04 shows it).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from scipy.special import softmax

from train_model.metrics import loss_and_accuracy

COLUMNS = ["learning_rate", "seed", "epoch", "loss", "accuracy", "val_loss", "val_accuracy"]


@dataclass(frozen=True)
class TrainedHeads:
    """The curves of a sweep, and the weights of every head, (learning rate, seed), after every epoch."""

    # A row per head and epoch, of the weights after it: `COLUMNS`; the epoch counts from 1, and `loss` and `accuracy`
    # are on the views that it trained on.
    history: pd.DataFrame
    kernels: dict[tuple[float, int], np.ndarray]  # `float32 [epochs, features, classes]` each
    biases: dict[tuple[float, int], np.ndarray]  # `float32 [epochs, classes]` each

    def best(self) -> pd.DataFrame:
        """Each head's best epoch: highest validation accuracy, and among equals the lowest validation loss."""
        order = self.history.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
        best = order.drop_duplicates(["learning_rate", "seed"])
        return best.sort_values(["learning_rate", "seed"], ignore_index=True)

    def logits(self, row: pd.Series, features: np.ndarray) -> np.ndarray:
        """Logits `[n, classes]` of `[n, features]` by the head and epoch of a row of `history`."""
        key, epoch = (row["learning_rate"], int(row["seed"])), int(row["epoch"]) - 1
        return features @ self.kernels[key][epoch] + self.biases[key][epoch]


class _Adam:
    """Adam (arXiv:1412.6980) with Keras' constants and order; NumPy needs a tenth of the time of a compiled graph."""

    def __init__(self, weights: np.ndarray, rates: np.ndarray) -> None:
        self.weights, self.rates = weights, rates
        self.mean, self.square = np.zeros_like(weights), np.zeros_like(weights)
        self.steps = 0

    def step(self, gradient: np.ndarray) -> None:
        self.steps += 1
        scale = np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        self.mean += (gradient - self.mean) * np.float32(0.1)
        self.square += (gradient * gradient - self.square) * np.float32(0.001)
        self.weights -= self.rates * np.float32(scale) * self.mean / (np.sqrt(self.square) + np.float32(1e-7))


def train_heads(
    features: np.ndarray | Callable[[int], np.ndarray],
    labels: np.ndarray,
    validation_features: np.ndarray,
    validation_labels: np.ndarray,
    learning_rates: Sequence[float],
    *,
    classes: int,
    seeds: Sequence[int] = (0,),
    epochs: int = 10,
    batch_size: int = 32,
) -> TrainedHeads:
    """Trains one head per learning rate and seed, of initial weights and order, with Adam and cross-entropy.

    `features` are `float32 [n, features]`; or a function from the epoch, from 0, to those of that epoch's augmented view.
    """
    view = features if callable(features) else lambda epoch: features
    heads, length = len(learning_rates), validation_features.shape[1]
    rates = np.repeat(np.asarray(learning_rates, np.float32), classes)
    wanted = np.eye(classes, dtype=np.float32)[labels]
    keys = [(rate, seed) for rate in learning_rates for seed in seeds]
    kernels = {key: np.empty((epochs, length, classes), np.float32) for key in keys}
    biases = {key: np.empty((epochs, classes), np.float32) for key in keys}

    def logits_of(inputs: np.ndarray) -> np.ndarray:
        return (inputs @ kernel.weights + bias.weights).reshape(-1, heads, classes)

    rows = []
    for seed in seeds:
        initial = keras.ops.convert_to_numpy(keras.initializers.GlorotUniform(seed)((length, classes)))
        kernel = _Adam(np.tile(initial, heads), rates)
        bias = _Adam(np.zeros(heads * classes, np.float32), rates)
        rng = np.random.default_rng(seed)
        for epoch in range(epochs):
            order = rng.permutation(len(labels))
            seen = np.asarray(view(epoch))
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                inputs = seen[batch]
                error = softmax(logits_of(inputs), axis=-1) - wanted[batch, None]
                error = error.reshape(len(batch), -1) / np.float32(len(batch))
                kernel.step(inputs.T @ error)
                bias.step(error.sum(axis=0))
            logits, val_logits = logits_of(seen), logits_of(validation_features)
            for head, rate in enumerate(learning_rates):
                own = slice(head * classes, (head + 1) * classes)
                kernels[rate, seed][epoch] = kernel.weights[:, own]
                biases[rate, seed][epoch] = bias.weights[own]
                trained = loss_and_accuracy(logits[:, head], labels)
                validated = loss_and_accuracy(val_logits[:, head], validation_labels)
                rows.append((rate, seed, epoch + 1, *trained, *validated))
    history = pd.DataFrame(rows, columns=COLUMNS)
    history = history.sort_values(["learning_rate", "seed", "epoch"], ignore_index=True)
    return TrainedHeads(history, kernels, biases)
