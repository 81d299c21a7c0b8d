"""`photo`: the analysis and synthesis transforms of the default codec, at most 2 kMAC per pixel a side.

Patch first, then work small (DESIGN rule 5): a 4x4 patch convolution to 1/4 resolution, 2x2 ones to 1/8 and 1/16, and
bottleneck residual blocks (1x1 -> 3x3 -> 1x1, He et al. 2016) in between. Their ReLUs are fused into the convolutions
by TFLite, so nothing but convolutions, additions and depth_to_space is left on the device. Widths double as resolution
halves (48, 96, 192), so that no stage before the latent drops values: 48 per 4x4 patch are all of its pixels.

    stage                      MAC/pixel
    patch 4x4/4, 3 -> 48             144
    block 48 (16) at 1/4             240
    patch 2x2/2, 48 -> 96            288
    block 96 (32) at 1/8             240
    patch 2x2/2, 96 -> 192           288
    2 blocks 192 (64) at 1/16        480
    1x1, 192 -> 192 latents          144     sum 1,824; the decoder mirrors it with 1x1 convolutions + depth_to_space
"""

from __future__ import annotations

import keras
from keras import layers

from .layers import DepthToSpace

STRIDE = 16
LATENTS = 192
# One latent step in training, as if int8 held [-4, 127/32]; the package has twice it (optimize/recipes/photo.toml). At the
# gain of an orthonormal transform of pixels in [0, 1] a step is 8 grey levels of a coefficient, 0.25 * 8^2 / 12 = 1.3 of MSE
# with a quarter as many latents as values.
LATENT_SCALE = 1 / 32

# (width, width inside the bottleneck, blocks) at 1/4, 1/8 and 1/16 resolution
STAGES = ((48, 16, 1), (96, 32, 1), (192, 64, 2))


def bottleneck(x, width: int, inner: int, name: str):
    """x + Conv1x1(ReLU(Conv3x3(ReLU(Conv1x1(x))))), the identity at first (the last kernel starts at zero)."""
    y = layers.Conv2D(inner, 1, activation="relu", name=f"{name}_reduce")(x)
    y = layers.Conv2D(inner, 3, padding="same", activation="relu", name=f"{name}_spatial")(y)
    y = layers.Conv2D(width, 1, kernel_initializer="zeros", name=f"{name}_expand")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def photo() -> keras.Model:
    """The autoencoder: (B, H, W, 3) in [0, 1], H and W multiples of 16 -> latent (B, H/16, W/16, 192) -> image."""
    x = image = keras.Input((None, None, 3), name="image")
    for level, (width, inner, blocks) in enumerate(STAGES):
        patch = 4 if level == 0 else 2
        x = layers.Conv2D(width, patch, patch, name=f"analysis{level}_patch")(x)
        for b in range(blocks):
            x = bottleneck(x, width, inner, f"analysis{level}_block{b}")
    x = layers.Conv2D(LATENTS, 1, name="latent")(x)
    x = layers.Conv2D(STAGES[-1][0], 1, name="synthesis2_in")(x)
    for level in (2, 1, 0):
        width, inner, blocks = STAGES[level]
        for b in range(blocks):
            x = bottleneck(x, width, inner, f"synthesis{level}_block{b}")
        out, factor = (STAGES[level - 1][0], 2) if level else (3, 4)
        x = layers.Conv2D(out * factor**2, 1, name=f"synthesis{level}_out")(x)
        x = DepthToSpace(factor, name=f"synthesis{level}_unpatch")(x)
    return keras.Model(image, x, name="photo")
