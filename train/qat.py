"""Quantization-aware training in Keras 3 (Jacob et al. 2018): the model's own layers, with int8 rounding simulated.

TFLite's int8 scheme: weights symmetric per output channel, activations asymmetric per tensor. Rounding is
straight-through; activation ranges are moving averages of batch extremes. `to_qat` clones a functional model of
Conv2D, Add and layers without arithmetic; `copy_weights` moves trained weights back into the plain model, which is converted.
"""

from __future__ import annotations

from collections.abc import Collection

import keras
from keras import ops

MOMENTUM = 0.99


def _straight_through_round(x):
    return x + ops.stop_gradient(ops.round(x) - x)


class ActivationRange(keras.layers.Layer):
    """Rounds to the 256 levels of the range seen in training, or of a `fixed` range (low, high)."""

    def __init__(self, fixed: tuple[float, float] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.fixed = fixed

    def build(self, shape):
        if self.fixed is None:
            self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
            self.high = self.add_weight(shape=(), initializer="zeros", trainable=False, name="high")

    def call(self, x, training=False):
        if self.fixed is not None:
            low, high = self.fixed
        else:
            if training:
                new = ops.stop_gradient(ops.minimum(ops.min(x), 0.0)), ops.stop_gradient(ops.max(x))
                for variable, value in zip((self.low, self.high), new, strict=True):
                    first = ops.equal(variable, 0.0)
                    mixed = MOMENTUM * variable + (1 - MOMENTUM) * value
                    variable.assign(ops.where(first, value, mixed))
            low, high = ops.minimum(self.low, 0.0), ops.maximum(self.high, 1e-6)
        scale = (high - low) / 255.0
        zero = ops.round(-low / scale)
        steps = ops.clip(x / scale, -zero, 255.0 - zero)
        return _straight_through_round(steps) * scale


class QuantizedConv2D(keras.layers.Conv2D):
    """Conv2D whose kernel is rounded to int8 per output channel and whose output, after the activation, to 256 levels."""

    def __init__(
        self, *args, output_range: tuple[float, float] | None = None, rounded: bool = True, **kwargs
    ):
        super().__init__(*args, **kwargs)
        self.output_range = ActivationRange(output_range, name=f"{self.name}_range") if rounded else None

    def call(self, x, training=False):
        scale = ops.stop_gradient(ops.max(ops.abs(self.kernel), axis=(0, 1, 2))) / 127.0 + 1e-12
        kernel = _straight_through_round(self.kernel / scale) * scale
        y = ops.conv(x, kernel, self.strides, self.padding, "channels_last", self.dilation_rate)
        if self.use_bias:
            y = y + self.bias
        y = self.activation(y)
        return y if self.output_range is None else self.output_range(y, training=training)


class QuantizedAdd(keras.layers.Layer):
    """Add whose result is rounded to 256 levels."""

    def __init__(self, *, output_range: tuple[float, float] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.output_range = ActivationRange(output_range, name=f"{self.name}_range")

    def call(self, inputs, training=False):
        return self.output_range(sum(inputs), training=training)


def to_qat(
    model: keras.Model, fixed_ranges: dict[str, tuple[float, float]], unrounded: Collection[str] = ()
) -> keras.Model:
    """A clone of `model` with the same weights that trains under simulated int8.

    Args:
        model: functional, of Conv2D, Add and layers without arithmetic.
        fixed_ranges: (low, high) of the outputs of named Conv2D and Add layers that the codec fixes, such as the image's.
        unrounded: names of Conv2D and Add layers whose outputs are not rounded: the latent, which the objective rounds, and what
            the converted model does not store.
    """

    def clone(layer):
        config = layer.get_config()
        rounded = layer.name not in unrounded
        if type(layer) is keras.layers.Conv2D:
            return QuantizedConv2D(**config, output_range=fixed_ranges.get(layer.name), rounded=rounded)
        if type(layer) is keras.layers.Add and rounded:
            return QuantizedAdd(**config, output_range=fixed_ranges.get(layer.name))
        return layer.__class__.from_config(config)

    quantized = keras.models.clone_model(model, clone_function=clone)
    copy_weights(model, quantized)
    return quantized


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy kernels and biases between layers of the same name; ranges stay where they are."""
    for layer in source.layers:
        if isinstance(layer, keras.layers.Conv2D):
            twin = target.get_layer(layer.name)
            twin.kernel.assign(layer.kernel)
            if layer.use_bias:
                twin.bias.assign(layer.bias)
