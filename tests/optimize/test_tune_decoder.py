"""The decoder's training behind the quantizer: better pictures from the same files, the same network."""

import keras
import numpy as np
import pytest

from edgepress.bench.metrics import psnr
from edgepress.optimize.errors import EdgepressError
from edgepress.optimize.graph import run
from edgepress.optimize.int8_noise import opened
from edgepress.optimize.noisy import noisy
from edgepress.optimize.recipe import DecoderPart
from edgepress.optimize.tflite import TFLite, int8_pixels
from edgepress.optimize.tune_decoder import tune_decoder
from edgepress.runtime import coder

SETTINGS = DecoderPart(steps=300, batch=4, crop=64, learning_rate=2e-2, structure=0.0)


def decoded(block_codec, decoder, photographs, quality):
    """Photographs coded with the int8 encoder and decoded by a float decoder, float32 in [0, 1] or beyond."""
    _, pair, tables = block_codec
    encoder = TFLite(pair.encoder)
    for photo in photographs:
        latent = encoder.run(int8_pixels(photo))[0]
        stream = coder.encode_latent(latent, pair.zero_point, tables, quality)
        shape = (latent.shape[2], *latent.shape[:2])
        seen = coder.decode_latent(stream, shape, pair.zero_point, tables, quality)
        yield run(decoder, ((seen[None].astype("float32")) - pair.zero_point) * pair.scale)[0]


def mean_psnr(block_codec, decoder, photographs, quality):
    found = []
    for photo, shown in zip(photographs, decoded(block_codec, decoder, photographs, quality), strict=True):
        found.append(psnr(photo, np.clip(np.round(shown * 255), 0, 255).astype(np.uint8)))
    return float(np.mean(found))


def test_pictures_get_better_at_low_and_high_qualities(block_codec, photographs):
    filled, pair, tables = block_codec
    before = filled.halves.decoder
    counted = []
    found = tune_decoder(
        before,
        pair.encoder,
        pair.scale,
        pair.zero_point,
        tables,
        photographs,
        SETTINGS,
        lambda: counted.append(1),
    )
    assert len(counted) == SETTINGS.steps and found.loss_after < found.loss_before
    assert [layer.name for layer in found.decoder.layers] == [layer.name for layer in before.layers]
    for quality, gain in ((20, 0.1), (60, 0.1)):
        old, new = (
            mean_psnr(block_codec, decoder, photographs, quality) for decoder in (before, found.decoder)
        )
        assert new > old + gain, quality


def test_the_same_settings_give_the_same_weights(block_codec, photographs):
    filled, pair, tables = block_codec

    def weights(seed):
        few = DecoderPart(steps=20, batch=2, crop=96, learning_rate=2e-2, seed=seed)
        given = filled.halves.decoder, pair.encoder, pair.scale, pair.zero_point, tables, photographs, few
        return np.concatenate([w.ravel() for w in tune_decoder(*given).decoder.get_weights()])

    first, again, other = weights(0), weights(0), weights(1)
    np.testing.assert_allclose(again, first, atol=1e-6)
    assert np.abs(other - first).max() > 1e-5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (DecoderPart(steps=1, crop=64), "raise decoder.crop"),
        (DecoderPart(steps=1, crop=4096), "images of at least 4096x4096"),
    ],
    ids=["too small for MS-SSIM", "no such images"],
)
def test_what_cannot_be_is_said(block_codec, photographs, settings, says):
    filled, pair, tables = block_codec
    with pytest.raises(EdgepressError, match=says):
        tune_decoder(
            filled.halves.decoder, pair.encoder, pair.scale, pair.zero_point, tables, photographs, settings
        )


def test_noise_is_that_of_rounding():
    """One step of each tensor's range, none on the output, and none in layers that stay float."""
    image = keras.Input((None, None, 2))
    wide = keras.layers.Conv2D(1, 1, kernel_initializer="ones", name="wide")(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, kernel_initializer="ones", name="last")(wide))
    x = np.random.default_rng(0).uniform(0, 10, (1, 64, 64, 2)).astype("float32")
    error = np.asarray(noisy(opened(model), (-128.0, 127.0))(x)) - np.asarray(model(x))
    step = x.sum(axis=-1).max() / 255
    assert error.var() == pytest.approx(step**2 / 12, rel=0.1)
    assert np.abs(error).max() <= 0.51 * step
    np.testing.assert_array_equal(noisy(opened(model), (-128.0, 127.0), ["wide"])(x), model(x))


def test_what_shares_the_inputs_scale_is_cut_to_it_and_a_concatenation_may_be_the_end():
    latent = keras.Input((None, None, 1))
    twice = keras.layers.Conv2D(1, 1, kernel_initializer=keras.initializers.Constant(2.0))(latent)
    model = keras.Model(latent, keras.layers.Concatenate()([latent, twice]))
    x = np.linspace(-100, 100, 64, dtype="float32").reshape(1, 8, 8, 1)
    found = np.asarray(noisy(opened(model), (-128.0, 127.0))(x))
    np.testing.assert_allclose(found[..., :1], x)
    np.testing.assert_allclose(found[..., 1:], np.clip(2 * x, -128, 127), atol=1e-5)
