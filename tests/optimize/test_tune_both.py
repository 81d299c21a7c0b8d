"""Both networks trained on under int8: less rate and distortion than the decoder's training alone brings."""

import math

import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.errors import EdgepressError
from edgepress.optimize.graph import run
from edgepress.optimize.recipe import DecoderPart, RdPart
from edgepress.optimize.tune_both import tune_both
from edgepress.optimize.tune_decoder import tune_decoder
from edgepress.runtime import coder

SETTINGS = RdPart(steps=400, batch=4, crop=64, learning_rate=1e-2, structure=0.0)


def given(block_codec):
    filled, pair, tables = block_codec
    scale = pair.scale, pair.zero_point
    return filled.halves.encoder, filled.halves.decoder, *scale, tables.step16, tables.gain


def cost(block_codec, encoder, decoder, photographs, trade, quality):
    """R + lambda D of float networks around the codec, in multiples of the step as they are trained."""
    _, pair, tables = block_codec
    unit = tables.step16[quality - 1] / 16
    found = []
    for photo in photographs:
        z = run(encoder, photo[None].astype("float32") / 255)[0] / pair.scale + pair.zero_point
        latent = np.clip(np.round(z), -128, 127).astype(np.int8)
        stream = coder.encode_latent(latent, pair.zero_point, tables, quality)
        shape = (latent.shape[2], *latent.shape[:2])
        seen = coder.decode_latent(stream, shape, pair.zero_point, tables, quality)
        shown = run(decoder, (seen[None].astype("float32") - pair.zero_point) * pair.scale)[0]
        error = np.mean(np.square(255 * np.clip(shown, 0, 1) - photo))
        found.append(8 * len(stream) / photo[..., 0].size * unit + trade / unit * error)
    return float(np.mean(found))


def test_with_both_trained_there_is_more_to_gain_than_with_the_decoder_alone(block_codec, photographs):
    filled, pair, tables = block_codec
    encoder, decoder = filled.halves.encoder, filled.halves.decoder
    counted = []
    both = tune_both(*given(block_codec), photographs, SETTINGS, lambda: counted.append(1))
    assert len(counted) == SETTINGS.steps and both.loss_after < both.loss_before
    for old, new in ((encoder, both.encoder), (decoder, both.decoder)):
        assert [layer.name for layer in old.layers] == [layer.name for layer in new.layers]
    job = Job(both.encoder, both.decoder, "int8", pair.scale, pair.zero_point)
    again = convert([job], photographs)[0]

    def finished(start, networks):
        settings = DecoderPart(steps=400, batch=4, crop=64, learning_rate=1e-2, structure=0.0)
        codec = networks.encoder, networks.scale, networks.zero_point, tables
        return tune_decoder(start, *codec, photographs, settings).decoder

    before, alone, after = (
        np.array([cost(block_codec, *halves, photographs, both.trade, quality) for quality in (30, 60, 90)])
        for halves in (
            (encoder, decoder),
            (encoder, finished(decoder, pair)),
            (both.encoder, finished(both.decoder, again)),
        )
    )
    assert (after < 0.995 * alone).all() and (alone < before).all(), (before, alone, after)


def test_the_same_settings_give_the_same_weights(block_codec, photographs):
    def weights(seed):
        few = RdPart(steps=20, batch=2, crop=96, seed=seed)
        made = tune_both(*given(block_codec), photographs, few)
        both = [*made.encoder.get_weights(), *made.decoder.get_weights()]
        return np.concatenate([w.ravel() for w in both])

    first, again, other = weights(0), weights(0), weights(1)
    np.testing.assert_allclose(again, first, atol=1e-6)
    assert np.abs(other - first).max() > 1e-5


def test_lambda_is_that_of_theory_for_an_orthonormal_transform(block_codec, photographs):
    """Noise of a step u in each of the 16 of 48 values of a block adds u^2 / 36; there is one latent a pixel."""
    made = tune_both(*given(block_codec), photographs, RdPart(steps=1, batch=16, crop=96))
    added = (255 * block_codec[0].unit) ** 2 / 36
    assert made.trade == pytest.approx(1 / (2 * math.log(2) * added), rel=0.1)
    counted = []
    settings = RdPart(steps=1, batch=2, crop=96, trade=0.4)
    given_one = tune_both(*given(block_codec), photographs, settings, lambda: counted.append(1))
    assert given_one.trade == 0.4 and len(counted) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (RdPart(steps=1, crop=64), "raise rd.crop"),
        (RdPart(steps=1, crop=4096), "images of at least 4096x4096"),
    ],
    ids=["too small for MS-SSIM", "no such images"],
)
def test_what_cannot_be_is_said(block_codec, photographs, settings, says):
    with pytest.raises(EdgepressError, match=says):
        tune_both(*given(block_codec), photographs, settings)
