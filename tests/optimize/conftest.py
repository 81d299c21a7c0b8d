"""Shared by the optimizer's tests: photographs, the study's model, and its conversions, made once."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import pytest
import skimage.data

from edgepress.optimize import _convert_worker
from edgepress.optimize.convert import Job, calibration_crops, convert
from edgepress.optimize.fit_tables import fit_tables, quality_steps, share_sets
from edgepress.optimize.graph import run
from edgepress.optimize.latent_range import fill_int8
from edgepress.optimize.load import bring_in, normalize
from edgepress.optimize.rewrite import rewrite
from edgepress.optimize.split import split
from edgepress.optimize.tflite import TFLite, int8_pixels
from edgepress.train.models import build


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """uint8 (192, 256, 3) parts of real photographs."""
    return [
        np.ascontiguousarray(image[:192, :256])
        for image in (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee())
    ]


@pytest.fixture(scope="session")
def images(photographs) -> list[np.ndarray]:
    """The same as float32 in [0, 1]."""
    return [photo.astype("float32") / 255 for photo in photographs]


@pytest.fixture(scope="session")
def conv3():
    """The study's model; its weights are scaled so that what it makes of an image is not all grey."""
    model = build("conv3", seed=3)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            # Biases matter for what the converter fuses: it leaves out those that are zero.
            layer.set_weights([kernel * 1.6, rng.normal(0, 0.02, bias.shape)])
    return normalize(model)


@pytest.fixture(scope="session")
def conv3_rewritten(conv3):
    return rewrite(conv3).model


@pytest.fixture(scope="session")
def mixed():
    """Halves with what the default codec is made of: patches, depthwise blocks, adds, LeakyReLU, depth_to_space."""
    from edgepress.train.layers import DepthToSpace

    keras.utils.set_random_seed(0)

    def block(x, width):
        y = keras.layers.Conv2D(2 * width, 1)(x)
        y = keras.layers.LeakyReLU(negative_slope=0.1)(y)
        y = keras.layers.DepthwiseConv2D(3, padding="same")(y)
        return keras.layers.Add()([x, keras.layers.Conv2D(width, 1)(y)])

    image = keras.Input((None, None, 3))
    z = keras.layers.Conv2D(12, 2, 2, name="latent")(block(keras.layers.Conv2D(16, 4, 4)(image), 16))
    latent = keras.Input((None, None, 12))
    x = DepthToSpace(2)(keras.layers.Conv2D(64, 1)(latent))
    x = DepthToSpace(4)(keras.layers.Conv2D(48, 1)(block(x, 16)))
    return keras.Model(image, z), keras.Model(latent, x)


@pytest.fixture(scope="session")
def free_transposed_decoder(conv3, photographs) -> bytes:
    """conv3's decoder as int8 for any image size and not rewritten, which is how it would be converted as it is."""
    halves = split(conv3)
    latents = [run(halves.encoder, tile[None]) for tile in calibration_crops(photographs, 64)[:4]]
    ends = (0.0, float(max(z.max() for z in latents))), (0.0, 1.0)
    converter = _convert_worker._converter(halves.decoder, (1, None, None, 32))
    return _convert_worker._quantize(_convert_worker._calibrate(converter, latents), *ends)


@pytest.fixture(scope="session")
def pairs(conv3, conv3_rewritten, mixed, photographs):
    """int8 pairs: conv3 with transposed convolutions, conv3 rewritten, and `mixed` with a latent scale of 1/40."""
    plain, rewritten = split(conv3), split(conv3_rewritten)
    jobs = [
        Job(plain.encoder, plain.decoder, resizable=False),
        Job(rewritten.encoder, rewritten.decoder),
        Job(*mixed, latent_scale=1 / 40),
        Job(rewritten.encoder, rewritten.decoder, "float32"),
    ]
    return dict(zip(("transposed", "rewritten", "mixed", "float"), convert(jobs, photographs), strict=True))


@pytest.fixture(scope="session")
def block_codec(photographs):
    """Blocks of 4x4 pixels to 16 values and back, orthonormal, a decoder with a block behind it that knows nothing of
    quantization yet: (filled, int8 pair, tables)."""
    from edgepress.train.layers import DepthToSpace, SpaceToDepth

    keras.utils.set_random_seed(2)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(16, 1, name="latent")(SpaceToDepth(4)(image))
    x = keras.layers.Conv2D(48, 1, name="back")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", activation="leaky_relu", name="spatial")(x)
    y = keras.layers.Conv2D(
        48, 1, kernel_initializer=keras.initializers.RandomNormal(0, 0.02), name="expand"
    )(y)
    model = keras.Model(image, DepthToSpace(4)(keras.layers.Add()([x, y])))
    blocks = np.concatenate(
        [p[:128, :128].reshape(32, 4, 32, 4, 3).swapaxes(1, 2).reshape(-1, 48) for p in photographs]
    )
    basis = np.linalg.svd(blocks[::7] / 255 - 0.5, full_matrices=False)[2][:16].T
    model.get_layer("latent").set_weights([basis[None, None], -0.5 * basis.sum(axis=0)])
    model.get_layer("back").set_weights([basis.T[None, None], np.full(48, 0.5)])
    filled = fill_int8(
        split(bring_in(model, input_range="0..1").model, "latent"),
        [photo.astype("float32") / 255 for photo in photographs],
    )
    halves = filled.halves
    pair = convert(
        [Job(halves.encoder, halves.decoder, "int8", filled.int8_scale, filled.zero_point)], photographs
    )[0]
    encoder = TFLite(pair.encoder)
    latents = [encoder.run(int8_pixels(photo))[0] for photo in photographs]
    steps = quality_steps(1.0, 32.0)
    tables = fit_tables(
        latents, pair.zero_point, step16=steps, set_of=share_sets(steps, 2), gain=filled.gain, bank=8
    )
    return filled, pair, tables
