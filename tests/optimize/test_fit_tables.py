"""Tables fitted to photographs: they compress others, take what they claim, and cope with odd latents."""

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from scipy.fft import dctn

from edgepress.optimize.fit_bank import BINS, fit_bank, integer_frequencies
from edgepress.optimize.fit_order import coding_order
from edgepress.optimize.fit_tables import fit_tables, quality_steps, share_sets
from edgepress.runtime.coder import decode_symbols, dequantize, encode_symbols, quantize
from edgepress.runtime.errors import EdgepressError

STEPS = quality_steps(1, 12)


def block_transform(name: str, size: int = 256) -> np.ndarray:
    """A stand-in for an encoder: luma DCT of 8x8 blocks on the int8 grid, int8[H/8,W/8,64]."""
    image = getattr(skimage.data, name)()[:size, :size].astype(np.float32)
    luma = image @ np.float32([0.299, 0.587, 0.114]) - 128
    height, width = luma.shape[0] // 8, luma.shape[1] // 8
    blocks = luma[: height * 8, : width * 8].reshape(height, 8, width, 8).transpose(0, 2, 1, 3)
    coefficients = dctn(blocks, axes=(2, 3), norm="ortho").reshape(height, width, 64) / 8
    return np.clip(np.round(coefficients), -128, 127).astype(np.int8)


def box_features(name: str, channels: int = 8) -> np.ndarray:
    """A stand-in for a ReLU encoder: rectified smooth features, uint8-like values on a zero point of -128."""
    image = getattr(skimage.data, name)()[:256, :256].astype(np.float32)
    cells = image.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    mix = np.random.RandomState(0).randn(3, channels).astype(np.float32)
    return (np.clip(cells @ mix * 0.6 + 20, 0, 255) - 128).astype(np.int8)


@pytest.fixture(scope="module")
def photographs():
    return {name: block_transform(name) for name in ("astronaut", "chelsea", "coffee", "rocket")}


@pytest.fixture(scope="module")
def tables(photographs):
    training = [photographs[name] for name in ("astronaut", "chelsea", "rocket")]
    return fit_tables(training, 0, step16=STEPS, set_of=share_sets(STEPS, 3), bank=32)


def static_bits(test: np.ndarray, training: list[np.ndarray]) -> float:
    """Bits with one static table per channel, ideal arithmetic coding assumed."""
    bits = 0.0
    for channel, plane in enumerate(test):
        seen = np.concatenate([symbols[channel].ravel() for symbols in training]) + 255
        counts = np.bincount(seen, minlength=511) + 0.02
        bits -= np.log2(counts / counts.sum())[plane.ravel() + 255].sum()
    return bits


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_contexts_beat_static_tables_on_an_unseen_photograph(photographs, tables, quality):
    symbols = {name: quantize(latent, 0, tables, quality) for name, latent in photographs.items()}
    data = encode_symbols(symbols["coffee"], tables, quality)
    assert np.array_equal(decode_symbols(data, symbols["coffee"].shape, tables, quality), symbols["coffee"])
    training = [symbols[name] for name in ("astronaut", "chelsea", "rocket")]
    assert 8 * len(data) < 0.85 * static_bits(symbols["coffee"], training)


def test_quality_is_monotone_in_bytes(photographs, tables):
    sizes = [
        len(encode_symbols(quantize(photographs["coffee"], 0, tables, quality), tables, quality))
        for quality in range(5, 101, 5)
    ]
    assert sizes == sorted(sizes)


def test_reconstruction_points_lower_the_error(photographs, tables):
    def error(use):
        latent = photographs["coffee"]
        again = dequantize(quantize(latent, 0, use, 10), 0, use, 10)
        return np.square(again.astype(float) - latent).mean()

    assert error(tables) < error(replace(tables, recon=np.zeros_like(tables.recon)))


def test_the_fit_is_deterministic(photographs):
    training = [photographs["rocket"][:16], photographs["chelsea"]]  # of two sizes
    fits = [
        fit_tables(training, 0, step16=STEPS, set_of=share_sets(STEPS, 2), bank=8).to_bytes()
        for _ in range(2)
    ]
    assert fits[0] == fits[1]


def test_non_negative_latents_are_predicted():
    training = [box_features(name) for name in ("astronaut", "chelsea", "rocket")]
    test = box_features("coffee")
    tables = fit_tables(training, -128, step16=STEPS, set_of=share_sets(STEPS, 2), bank=32)
    assert tables.mean_w.any()
    for quality in (10, 90):
        symbols = quantize(test, -128, tables, quality)
        assert symbols.min() >= 0
        data = encode_symbols(symbols, tables, quality)
        assert np.array_equal(decode_symbols(data, symbols.shape, tables, quality), symbols)
        seen = [quantize(latent, -128, tables, quality) for latent in training]
        assert 8 * len(data) < 0.7 * static_bits(symbols, seen)


def test_latents_without_information_still_give_tables():
    for latent in (np.zeros((3, 2, 5), np.int8), np.full((1, 1, 5), -128, np.int8)):
        tables = fit_tables([latent], 0, step16=STEPS, set_of=share_sets(STEPS, 4), bank=8)
        symbols = np.full((5, 4, 4), -255, np.int16)  # nothing like what was seen
        data = encode_symbols(symbols, tables, 50)
        assert np.array_equal(decode_symbols(data, symbols.shape, tables, 50), symbols)


def test_steps_and_sets_are_monotone():
    assert STEPS[0] == 12 * 16 and STEPS[-1] == 16 and (np.diff(STEPS.astype(int)) <= 0).all()
    sets = share_sets(STEPS, 6)
    assert sorted(set(sets.tolist())) == list(range(6)) and (np.diff(sets.astype(int)) >= 0).all()
    assert share_sets(np.full(100, 16, np.uint16), 8).max() == 0


def test_unusable_input_is_named():
    good = np.zeros((2, 2, 3), np.int8)
    for latents in ([], [good.astype(np.int16)], [good, np.zeros((2, 2, 4), np.int8)], [good[0]]):
        with pytest.raises(EdgepressError, match="latent"):
            fit_tables(latents, 0, step16=STEPS, set_of=share_sets(STEPS, 2))
    with pytest.raises(EdgepressError, match="step16"):
        fit_tables([good], 0, step16=STEPS // 300, set_of=share_sets(STEPS, 2))
    with pytest.raises(EdgepressError, match="steps"):
        quality_steps(0.01, 4)


def test_related_channels_are_coded_together():
    rng = np.random.RandomState(1)
    where = rng.rand(2, 1, 1, 40, 40) < 0.1  # two groups of channels, each active in its own places
    symbols = (np.repeat(where, 5, axis=0)[:, 0] * rng.randint(1, 4, (10, 1, 40, 40))).astype(np.int16)
    order = coding_order([symbols[[0, 5, 1, 6, 2, 7, 3, 8, 4, 9]]])
    assert sorted(order.tolist()) == list(range(10))
    assert len(set((order[:5] % 2).tolist())) == 1


def test_bank_comes_close_to_one_table_per_histogram():
    scales = np.geomspace(0.05, 20, 60)
    shape = np.exp(-np.abs(np.arange(BINS) - BINS // 2) / scales[:, None])
    counts = np.round(20000 * shape / shape.sum(axis=1, keepdims=True)).astype(np.float32)
    bank = fit_bank(counts, 16)
    probability = counts / counts.sum(axis=1, keepdims=True)
    ideal = -(counts * np.log2(np.where(counts > 0, probability, 1))).sum()
    assert (counts * bank.bits[bank.assign(counts)]).sum() < 1.02 * ideal
    starts = np.cumsum(2 * bank.radius.astype(int) + 2) - (2 * bank.radius.astype(int) + 2)
    assert (np.add.reduceat(bank.freq.astype(int), starts) == 2**14).all()


@pytest.mark.parametrize("probability", [[1.0, 0.0], [0.999999, 1e-6, 0.0, 0.0], [0.25] * 4, [1 / 512] * 512])
def test_frequencies_are_positive_and_complete(probability):
    freq = integer_frequencies(np.array(probability))
    assert freq.min() >= 1 and freq.sum() == 2**14
