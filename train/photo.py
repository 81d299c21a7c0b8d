"""`photo`: the analysis and synthesis transforms of the default codec, at 1.2 and 1.6 kMAC per pixel in int8.

A linear block transform, 768 values of a 16x16 block to 288 latents and back, with bottleneck residual blocks
(1x1 -> 3x3 -> 1x1, He et al. 2016) before and behind it. The blocks work on the image itself, rearranged by
space_to_depth to 1/4 and 1/8 resolution, so that the sums of the trunk are pixels: int8 rounds them to whole grey levels, where
the feature maps of a trunk of their own lose far more (measured: 7 of MSE at the finest steps).

The transform has two levels, 192 values of an 8x8 block to 80 and four times 80 to 288: a third fewer multiply-adds
than 768 to 288 at once, half the weights, and the same coding gain within 0.3% (docs/photo.md). It starts as
Karhunen-Loeve transforms (`train/klt.py`) and the blocks as the identity.

    MAC/pixel                            analysis   synthesis
    block 48 (16) at 1/4                        -         240
    block 192 (32) at 1/8                     336         336
    1x1, 192 to and from 80, at 1/8           240         240
    1x1, 320 to and from 288, at 1/16         360         360
    block 288 (64) at 1/16                    288         288
    sum                                     1,224       1,464
    in int8, see `optimize/join_branches`   1,176       1,624

The block at 1/4 smooths what the 16x16 blocks of the transform leave at low rates; it costs hardly any weights.

The activation is leaky: four in five plain ReLUs of the 3x3 convolutions died early in training (an input that is
never negative, a branch that starts at zero), which left a linear codec. XNNPACK runs all of it.
"""

from __future__ import annotations

import keras
from keras import layers

from .layers import DepthToSpace, SpaceToDepth

STRIDE = 16
LATENTS = 288
BLOCK_LATENTS = 80  # of an 8x8 block, after the first level of the transform
# One unit of quantization: 8 grey levels of a coefficient of an orthonormal transform of pixels in [0, 1].
LATENT_UNIT = 8 / 255
ACTIVATION = "leaky_relu"
ANALYSIS, SYNTHESIS = ("analysis_8x8", "analysis_16x16"), ("synthesis_16x16", "synthesis_8x8")
# The transform's kernels are long and small: at the rate of the others Adam's steps would shake what it starts from.
TRANSFORM = (*ANALYSIS, *SYNTHESIS)


def bottleneck(x, inner: int, name: str, last: str = ""):
    """x + Conv1x1(f(Conv3x3(f(Conv1x1(x))))), f leaky ReLU; the identity at first (the last kernel starts at zero)."""
    y = layers.Conv2D(inner, 1, activation=ACTIVATION, name=f"{name}_reduce")(x)
    y = layers.Conv2D(inner, 3, padding="same", activation=ACTIVATION, name=f"{name}_spatial")(y)
    y = layers.Conv2D(x.shape[-1], 1, kernel_initializer="zeros", name=f"{name}_expand")(y)
    return layers.Add(name=last or f"{name}_add")([x, y])


def photo() -> keras.Model:
    """The autoencoder: (B, H, W, 3) in [0, 1], H and W multiples of 16 -> latent (B, H/16, W/16, 288) -> image."""
    image = keras.Input((None, None, 3), name="image")
    x = SpaceToDepth(8, name="analysis_to_eighth")(image)
    x = bottleneck(x, 32, "analysis_eighth")
    x = layers.Conv2D(BLOCK_LATENTS, 1, name=ANALYSIS[0])(x)
    x = SpaceToDepth(2, name="analysis_to_sixteenth")(x)
    x = layers.Conv2D(LATENTS, 1, name=ANALYSIS[1])(x)
    x = bottleneck(x, 64, "analysis_sixteenth", last="latent")
    x = bottleneck(x, 64, "synthesis_sixteenth")
    x = layers.Conv2D(4 * BLOCK_LATENTS, 1, name=SYNTHESIS[0])(x)
    x = DepthToSpace(2, name="synthesis_to_eighth")(x)
    x = layers.Conv2D(192, 1, name=SYNTHESIS[1])(x)
    x = bottleneck(x, 32, "synthesis_eighth")
    x = DepthToSpace(2, name="synthesis_to_quarter")(x)
    x = bottleneck(x, 16, "synthesis_quarter")
    return keras.Model(image, DepthToSpace(4, name="synthesis_image")(x), name="photo")
