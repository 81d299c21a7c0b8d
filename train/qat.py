"""Quantization-aware training in Keras 3 (Jacob et al. 2018): the model's own layers, with int8 rounding simulated.

TFLite's int8 scheme: weights symmetric per output channel, activations asymmetric per tensor. Rounding is
straight-through. Ranges of activations are measured on images that show all that the network will see, not followed from
batch to batch: an image that is brighter than the average of batches would be clipped (measured: 7 dB lost). `to_qat`
clones a functional model of Conv2D, Add and layers without arithmetic; `simulate` switches the rounding on;
`copy_weights` moves trained weights back into the plain model, which is converted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import keras
import numpy as np
from keras import ops

# Of the extremes that are tried as a range: rare extremes cost all others precision.
PARTS = np.linspace(0.4, 1.0, 13)


def _straight_through_round(x):
    return x + ops.stop_gradient(ops.round(x) - x)


class ActivationRange(keras.layers.Layer):
    """Once `on`, rounds to the 256 levels of a range: that of `calibrate`, or a `fixed` one (low, high).

    `each`: every channel has a range of its own, as when the conversion scales them to a common one (Nagel et al. 2019).
    """

    def __init__(self, fixed: tuple[float, float] | None = None, each: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.fixed, self.each = fixed, each
        self.on = False
        self.seen: list[np.ndarray] | None = None  # while `calibrate` collects what comes by

    def build(self, shape):
        if self.fixed is None:
            ends = (shape[-1],) if self.each else ()
            self.low = self.add_weight(shape=ends, initializer="zeros", trainable=False, name="low")
            self.high = self.add_weight(shape=ends, initializer="ones", trainable=False, name="high")

    def call(self, x):
        if self.seen is not None:
            self.seen.append(ops.convert_to_numpy(x))
        if not self.on:
            return x
        low, high = self.fixed or (self.low, self.high)
        scale = (high - low) / 255.0
        zero = ops.round(-low / scale)
        return _straight_through_round(ops.clip(x / scale, -zero, 255.0 - zero)) * scale

    def calibrate(self, x: np.ndarray) -> None:
        """Take the range whose rounding has the least squared error on activations (N, ..., C)."""
        axes = tuple(range(x.ndim - 1)) if self.each else None
        low, high = np.minimum(x.min(axis=axes), 0.0), np.maximum(x.max(axis=axes), 1e-6)
        errors = []
        for part in PARTS:
            scale = part * (high - low) / 255
            zero = np.round(-part * low / scale)
            rounded = np.clip(np.round(x / scale), -zero, 255 - zero) * scale
            errors.append(np.square(rounded - x).mean(axis=axes))
        part = PARTS[np.argmin(errors, axis=0)]
        self.low.assign(part * low)
        self.high.assign(part * high)


class QuantizedConv2D(keras.layers.Conv2D):
    """Conv2D that, once `on`, rounds its kernel to int8 per output channel and its output to 256 levels.

    The output is rounded behind the activation, and only where `output_range` is not None.
    """

    def __init__(self, *args, output_range: ActivationRange | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.output_range = output_range
        self.on = False

    def call(self, x):
        kernel = self.kernel
        if self.on:
            scale = ops.stop_gradient(ops.max(ops.abs(kernel), axis=(0, 1, 2))) / 127.0 + 1e-12
            kernel = _straight_through_round(kernel / scale) * scale
        y = ops.conv(x, kernel, self.strides, self.padding, "channels_last", self.dilation_rate)
        if self.use_bias:
            y = y + self.bias
        y = self.activation(y)
        return y if self.output_range is None else self.output_range(y)


class QuantizedAdd(keras.layers.Layer):
    """Add whose result is rounded as its range says."""

    def __init__(self, output_range: ActivationRange, **kwargs):
        super().__init__(**kwargs)
        self.output_range = output_range

    def call(self, inputs):
        return self.output_range(sum(inputs))


def to_qat(
    model: keras.Model,
    fixed_ranges: dict[str, tuple[float, float]],
    unrounded: Collection[str] = (),
    each: Collection[str] = (),
) -> keras.Model:
    """A clone of `model` with the same weights that can train under simulated int8; `simulate` switches it on.

    Args:
        model: functional, of Conv2D, Add and layers without arithmetic.
        fixed_ranges: (low, high) of the outputs of named Conv2D and Add layers that the codec fixes, such as the image's.
        unrounded: names of Conv2D and Add layers whose outputs are not rounded: the latent, which the objective rounds, and
            what the converted model does not store.
        each: names of Conv2D layers whose channels have a range of their own.
    """

    def clone(layer):
        config = layer.get_config()
        name = layer.name
        output = None
        if name not in unrounded:
            output = ActivationRange(fixed_ranges.get(name), name in each, name=f"{name}_range")
        if type(layer) is keras.layers.Conv2D:
            return QuantizedConv2D(**config, output_range=output)
        if type(layer) is keras.layers.Add and output is not None:
            return QuantizedAdd(output, **config)
        return layer.__class__.from_config(config)

    quantized = keras.models.clone_model(model, clone_function=clone)
    copy_weights(model, quantized)
    return quantized


def simulate(quantized: keras.Model, images: np.ndarray) -> None:
    """Round from now on, with ranges measured on float images (N, H, W, 3); again, it only measures anew."""
    ranges = list(_ranges(quantized))
    for one in ranges:
        one.seen = []
    quantized(images)
    for one in ranges:
        seen, one.seen = one.seen, None
        if one.fixed is None:
            one.calibrate(np.concatenate(seen or []))
    switch_on(quantized)


def switch_on(quantized: keras.Model) -> None:
    """Round from now on, with the ranges that the model has."""
    for one in _ranges(quantized):
        one.on = True
    for layer in quantized.layers:
        if isinstance(layer, QuantizedConv2D):
            layer.on = True


def _ranges(quantized: keras.Model) -> Iterator[ActivationRange]:
    for layer in quantized.layers:
        one = getattr(layer, "output_range", None)
        if one is not None:
            yield one


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy kernels and biases between layers of the same name; ranges stay where they are."""
    for layer in source.layers:
        if isinstance(layer, keras.layers.Conv2D):
            twin = target.get_layer(layer.name)
            twin.kernel.assign(layer.kernel)
            if layer.use_bias:
                twin.bias.assign(layer.bias)
