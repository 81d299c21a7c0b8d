"""A dozen small autoencoders, one for each kind of file and family of layers, trained for a moment on photographs.

Each is saved the way a user would have it, and keeps the model that it was saved from: what that one makes of an image is
what a decoded image is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tf_keras

STEPS, BATCH, SIDE = 150, 8, 32
RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}


@dataclass(frozen=True)
class Animal:
    """One autoencoder.

    Attributes:
        build: the library (keras or tf_keras) -> an untrained model, or (model, encoder, decoder).
        library: what it is built with.
        files: names of what it is saved as; two for encoder and decoder.
        values: range of its pixels on both sides, in RANGES.
        side: of its fixed input; None when it takes any size.
        multiple: image sides that it takes are multiples of this.
        left: operations that XNNPACK leaves after the rewrites.
    """

    name: str
    build: Callable[[Any], Any]
    library: Any = keras
    files: tuple[str, ...] = ("model.keras",)
    values: str = "0..1"
    side: int | None = None
    multiple: int = 4
    left: tuple[str, ...] = ()

    def make(self, folder: Path, photographs: list[np.ndarray]) -> Specimen:
        """Build, train and save it."""
        keras.utils.set_random_seed(5)
        built = self.build(self.library)
        model, *halves = built if isinstance(built, tuple) else (built,)
        self._train(model, photographs)
        folder.mkdir()
        paths = tuple(folder / file for file in self.files)
        for path, part in zip(paths, halves or [model], strict=True):
            part.save(path)
        return Specimen(self, model, paths)

    def _train(self, model: Any, photographs: list[np.ndarray]) -> None:
        low, high = RANGES[self.values]
        side = self.side or SIDE // self.multiple * self.multiple
        rng = np.random.default_rng(0)
        optimizer = self.library.optimizers.Adam(5e-3)
        model.compile(optimizer, loss=lambda a, b: ((a - b) / (high - low)) ** 2)
        for _ in range(STEPS):
            crops = []
            for _ in range(BATCH):
                image = photographs[rng.integers(len(photographs))]
                y, x = (int(rng.integers(n - side + 1)) for n in image.shape[:2])
                crops.append(image[y : y + side, x : x + side])
            batch = np.stack(crops).astype("float32") / 255 * (high - low) + low
            model.train_on_batch(batch, batch)


@dataclass(frozen=True)
class Specimen:
    """A trained and saved autoencoder: `model` is the Keras or tf_keras model, `paths` its file(s)."""

    animal: Animal
    model: Any
    paths: tuple[Path, ...]

    def reconstruct(self, image: np.ndarray) -> np.ndarray:
        """What the model itself makes of an image uint8 (H, W, 3): uint8, the same size."""
        low, high = RANGES[self.animal.values]
        unit = self.animal.side or self.animal.multiple
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, -height % unit), (0, -width % unit), (0, 0)), mode="edge")
        batch = padded[None].astype("float32") / 255 * (high - low) + low
        if not self.animal.side:
            made = np.asarray(self.model(batch, training=False))[0]
        else:
            made = np.empty(padded.shape, "float32")
            for y in range(0, padded.shape[0], unit):
                for x in range(0, padded.shape[1], unit):
                    rows, columns = slice(y, y + unit), slice(x, x + unit)
                    made[rows, columns] = np.asarray(self.model(batch[:, rows, columns], training=False))[0]
        return np.rint(np.clip((made - low) / (high - low), 0, 1) * 255).astype(np.uint8)[:height, :width]


def transposed(k):
    """The plain case: strided convolutions down, transposed ones up, kernels 3, 4 and 5."""
    layers = k.layers
    image = k.Input((None, None, 3))
    x = layers.Conv2D(16, 3, 2, "same", activation="relu")(image)
    x = layers.Conv2D(12, 5, 2, "same", activation="relu", name="latent")(x)
    x = layers.Conv2DTranspose(16, 4, 2, "same", activation="relu")(x)
    x = layers.Conv2DTranspose(8, 5, 1, "same", activation="relu")(x)
    return k.Model(image, layers.Conv2DTranspose(3, 3, 2, "same", activation="sigmoid")(x))


def sequential(k):
    """Stride 3, padding by hand, `valid` transposed convolutions, standalone ReLUs, one of them with a ceiling."""
    layers = k.layers
    return k.Sequential(
        [
            k.Input((None, None, 3)),
            layers.ZeroPadding2D(1),
            layers.Conv2D(16, 3, padding="valid"),
            layers.ReLU(max_value=2.0),
            layers.Conv2D(16, 3, 3, padding="valid"),
            layers.ReLU(),
            layers.Conv2DTranspose(12, 7, 3, padding="valid"),
            layers.ReLU(),
            layers.Cropping2D(((2, 2), (2, 2))),
            layers.Conv2D(3, 3, padding="same", activation="sigmoid"),
        ]
    )


def nested(k):
    """Model(x, decoder(encoder(x))): normalization, LeakyReLU, nearest upsampling, tanh on [-1, 1]."""
    layers = k.layers
    encoder = k.Sequential(
        [
            k.Input((None, None, 3)),
            layers.Conv2D(16, 3, 2, "same"),
            layers.BatchNormalization(momentum=0.8),
            layers.LeakyReLU(negative_slope=0.1),
            layers.Conv2D(12, 3, 2, "same"),
        ],
        name="encoder",
    )
    decoder = k.Sequential(
        [
            k.Input((None, None, 12)),
            layers.UpSampling2D(2),
            layers.Conv2D(16, 3, padding="same"),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.UpSampling2D(2),
            layers.Conv2D(3, 5, padding="same", activation="tanh"),
        ],
        name="decoder",
    )
    image = k.Input((None, None, 3))
    return k.Model(image, decoder(encoder(image)))


def two_files(k):
    """Encoder and decoder of their own: PReLU by channel, bilinear upsampling."""
    layers = k.layers
    image = k.Input((None, None, 3))
    x = layers.Conv2D(16, 3, 2, "same")(image)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer=k.initializers.RandomUniform(0.05, 0.5, seed=1))(x)
    encoder = k.Model(image, layers.Conv2D(24, 3, 2, "same")(x))
    latent = k.Input((None, None, 24))
    x = layers.UpSampling2D(2, interpolation="bilinear")(latent)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer=k.initializers.RandomUniform(0.5, 1.5, seed=2))(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    decoder = k.Model(latent, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(x))
    return k.Model(image, decoder(encoder(image))), encoder, decoder


def separable(k):
    """Separable convolutions and max-pooling, nearest upsampling in front of a separable one."""
    layers = k.layers
    image = k.Input((None, None, 3))
    x = layers.SeparableConv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(3, 2, "same")(x)
    x = layers.UpSampling2D()(x)
    x = layers.SeparableConv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.UpSampling2D()(x)
    return k.Model(image, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(x))


def residual(k):
    """Depthwise convolutions, residual additions with ReLU6 before and behind them, normalization first."""
    layers = k.layers

    def block(x):
        y = layers.BatchNormalization(momentum=0.8)(x)
        y = layers.ReLU(6.0)(y)
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = layers.BatchNormalization(momentum=0.8)(y)
        return layers.Add()([x, layers.Conv2D(16, 1)(y)])

    image = k.Input((None, None, 3))
    x = block(layers.Conv2D(16, 4, 4)(image))
    x = layers.Conv2D(12, 1, name="bottleneck")(x)
    x = block(layers.Conv2D(16, 1)(x))
    return k.Model(image, layers.Conv2DTranspose(3, 4, 4, activation="sigmoid")(layers.ReLU()(x)))


def pooled(k):
    """Average pooling and concatenated branches, the ReLU behind the concatenation."""
    layers = k.layers
    image = k.Input((None, None, 3))
    a = layers.Conv2D(8, 3, padding="same")(image)
    b = layers.Conv2D(8, 5, padding="same")(image)
    x = layers.ReLU()(layers.Concatenate()([a, b]))
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(8, 3, padding="same", activation="tanh")(x)
    x = layers.Concatenate()([layers.AveragePooling2D()(x), layers.MaxPooling2D()(x)])
    x = layers.Conv2D(12, 1, name="code")(x)
    x = layers.Conv2DTranspose(16, 2, 2, activation="relu")(x)
    return k.Model(image, layers.Conv2DTranspose(3, 2, 2, activation="sigmoid")(x))


def dense(k):
    """A Dense bottleneck with Flatten and Reshape, so that only 32x32 fits."""
    layers = k.layers
    image = k.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, 2, "same", activation="relu")(image)
    x = layers.Conv2D(8, 3, 2, "same", activation="relu")(x)
    x = layers.Dropout(0.1)(layers.Flatten()(x))
    x = layers.Dense(96, name="code")(x)
    x = layers.LeakyReLU()(layers.Dense(8 * 8 * 8)(x))
    x = layers.Reshape((8, 8, 8))(x)
    x = layers.Conv2DTranspose(16, 3, 2, "same", activation="relu")(x)
    return k.Model(image, layers.Conv2DTranspose(3, 3, 2, "same", activation="sigmoid")(x))


def odd(k):
    """28x28 as in tutorials: pooling to 4x4, back to 32, and a `valid` convolution that ends at 28 again."""
    layers = k.layers
    image = k.Input((28, 28, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Conv2D(24, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.UpSampling2D(4)(x)
    x = layers.Conv2D(16, 3, activation="relu")(x)
    return k.Model(
        image, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(layers.UpSampling2D(2)(x))
    )


def uneven(k):
    """24x24 whose latent is 5x5: no whole number of pixels for a position."""
    layers = k.layers
    image = k.Input((24, 24, 3))
    x = layers.Conv2D(16, 4, 2, activation="relu")(image)
    x = layers.Conv2D(16, 3, 2, name="latent")(x)
    x = layers.Conv2DTranspose(16, 3, 2, activation="relu")(x)
    return k.Model(image, layers.Conv2DTranspose(3, 4, 2, activation="sigmoid")(x))


def grey_levels(k):
    """0-255 on both sides, by its own Rescaling layers; SiLU and GELU."""
    layers = k.layers
    image = k.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1.0)(image)
    x = layers.Activation("silu")(layers.Conv2D(16, 3, 2, "same")(x))
    x = layers.Conv2D(12, 3, 2, "same")(x)
    x = layers.Conv2DTranspose(16, 3, 2, "same", activation="gelu")(x)
    x = layers.Conv2DTranspose(3, 3, 2, "same")(x)
    return k.Model(image, layers.Rescaling(127.5, 127.5)(x))


def operators(k):
    """[-1, 1] that no layer tells of; `+`, `-` and `*` on tensors, keras.ops, a shared layer, groups, dilation."""
    layers = k.layers
    image = k.Input((None, None, 3))
    x = layers.Conv2D(16, 4, 4)(image)
    shared = layers.Conv2D(16, 3, padding="same", groups=2)
    x = x + 0.5 * k.ops.relu(shared(x))
    x = x - shared(x) * 0.25
    x = layers.Conv2D(12, 1, name="code")(x)
    x = layers.Conv2D(16, 3, padding="same", dilation_rate=2, activation="relu")(x)
    return k.Model(image, layers.Conv2DTranspose(3, 4, 4)(x))


ZOO = (
    Animal("transposed", transposed),
    Animal("sequential", sequential, files=("model.h5",), multiple=3),
    Animal("nested", nested, values="-1..1"),
    Animal("two files", two_files, files=("encoder.keras", "decoder.keras")),
    Animal("separable", separable, tf_keras, files=("model.h5",)),
    Animal("residual", residual, tf_keras),
    Animal("pooled", pooled, tf_keras, files=("saved_model",)),
    Animal("dense", dense, side=32),
    Animal("odd", odd, tf_keras, side=28),
    Animal("uneven", uneven, side=24),
    Animal("grey levels", grey_levels, values="0..255", left=("GELU",)),
    Animal("operators", operators, values="-1..1"),
)
