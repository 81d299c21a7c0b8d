"""Before its first step `photo` is an orthonormal block transform, whose latents fit into int8."""

import keras
import numpy as np
import skimage.data

from edgepress.train.klt import HEADROOM, start_as_klt
from edgepress.train.models import build, split
from edgepress.train.photo import LATENT_SCALE


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


def test_latents_use_the_int8_range_without_leaving_it():
    model = build("photo", seed=1)
    crops = photo_crops(skimage.data.coffee())
    start_as_klt(model, crops)
    steps = np.abs(np.asarray(split(model)[0](crops.astype("float32") / 255))) / LATENT_SCALE
    assert steps.max() <= 127 * HEADROOM + 0.5
    assert steps.max() > 100


def test_synthesis_is_the_transpose_of_analysis():
    model = build("photo", seed=1)
    start_as_klt(model, photo_crops(skimage.data.coffee()))
    analysis = keras.ops.convert_to_numpy(model.get_layer("analysis0_patch").kernel).reshape(48, 48)
    synthesis = keras.ops.convert_to_numpy(model.get_layer("synthesis0_out").kernel)[0, 0]
    np.testing.assert_allclose(analysis @ synthesis, np.eye(48), atol=1e-4)
