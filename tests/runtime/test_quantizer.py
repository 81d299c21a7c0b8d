"""The quantizer of latents: the same symbols from C and Python, rounding and thinning as written down."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from randomtables import needs_native, quick, random_tables, seeds, shapes

from edgepress.runtime import coder, purecoder


@needs_native
@quick
@given(seed=seeds, size=shapes, zero_point=st.integers(-128, 127), quality=st.integers(1, 100))
def test_quantizers_agree(seed, size, zero_point, quality):
    tables = random_tables(seed)
    latent = np.random.default_rng(seed).integers(-128, 128, (*size, 4)).astype(np.int8)
    steps, round256 = tables.steps(quality), int(tables.round256[quality - 1])
    symbols = coder.quantize(latent, zero_point, tables, quality)
    assert np.array_equal(symbols, purecoder.quantize(latent, zero_point, steps, round256))
    recon = tables.recon[tables.set_for(quality)]
    again = coder.dequantize(symbols, zero_point, tables, quality)
    assert np.array_equal(again, purecoder.dequantize(symbols, zero_point, steps, recon))


@needs_native
@quick
@given(seed=seeds, size=shapes, zero_point=st.sampled_from([-128, -3, 0]), quality=st.integers(1, 100))
def test_both_coders_leave_out_the_same_ones(seed, size, zero_point, quality):
    tables = random_tables(seed)
    rng = np.random.default_rng(seed)
    latent = np.clip(rng.laplace(zero_point, 4, (*size, 4)), -128, 127).astype(np.int8)
    plan = purecoder.Plan(tables, tables.set_for(quality))
    steps, round256 = tables.steps(quality), int(tables.round256[quality - 1])
    data = coder.encode_latent(latent, zero_point, tables, quality)
    assert data == purecoder.encode_latent(plan, latent, zero_point, steps, round256)
    plain = coder.quantize(latent, zero_point, tables, quality)
    kept = coder.decode_symbols(data, plain.shape, tables, quality)
    changed = kept != plain
    assert (kept[changed] == 0).all() and (np.abs(plain[changed]) == 1).all()
    predicted = tables.mean_w[tables.set_for(quality)].any(axis=1)
    assert not changed[predicted].any()


def test_a_one_is_left_out_up_to_the_price_of_its_bits():
    tables = random_tables(2, channels=1, sets=1)
    tables = replace(
        tables,
        step16=np.full(100, 160, np.uint16),  # ten int8 steps
        gain=np.array([256], np.uint16),
        round256=np.full(100, 128, np.uint16),
        mean_w=np.zeros((1, 1, 4), np.int8),
        bank_dead=np.full(tables.bank, 51, np.uint8),  # 0.2 of a step beyond the half
    )
    latent = np.array([4, 5, 6, 7, 14, 15, -5, -6, -7, -15], np.int8).reshape(1, -1, 1)
    data = coder.encode_latent(latent, 0, tables, 50)
    kept = coder.decode_symbols(data, (1, 1, 10), tables, 50)
    assert kept.ravel().tolist() == [0, 0, 0, 1, 1, 2, 0, 0, -1, -2]


def test_quantizer_rounds_and_reconstructs_as_specified():
    tables = random_tables(2, channels=1, sets=1)
    tables = replace(
        tables,
        step16=np.full(100, 84, np.uint16),  # 5.25 units,
        gain=np.array([512], np.uint16),  # which are 10.5 int8 steps
        round256=np.full(100, 64, np.uint16),  # up from three quarters of a step
        recon=np.array([[[64, -32]]], np.int8),  # half a step toward zero; a quarter away from it
    )
    latent = np.array([0, 7, 8, 18, 19, -7, -8, -18, -19, 100, -128], np.int8).reshape(1, -1, 1)
    symbols = coder.quantize(latent, 0, tables, 30)
    # |v| / 10.5 + 0.25, rounded down
    assert symbols.ravel().tolist() == [0, 0, 1, 1, 2, 0, -1, -1, -2, 9, -12]
    again = coder.dequantize(symbols, 0, tables, 30)
    # 1 -> 0.5 * 10.5 = 5.25; 2 -> 2.25 * 10.5 = 23.6; 9 -> 97.1; 12 -> 128.6, clipped
    assert again.ravel().tolist() == [0, 0, 5, 5, 24, 0, -5, -5, -24, 97, -128]


def test_small_steps_are_whole_and_never_under_one():
    """A step of 1.5 would have cells of one and of two values; from 8 on fractions are kept."""
    gain = np.array([1, 256, 384, 640, 2048, 2176], np.uint16)
    tables = replace(random_tables(2, channels=6, sets=1), step16=np.full(100, 16, np.uint16), gain=gain)
    assert (tables.steps(50) / 16).tolist() == [1, 1, 2, 3, 8, 8.5]


def test_finest_step_is_lossless_for_any_zero_point():
    tables = random_tables(2, channels=2, sets=1)
    tables = replace(tables, step16=np.full(100, 16, np.uint16), recon=np.zeros((1, 2, 2), np.int8))
    tables = replace(tables, gain=np.full(2, 256, np.uint16))
    latent = np.arange(-128, 128, dtype=np.int16).astype(np.int8).reshape(16, 8, 2)
    for zero_point in (-128, -3, 0, 127):
        symbols = coder.quantize(latent, zero_point, tables, 100)
        assert np.array_equal(coder.dequantize(symbols, zero_point, tables, 100), latent)
