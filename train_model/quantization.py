"""Prepares a model for 8 bits: two errors that don't average out are known beforehand and taken back.

- The converter rounds each weight to the nearest step. A filter's inputs are positive, so its rounding errors don't
  cancel: they shift each channel's mean. The batch normalisation behind a convolution can take its shift back
  (arXiv:1906.04721, section 4.2).
- 8-bit numbers need a step for zero. An image scaled to -1..1 has none: zero lies between the levels 127 and 128, all
  levels fall between two steps, and some pairs of them onto one. Half a level more or less puts each on its own.
"""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

STEPS = 127  # of either sign: TFLite's 8-bit weights are symmetric, and each filter has a scale of its own
IMAGES = 32  # enough: the shifts are means over all places of a feature map too
BATCH = 8


@contextlib.contextmanager
def corrected(model: keras.Model, images: np.ndarray) -> Iterator[None]:
    """Lets a model expect 8 bits, by images `uint8 [n, h, w, 3]`, for the length of a `with` block.

    The model has layers in a row, such as a rescaling, before the network: itself a model, or else all of it. Convolutions
    are corrected in their own bias, or else in the batch normalisation behind them; other layers stay as they are.
    """
    used = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int)
    inputs = images[used].astype(np.float32)
    network = next((layer for layer in model.layers if isinstance(layer, keras.Model)), model)
    if network is not model:
        for layer in model.layers[1 : model.layers.index(network)]:
            inputs = layer(inputs)
    weights = network.get_weights()
    rescalings = [layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling)]
    offsets = [layer.offset for layer in rescalings]
    try:
        for layer in rescalings:
            layer.offset = np.round(np.divide(layer.offset, layer.scale)) * layer.scale
        norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        for layer, shift in _shifts(network, inputs):
            behind = [norm for norm in norms if norm.input is layer.output]
            if layer.use_bias:
                layer.bias.assign_sub(shift)
            elif behind:
                behind[0].moving_mean.assign_add(shift)
        yield
    finally:
        network.set_weights(weights)
        for layer, offset in zip(rescalings, offsets, strict=True):
            layer.offset = offset


def _shifts(network: keras.Model, inputs: np.ndarray) -> list[tuple[keras.Layer, np.ndarray]]:
    """Each convolution with the shift `[channels]` of its output's mean by rounding its weights."""
    kinds = keras.layers.Conv2D | keras.layers.DepthwiseConv2D
    layers = [layer for layer in network.layers if isinstance(layer, kinds)]
    layers = [layer for layer in layers if layer.data_format == "channels_last"]
    if not layers:
        return []
    errors = [rounding_error(layer) for layer in layers]
    shifts = [0.0] * len(layers)
    part = keras.Model(network.input, [layer.input for layer in layers])
    for start in range(0, len(inputs), BATCH):
        values = keras.tree.flatten(part(inputs[start : start + BATCH], training=False))
        for number, (layer, error, value) in enumerate(zip(layers, errors, values, strict=True)):
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                settings = (layer.strides, layer.padding, None, layer.dilation_rate)
                moved = ops.depthwise_conv(value, error, *settings)
            else:
                moved = layer.convolution_op(value, error)
            shifts[number] += ops.convert_to_numpy(moved).mean(axis=(1, 2)).sum(axis=0) / len(inputs)
    return list(zip(layers, shifts, strict=True))


def rounding_error(layer: keras.Layer) -> np.ndarray:
    """What the converter adds to a layer's kernel: each filter in `STEPS` of its own largest weight."""
    kernel = ops.convert_to_numpy(layer.kernel)
    axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (0, 1, 2)
    step = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), 1e-12) / STEPS
    return np.round(kernel / step) * step - kernel
