"""Before its first step `photo` is an orthonormal block transform."""

import keras
import numpy as np
import skimage.data

from edgepress.train.klt import start_as_klt
from edgepress.train.models import build, split
from edgepress.train.objective import HEADROOM, int8_grain
from edgepress.train.photo import ANALYSIS, LATENT_UNIT, LATENTS, SYNTHESIS


def photo_crops(image: np.ndarray, side: int = 64) -> np.ndarray:
    h, w = (n // side * side for n in image.shape[:2])
    x = image[:h, :w].reshape(h // side, side, w // side, side, 3).transpose(0, 2, 1, 3, 4)
    return x.reshape(-1, side, side, 3)


def test_klt_start_reconstructs_photographs_it_has_not_seen():
    model = build("photo", seed=1)
    start_as_klt(
        model, np.concatenate([photo_crops(skimage.data.coffee()), photo_crops(skimage.data.chelsea())])
    )
    x = photo_crops(skimage.data.astronaut())[:16].astype("float32") / 255
    psnr = -10 * np.log10(np.mean((np.asarray(model(x)) - x) ** 2))
    # A quarter of the numbers of the image; random weights give about 10 dB.
    assert psnr > 28


def test_grain_is_the_finest_int8_step_of_each_channel():
    model = build("photo", seed=1)
    crops = photo_crops(skimage.data.coffee())
    start_as_klt(model, crops)
    encoder = split(model)[0]
    steps = np.abs(np.asarray(encoder(crops.astype("float32") / 255))) / LATENT_UNIT
    widest = steps.max(axis=(0, 1, 2)) / int8_grain(encoder, crops, LATENT_UNIT)
    assert widest.max() <= 127 / HEADROOM + 0.01
    np.testing.assert_allclose(widest[:32], 127 / HEADROOM, rtol=1e-3)


def test_synthesis_is_the_transpose_of_analysis():
    model = build("photo", seed=1)
    start_as_klt(model, photo_crops(skimage.data.coffee()))
    first, second, back, last = (
        keras.ops.convert_to_numpy(model.get_layer(name).kernel)[0, 0] for name in (*ANALYSIS, *SYNTHESIS)
    )
    np.testing.assert_allclose(back @ second, np.eye(LATENTS), atol=1e-4)
    order = np.arange(192).reshape(2, 4, 2, 4, 3).transpose(0, 2, 1, 3, 4).ravel()
    np.testing.assert_allclose(last @ first[order], np.eye(80), atol=1e-4)
