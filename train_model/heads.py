"""Classification heads on frozen features: one dense layer each, many trained in one pass.

The heads of a sweep differ in their learning rate only. They see the same images in the same order, so one
pass over the features trains them all: their weights lie side by side in one layer, and each is updated with its
own learning rate and its own optimiser state, to the same result as if it were trained alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from keras import ops

from data_prep_eda.preprocessing import SCENES
from train_model.metrics import loss_and_accuracy


@dataclass(frozen=True)
class TrainedHeads:
    """What a sweep leaves.

    Attributes:
        history: one row per head and epoch: `learning_rate`, `seed`, `epoch` (from 1), `loss`, `accuracy`,
            `val_loss`, `val_accuracy`, all of the weights after the epoch; the training figures on the views
            that the epoch trained on.
        kernels: (learning rate, seed) to `float32 [epochs, features, scenes]`, after each epoch.
        biases: (learning rate, seed) to `float32 [epochs, scenes]`, after each epoch.
    """

    history: pd.DataFrame
    kernels: dict[tuple[float, int], np.ndarray]
    biases: dict[tuple[float, int], np.ndarray]

    def best(self) -> pd.DataFrame:
        """Each head's best epoch: highest validation accuracy, and among equals the lowest validation loss."""
        order = self.history.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
        best = order.drop_duplicates(["learning_rate", "seed"])
        return best.sort_values(["learning_rate", "seed"], ignore_index=True)

    def weights(self, row: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Kernel `[features, scenes]` and bias `[scenes]` of the head and epoch of a row of `history`."""
        key, epoch = (row["learning_rate"], int(row["seed"])), int(row["epoch"]) - 1
        return self.kernels[key][epoch], self.biases[key][epoch]

    def logits(self, row: pd.Series, features: np.ndarray) -> np.ndarray:
        """Logits `[n, scenes]` of `[n, features]` by the head and epoch of a row of `history`."""
        kernel, bias = self.weights(row)
        return features @ kernel + bias


class _Heads(keras.layers.Layer):
    """Dense layers side by side: `[n, features]` to logits `[n, heads, scenes]`."""

    def __init__(self, heads: int, features: int) -> None:
        super().__init__()
        self.kernel = self.add_weight(shape=(features, heads, len(SCENES)), initializer="zeros")
        self.bias = self.add_weight(shape=(heads, len(SCENES)), initializer="zeros")

    def restart(self, seed: int) -> None:
        """Every head starts from the same weights, as it would if it were trained alone with this seed."""
        features, heads, scenes = self.kernel.shape
        start = ops.convert_to_numpy(keras.initializers.GlorotUniform(seed)((features, scenes)))
        self.kernel.assign(np.repeat(start[:, None], heads, axis=1))
        self.bias.assign(np.zeros((heads, scenes), np.float32))

    def call(self, features):
        return ops.tensordot(features, self.kernel, axes=1) + self.bias


class _AdamPerHead(keras.optimizers.Adam):
    """Adam with one learning rate per head; the rest of Adam works weight by weight anyway."""

    def __init__(self, learning_rates: Sequence[float]) -> None:
        super().__init__(1.0, name="adam_per_head")
        self._rates = np.asarray(learning_rates, np.float32)[:, None]  # against [..., heads, scenes]

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, ops.convert_to_tensor(self._rates) * learning_rate)


def _loss(labels, logits):
    """Cross-entropy summed over the heads: no head's gradient depends on another's."""
    labels = ops.broadcast_to(ops.expand_dims(labels, 1), ops.shape(logits)[:2])
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return ops.sum(losses, axis=1)


def train_heads(
    features: np.ndarray | Callable[[int], np.ndarray],
    labels: np.ndarray,
    validation_features: np.ndarray,
    validation_labels: np.ndarray,
    learning_rates: Sequence[float],
    *,
    seeds: Sequence[int] = (0,),
    epochs: int = 10,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedHeads:
    """Trains one head a learning rate and seed with Adam and cross-entropy.

    Args:
        features: `float32 [n, features]`; or a function from the epoch, from 0, to the features of that epoch's
            augmented view, rows in the same order.
        labels: `int [n]`, indices into `SCENES`.
        validation_features: `float32 [m, features]`.
        validation_labels: `int [m]`.
        learning_rates: all are trained in one pass.
        seeds: of the initial weights and of the order of the images; one pass each.
        epochs: passes over the training images.
        batch_size: batch size.
        progress: called with (epochs done, epochs of all passes).

    Returns:
        Curves, and the weights of every head after every epoch.
    """
    view = features if callable(features) else lambda epoch: features
    inputs = keras.Input((validation_features.shape[1],))
    layer = _Heads(len(learning_rates), validation_features.shape[1])
    model = keras.Model(inputs, layer(inputs))
    optimizer = _AdamPerHead(learning_rates)
    steps = -(-len(labels) // batch_size)
    # One compiled call an epoch: a step is so small that Python would cost more than the arithmetic.
    model.compile(optimizer, loss=_loss, steps_per_execution=steps)
    optimizer.build(model.trainable_variables)
    fresh = [ops.convert_to_numpy(variable) for variable in optimizer.variables]

    rows = []
    kernels: dict[tuple[float, int], list[np.ndarray]] = {}
    biases: dict[tuple[float, int], list[np.ndarray]] = {}
    for number, seed in enumerate(seeds):
        layer.restart(seed)
        for variable, value in zip(optimizer.variables, fresh, strict=True):
            variable.assign(value)
        rng = np.random.default_rng(seed)
        for epoch in range(epochs):
            order = rng.permutation(len(labels))
            seen = np.asarray(view(epoch))
            model.fit(seen[order], labels[order], batch_size=batch_size, shuffle=False, verbose=0)
            all_kernels = ops.convert_to_numpy(layer.kernel)
            all_biases = ops.convert_to_numpy(layer.bias)
            for head, rate in enumerate(learning_rates):
                kernel, bias = all_kernels[:, head].copy(), all_biases[head].copy()
                kernels.setdefault((rate, seed), []).append(kernel)
                biases.setdefault((rate, seed), []).append(bias)
                row = {"learning_rate": rate, "seed": seed, "epoch": epoch + 1}
                row["loss"], row["accuracy"] = loss_and_accuracy(seen @ kernel + bias, labels)
                row["val_loss"], row["val_accuracy"] = loss_and_accuracy(
                    validation_features @ kernel + bias, validation_labels
                )
                rows.append(row)
            if progress:
                progress(number * epochs + epoch + 1, len(seeds) * epochs)
    history = pd.DataFrame(rows).sort_values(["learning_rate", "seed", "epoch"], ignore_index=True)
    return TrainedHeads(
        history,
        {key: np.stack(values) for key, values in kernels.items()},
        {key: np.stack(values) for key, values in biases.items()},
    )
