"""Classification heads on frozen features: one dense layer each, many trained in one pass.

The heads of a sweep differ in their learning rate only. They see the same photographs in the same order, so one
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
from scipy.special import logsumexp

from train_model.backbones import Backbone, load_backbone
from train_model.preprocessing import SCENES


@dataclass(frozen=True)
class TrainedHeads:
    """What a sweep leaves.

    Attributes:
        history: one row a head and epoch: `learning_rate`, `seed`, `epoch` (from 1), `loss`, `accuracy`,
            `val_loss`, `val_accuracy`, all of the weights after the epoch; the training figures on the views
            that the epoch trained on.
        kernels: `float32 [epochs, heads, features, scenes]` after each epoch.
        biases: `float32 [epochs, heads, scenes]` after each epoch.
    """

    history: pd.DataFrame
    kernels: np.ndarray
    biases: np.ndarray

    def best(self) -> pd.Series:
        """The row of `history` with the highest validation accuracy; ties go to the lower validation loss."""
        order = self.history.sort_values(["val_accuracy", "val_loss"], ascending=[False, True])
        return order.iloc[0]

    def weights(self, learning_rate: float, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Kernel `[features, scenes]` and bias `[scenes]` of one head after an epoch (from 1)."""
        rates = list(dict.fromkeys(self.history["learning_rate"]))
        head = rates.index(learning_rate)
        return self.kernels[epoch - 1, head], self.biases[epoch - 1, head]


class _Heads(keras.layers.Layer):
    """Dense layers side by side: `[n, features]` to logits `[n, heads, scenes]`."""

    def __init__(self, heads: int, features: int, seed: int) -> None:
        super().__init__()
        # Every head starts from the same weights, as it would if it were trained alone with this seed.
        start = ops.convert_to_numpy(keras.initializers.GlorotUniform(seed)((features, len(SCENES))))
        self.kernel = self.add_weight(
            shape=(features, heads, len(SCENES)),
            initializer=lambda shape, dtype: ops.convert_to_tensor(
                np.repeat(start[:, None], heads, axis=1), dtype
            ),
        )
        self.bias = self.add_weight(shape=(heads, len(SCENES)), initializer="zeros")

    def call(self, features):
        return ops.tensordot(features, self.kernel, axes=1) + self.bias


class _AdamPerHead(keras.optimizers.Adam):
    """Adam with a learning rate a head; the rest of Adam works weight by weight anyway."""

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
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedHeads:
    """Trains one head a learning rate with Adam and cross-entropy.

    Args:
        features: `float32 [n, features]`; or a function from the epoch, from 0, to the features of that epoch's
            augmented view, rows in the same order.
        labels: `int [n]`, indices into `SCENES`.
        validation_features: `float32 [m, features]`.
        validation_labels: `int [m]`.
        learning_rates: one a head.
        epochs: passes over the training photographs.
        batch_size: photographs an update.
        seed: of the initial weights and of the order of the photographs.
        progress: called with (epochs done, epochs).

    Returns:
        Curves, and the weights of every head after every epoch.
    """
    heads = len(learning_rates)
    view = features if callable(features) else lambda epoch: features
    inputs = keras.Input((validation_features.shape[1],))
    layer = _Heads(heads, validation_features.shape[1], seed)
    model = keras.Model(inputs, layer(inputs))
    steps = -(-len(labels) // batch_size)
    # One compiled call an epoch: a step is so small that Python would cost more than the arithmetic.
    model.compile(_AdamPerHead(learning_rates), loss=_loss, steps_per_execution=steps)

    rng = np.random.default_rng(seed)
    rows, kernels, biases = [], [], []
    for epoch in range(epochs):
        order = rng.permutation(len(labels))
        seen = np.asarray(view(epoch))
        model.fit(seen[order], labels[order], batch_size=batch_size, shuffle=False, verbose=0)
        kernels.append(np.moveaxis(ops.convert_to_numpy(layer.kernel), 1, 0))
        biases.append(ops.convert_to_numpy(layer.bias))
        for rate, kernel, bias in zip(learning_rates, kernels[-1], biases[-1], strict=True):
            row = {"learning_rate": rate, "seed": seed, "epoch": epoch + 1}
            row["loss"], row["accuracy"] = loss_and_accuracy(seen @ kernel + bias, labels)
            validation_logits = validation_features @ kernel + bias
            row["val_loss"], row["val_accuracy"] = loss_and_accuracy(validation_logits, validation_labels)
            rows.append(row)
        if progress:
            progress(epoch + 1, epochs)
    history = pd.DataFrame(rows).sort_values(["learning_rate", "epoch"], ignore_index=True)
    return TrainedHeads(history, np.stack(kernels), np.stack(biases))


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy, of `[n, scenes]` logits against `[n]` labels."""
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())


def assemble(backbone: Backbone, kernel: np.ndarray, bias: np.ndarray, weights: str = "auto") -> keras.Model:
    """The full model of a head: photograph in, probabilities out.

    Args:
        backbone: the frozen network whose features the head was trained on.
        kernel: `[features, scenes]`.
        bias: `[scenes]`.
        weights: see `train_model.backbones.find_weights`.

    Returns:
        Keras model from `[n, size, size, 3]` RGB with levels 0 to 255 to probabilities `[n, 3]` in the order of
        `SCENES`. Only the dense layer is trainable.
    """
    model = build_classifier(backbone, weights)
    model.get_layer("logits").set_weights([kernel, bias])
    return model


def build_classifier(backbone: Backbone, weights: str = "auto") -> keras.Model:
    """The full model with an untrained head; see `assemble`."""
    pixels = keras.Input((backbone.input_size, backbone.input_size, 3), name="photograph")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(pixels)
    maps = load_backbone(backbone, weights)(scaled, training=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(maps)
    logits = keras.layers.Dense(len(SCENES), name="logits")(pooled)
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(pixels, probabilities, name=f"scene_{backbone.name}")
