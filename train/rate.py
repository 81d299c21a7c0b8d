"""The learned rate model of rate-distortion training: what the integer entropy coder of the runtime does, made smooth.

The coder (edgepress.runtime.coder) predicts each symbol's mean from its causal neighbours in the same channel, and
the scale of the residual from magnitudes already coded: neighbours in the channel, a fast and a slow running sum over
the channels before it at this position, and the slow sum at the four positions around. This layer has the same features
with learned weights, so that the encoder learns latents that this very coder codes well. The integer tables are fitted
after training, on the int8 encoder's own symbols; nothing of this layer is shipped.
"""

from __future__ import annotations

import math
from functools import lru_cache

import keras
import numpy as np
from keras import ops

FAST_DECAY, SLOW_DECAY = 3 / 4, 15 / 16  # per channel, as in the coder
FEATURES = 5  # sides, diagonals, fast, slow, slow around
# The rate model has to follow the transforms: its weights move this many times faster under the same optimizer.
PACE = 5.0


@lru_cache
def _neighbours(height: int, width: int, *offsets: tuple[int, int]) -> np.ndarray:
    """Matrix that maps values at the height x width positions to sums over the neighbours (dy, dx); zero outside.

    Shifts as matrix products: on a CPU several times faster than padding and slicing, and exact.
    """
    matrix = np.zeros((height, width, height, width), "float32")
    for y in range(height):
        for x in range(width):
            for dy, dx in offsets:
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    matrix[y, x, y + dy, x + dx] = 1
    return matrix.reshape(height * width, height * width)


LEFT, TOP, RIGHT, BOTTOM, TOP_LEFT, TOP_RIGHT = (0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1)


def _running_sum(channels: int, decay: float) -> np.ndarray:
    """Matrix A with (e @ A)[c] = sum over c' < c of decay^(c - c' - 1) e[c']."""
    distance = np.arange(channels)[None, :] - np.arange(channels)[:, None] - 1
    return np.where(distance >= 0, decay ** np.maximum(distance, 0), 0).astype("float32")


class ContextRate(keras.layers.Layer):
    """Bits of quantized latents under a context-conditional logistic mixture.

    Call: (noisy, rounded, log_step), the latents in units of the quantization step, (B, h, w, C) float32: `noisy`
    with additive uniform noise (its likelihood is the rate, Balle et al. 2017), `rounded` for the contexts; log_step
    (B, 1, 1, 1) is the natural logarithm of the step. Returns bits (B,), summed over positions and channels.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, *shapes):
        c = self.channels
        self.mean_weights = self.add_weight(shape=(4, c), initializer="zeros", name="mean")
        self.scale_weights = self.add_weight(
            shape=(FEATURES, c), initializer=keras.initializers.Constant(-3.0 / PACE), name="scale"
        )
        # The constant part of the scale: exp of a quadratic in log_step.
        self.offset = self.add_weight(shape=(3, c), initializer="zeros", name="offset")
        self.mixture = self.add_weight(shape=(2, c), initializer="zeros", name="mixture")
        self.fast = _running_sum(c, FAST_DECAY)
        self.slow = _running_sum(c, SLOW_DECAY)

    def call(self, noisy, rounded, log_step):
        height, width, channels = rounded.shape[1:]
        noisy, rounded = (ops.reshape(t, (-1, height * width, channels)) for t in (noisy, rounded))
        log_step = ops.reshape(log_step, (-1, 1, 1))

        def near(x, *offsets):
            return ops.matmul(_neighbours(height, width, *offsets), x)

        w = PACE * self.mean_weights
        mean = sum(w[i] * near(rounded, d) for i, d in enumerate((LEFT, TOP, TOP_LEFT, TOP_RIGHT)))
        e = ops.abs(rounded - mean)
        slow = ops.matmul(e, self.slow)
        features = (
            near(e, LEFT, TOP),
            near(e, TOP_LEFT, TOP_RIGHT),
            ops.matmul(e, self.fast),
            slow,
            near(slow, LEFT, TOP, RIGHT, BOTTOM),
        )
        s = ops.softplus(PACE * self.scale_weights)
        scale = sum(s[i] * f for i, f in enumerate(features))
        o = PACE * self.offset
        level = log_step - 1.5
        scale = scale + ops.exp(ops.clip(o[0] - 1.0 + o[1] * level + o[2] * level**2, -5.0, 4.0))

        r = ops.abs(noisy - mean)
        share = ops.sigmoid(PACE * self.mixture[0])
        widths = (0.5, 1.0 + ops.softplus(PACE * self.mixture[1]))
        p = sum(
            weight * self._mass(r, scale * width)
            for weight, width in zip((share, 1 - share), widths, strict=True)
        )
        bits = -ops.log(ops.maximum(p, 1e-7)) / math.log(2)
        return ops.sum(bits, axis=(1, 2))

    @staticmethod
    def _mass(r, scale):
        """Probability of the unit interval around r >= 0 under a logistic; both terms on the accurate side."""
        scale = ops.maximum(scale, 0.02)
        return ops.sigmoid((0.5 - r) / scale) - ops.sigmoid((-0.5 - r) / scale)
