"""Autoencoders by name. Every one is a functional Keras 3 model: RGB in [0, 1] (B, H, W, 3) -> the same.

The layer called "latent" makes the tensor that is coded. `convN` are the study's models: N convolutions
in the encoder, 3x3, Z = ReLU(Conv(X, W1) + b1) ..., and a mirrored decoder of transposed convolutions that ends
in a sigmoid. The study does not give strides or widths; ours are

    name    encoder channels, `/2` where the stride is 2                     latent (H/8, W/8, C)
    conv3   32/2 48/2 32/2                                                   32
    conv5   32/2 32 48/2 48 32/2                                             32
    conv7   32 32/2 48 48/2 48 48 32/2                                       32
    conv10  32 32/2 32 48 48/2 48 64 64/2 48 32                              32

so that all four have the same latent (half as many numbers as pixels, a sixth of the RGB values) and differ in depth
only, which is the variable that the study changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
from keras import layers

from .photo import photo

CONV_MODELS: dict[str, tuple[tuple[int, int], ...]] = {
    "conv3": ((32, 2), (48, 2), (32, 2)),
    "conv5": ((32, 2), (32, 1), (48, 2), (48, 1), (32, 2)),
    "conv7": ((32, 1), (32, 2), (48, 1), (48, 2), (48, 1), (48, 1), (32, 2)),
    "conv10": (
        *((32, 1), (32, 2), (32, 1), (48, 1), (48, 2)),
        *((48, 1), (64, 1), (64, 2), (48, 1), (32, 1)),
    ),
}


def conv_autoencoder(name: str) -> keras.Model:
    """Build one of `CONV_MODELS`; its decoder mirrors the encoder's widths and strides."""
    plan = CONV_MODELS[name]
    x = image = keras.Input((None, None, 3), name="image")
    for i, (filters, stride) in enumerate(plan, 1):
        label = "latent" if i == len(plan) else f"encoder_{i}"
        x = layers.Conv2D(filters, 3, stride, padding="same", activation="relu", name=label)(x)
    widths = [3] + [filters for filters, _ in plan[:-1]]
    for i, (filters, (_, stride)) in enumerate(zip(widths[::-1], plan[::-1], strict=True), 1):
        last = i == len(plan)
        x = layers.Conv2DTranspose(
            filters,
            3,
            stride,
            padding="same",
            activation="sigmoid" if last else "relu",
            name="reconstruction" if last else f"decoder_{i}",
        )(x)
    return keras.Model(image, x, name=name)


MODELS: dict[str, Callable[[], keras.Model]] = {
    **{name: partial(conv_autoencoder, name) for name in CONV_MODELS},
    "photo": photo,
}


def build(name: str, seed: int = 0) -> keras.Model:
    """A freshly initialised model; the same seed gives the same weights. ValueError for an unknown name."""
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; choose one of {', '.join(MODELS)}")
    keras.utils.set_random_seed(seed)
    return MODELS[name]()


def split(model: keras.Model, latent: str = "latent") -> tuple[keras.Model, keras.Model]:
    """(encoder, decoder) sharing the model's layers, cut after the layer called `latent`."""
    tensor = model.get_layer(latent).output
    return keras.Model(model.input, tensor, name="encoder"), keras.Model(tensor, model.output, name="decoder")
