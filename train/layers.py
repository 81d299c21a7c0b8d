"""Layers that models and rewrites share; the only custom ones that a `.keras` file of ours may need."""

from __future__ import annotations

import keras
from keras import ops


class _Rearranged(keras.layers.Layer):
    """What the two rearrangements share: their only setting."""

    def __init__(self, block: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def get_config(self):
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable("edgepress")
class DepthToSpace(_Rearranged):
    """Moves groups of `block`^2 channels to space: (B, H, W, C b^2) -> (B, H b, W b, C), as tf.nn.depth_to_space.

    Channel order is TensorFlow's NHWC order (block row, block column, channel), so that under the TensorFlow
    backend it becomes TFLite's DEPTH_TO_SPACE, which XNNPACK runs (sub-pixel convolution, Shi et al. 2016).
    """

    def call(self, x):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.nn.depth_to_space(x, self.block)
        b = self.block
        n, h, w, c = ops.shape(x)
        x = ops.reshape(x, (n, h, w, b, b, c // (b * b)))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (n, h * b, w * b, c // (b * b)))

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        b = self.block
        return (n, None if h is None else h * b, None if w is None else w * b, c // (b * b))


@keras.saving.register_keras_serializable("edgepress")
class SpaceToDepth(_Rearranged):
    """Moves `block` x `block` pixels to channels: (B, H b, W b, C) -> (B, H, W, C b^2), the inverse of `DepthToSpace`.

    H b and W b must be multiples of `block`. Under the TensorFlow backend it becomes TFLite's SPACE_TO_DEPTH.
    """

    def call(self, x):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.nn.space_to_depth(x, self.block)
        b = self.block
        n, h, w, c = ops.shape(x)
        x = ops.reshape(x, (n, h // b, b, w // b, b, c))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (n, h // b, w // b, b * b * c))

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        b = self.block
        return (n, None if h is None else h // b, None if w is None else w // b, c * b * b)


@keras.saving.register_keras_serializable("edgepress")
class EdgePadding(keras.layers.Layer):
    """Repeats the first and the last row and column: (B, H, W, C) -> (B, H + 2, W + 2, C).

    By slices and concatenations, which XNNPACK runs in int8 at any size, unlike TFLite's MIRROR_PAD.
    """

    def call(self, x):
        x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        return ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        return (n, None if h is None else h + 2, None if w is None else w + 2, c)
