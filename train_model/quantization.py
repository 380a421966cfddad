"""Rounds a network's weights to 8 bits so that its answers move least, not its weights.

The converter rounds each weight to the nearest step by itself. A filter's weights are small against what they are
multiplied with, and neighbouring inputs rise and fall together, so the errors add up: MobileNet's pooled features end
a quarter of their length away from the exact ones. Two corrections from the literature take most of it back:

- The weights of a filter are rounded one after the other, and each passes its error on to those that are still to
  come, in the proportion in which their inputs vary together (GPTQ: Frantar et al., arXiv:2210.17323, algorithm 1).
- What is left moves a channel's mean, which the batch normalisation behind it takes back (Nagel et al.,
  arXiv:1906.04721, section 4.2).

Both need photographs, but neither labels nor training. The converter finds the steps of the rounded weights again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

STEPS = 127  # of either sign: TFLite's 8-bit weights are symmetric, and each filter has a scale of its own
PHOTOGRAPHS = 32  # four times as many change the result by less than another draw of them does
PLACES = 128  # a photograph and layer, whose inputs are looked at
DAMPING = 0.01  # of the mean variance, added to every input's: keeps the inverse stable


@contextlib.contextmanager
def rounded_weights(model: keras.Model, photographs: np.ndarray, seed: int = 0) -> Iterator[None]:
    """Lets a model have rounded weights for the length of a `with` block.

    Args:
        model: layers in a row up to the network, such as a rescaling, and then the network: itself a model, or else
            all of `model`. Its `Conv2D` and `DepthwiseConv2D` layers are rounded; others, and those with groups
            or dilated kernels, stay as they are.
        photographs: `uint8 [n, h, w, 3]`, of which `PHOTOGRAPHS` at even distances are used.
        seed: of the places that are looked at.
    """
    used = np.linspace(0, len(photographs) - 1, min(PHOTOGRAPHS, len(photographs))).astype(int)
    network, inputs = _network(model, photographs[used].astype(np.float32))
    convolutions = [layer for layer in network.layers if _is_plain_convolution(layer)]
    kept = [(layer, layer.get_weights()) for layer in network.layers]
    try:
        if convolutions:
            moments = _input_moments(network, convolutions, inputs, np.random.default_rng(seed))
            for layer, (mean, covariance) in zip(convolutions, moments, strict=True):
                _round_layer(network, layer, mean, covariance)
        yield
    finally:
        for layer, weights in kept:
            layer.set_weights(weights)


def round_filters(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Rounds filters to `STEPS` of their own largest weight, passing each error on to the weights still to come.

    Args:
        weights: `[groups, filters, inputs]`; the filters of a group see the same inputs.
        covariance: of the inputs, `[groups, inputs, inputs]`.

    Returns:
        `[groups, filters, inputs]`.
    """
    weights = np.array(weights, np.float64)
    step = np.maximum(np.abs(weights).max(axis=2), 1e-12) / STEPS
    variance = np.einsum("gii->gi", covariance)
    damping = DAMPING * variance.mean(axis=1) + 1e-9
    order = np.argsort(-variance, axis=1)  # the inputs that vary most first, while others can still make up
    weights = np.take_along_axis(weights, order[:, None, :], 2)
    covariance = np.take_along_axis(
        np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2
    )
    covariance = covariance + damping[:, None, None] * np.eye(weights.shape[2])
    pass_on = np.linalg.cholesky(np.linalg.inv(covariance)).transpose(0, 2, 1)
    largest = np.abs(weights).argmax(axis=2)
    ends = np.sign(weights) * STEPS
    rounded = np.empty_like(weights)
    for i in range(weights.shape[2]):
        steps = np.clip(np.round(weights[:, :, i] / step), -STEPS, STEPS)
        # The largest weight stays the largest: the converter reads the step off it.
        rounded[:, :, i] = np.where(largest == i, ends[:, :, i], steps) * step
        error = (weights[:, :, i] - rounded[:, :, i]) / pass_on[:, None, i, i]
        weights[:, :, i + 1 :] -= error[:, :, None] * pass_on[:, None, i, i + 1 :]
    return np.take_along_axis(rounded, np.argsort(order, axis=1)[:, None, :], 2)


def _network(model: keras.Model, photographs: np.ndarray) -> tuple[keras.Model, np.ndarray]:
    """The network inside a model, and what reaches it."""
    values = photographs
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            return layer, values
        if not isinstance(layer, keras.layers.InputLayer):
            if layer.weights:
                break
            values = keras.ops.convert_to_numpy(layer(values))
    return model, photographs


def _is_plain_convolution(layer: keras.Layer) -> bool:
    """Whether `_patches` knows what the layer's filters see."""
    return (
        isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        and getattr(layer, "groups", 1) == 1
        and set(layer.dilation_rate) == {1}
        and len(set(layer.strides)) == 1
        and layer.data_format == "channels_last"
    )


def _input_moments(
    network: keras.Model, layers: list[keras.Layer], inputs: np.ndarray, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean `[groups, inputs]` and covariance `[groups, inputs, inputs]` of what each layer's filters see."""
    part = keras.Model(network.input, [layer.input for layer in layers])
    sums = [[0, 0.0, 0.0] for _ in layers]
    for start in range(0, len(inputs), 8):
        values = part(inputs[start : start + 8], training=False)
        for layer, value, total in zip(layers, values if len(layers) > 1 else [values], sums, strict=True):
            seen = _patches(layer, keras.ops.convert_to_numpy(value), rng)
            total[0] += seen.shape[1]
            total[1] = total[1] + seen.sum(axis=1)
            total[2] = total[2] + seen.transpose(0, 2, 1) @ seen
    moments = []
    for count, first, second in sums:
        mean = first / count
        moments.append((mean, second / count - mean[:, :, None] * mean[:, None, :]))
    return moments


def _patches(layer: keras.Layer, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a layer's filters see at random places: `[groups, places, inputs]`, inputs in the order of a kernel."""
    (rows, columns), (step, _) = layer.kernel_size, layer.strides
    if layer.padding == "same":
        values = np.pad(
            values,
            ((0, 0), _margins(values.shape[1], rows, step), _margins(values.shape[2], columns, step), (0, 0)),
        )
    high, wide = (values.shape[1] - rows) // step + 1, (values.shape[2] - columns) // step + 1
    places = rng.choice(high * wide, min(high * wide, PLACES), replace=False)
    y, x = places // wide * step, places % wide * step
    windows = [values[:, y + dy, x + dx] for dy in range(rows) for dx in range(columns)]
    seen = np.stack(windows, axis=2).reshape(-1, rows * columns, values.shape[3])
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        seen = seen.transpose(2, 0, 1)
    else:
        seen = seen.reshape(1, len(seen), -1)
    return np.ascontiguousarray(seen, np.float64)


def _margins(length: int, kernel: int, step: int) -> tuple[int, int]:
    """Zeros before and after, as "same" padding adds them."""
    zeros = max((-(-length // step) - 1) * step + kernel - length, 0)
    return zeros // 2, zeros - zeros // 2


def _round_layer(network: keras.Model, layer: keras.Layer, mean: np.ndarray, covariance: np.ndarray) -> None:
    kernel, *bias = layer.get_weights()
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    # A depthwise kernel is [rows, columns, channels, filters a channel], a plain one [rows, columns, channels, filters].
    flat = kernel.reshape(-1, *kernel.shape[2:]) if depthwise else kernel.reshape(1, -1, kernel.shape[3])
    weights = flat.transpose(1, 2, 0) if depthwise else flat.transpose(0, 2, 1)  # [groups, filters, inputs]
    rounded = round_filters(weights, covariance)
    moved = np.einsum("gfi,gi->gf", rounded - weights, mean).ravel()
    back = rounded.transpose(2, 0, 1) if depthwise else rounded.transpose(0, 2, 1)
    layer.set_weights([back.reshape(kernel.shape), *([bias[0] - moved] if bias else [])])
    behind = [
        other
        for other in network.layers
        if isinstance(other, keras.layers.BatchNormalization) and other.input is layer.output
    ]
    if not bias and behind:
        (normalisation,) = behind
        normalisation.moving_mean.assign(normalisation.moving_mean + moved)
