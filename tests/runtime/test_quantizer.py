"""The quantizer of latents: the same symbols from C and Python, rounding and thinning as written down."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from randomtables import needs_native, quick, random_tables, seeds, shapes

from edgepress.runtime import coder, masking, purecoder
from edgepress.runtime.refine import refine


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
    expected = purecoder.dequantize(symbols, zero_point, steps, recon)
    table_set = tables.set_for(quality)
    refine(expected, zero_point, steps, tables.refine_w[table_set], tables.alone[table_set])
    assert np.array_equal(again, expected)


@pytest.mark.parametrize("step16", [16, 32, 48, 1000, 65535])
@pytest.mark.parametrize("round256", [0, 1, 128, 255])
@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_all_values_are_quantized_as_written_down(step16, round256, zero_point):
    tables = replace(
        random_tables(2, channels=1, sets=1),
        step16=np.full(100, step16, np.uint16),
        gain=np.array([256], np.uint16),
        round256=np.full(100, round256, np.uint16),
    )
    latent = np.arange(-128, 128).astype(np.int8).reshape(16, 16, 1)
    symbols = coder.quantize(latent, zero_point, tables, 50)
    sizes = np.abs(latent[..., 0].astype(np.int64) - zero_point)
    inverse = -(-(1 << 20) // int(tables.steps(50)[0]))
    assert np.array_equal(np.abs(symbols[0]), (sizes * inverse + (round256 << 8)) >> 16)


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
    weights = masking.weights(tables, quality)
    assert data == purecoder.encode_latent(plan, latent, zero_point, steps, round256, weights)
    plain = coder.quantize(latent, zero_point, tables, quality)
    kept = coder.decode_symbols(data, plain.shape, tables, quality)
    changed = kept != plain
    assert (kept[changed] == 0).all() and (np.abs(plain[changed]) == 1).all()
    predicted = tables.mean_w[tables.set_for(quality)].any(axis=1)
    assert not changed[predicted].any()


# In 1/256 of a step beyond the half; 5 is where it is none, to the bit.
@pytest.mark.parametrize(("dead", "least"), [(0, 5), (26, 7), (51, 7), (52, 8)])
def test_a_one_is_left_out_up_to_the_price_of_its_bits(dead, least):
    tables = random_tables(2, channels=1, sets=1)
    tables = replace(
        tables,
        step16=np.full(100, 160, np.uint16),  # ten int8 steps
        gain=np.array([256], np.uint16),
        round256=np.full(100, 128, np.uint16),
        mean_w=np.zeros((1, 1, 4), np.int8),
        bank_dead=np.full(tables.bank, dead, np.uint8),
    )
    latent = np.array([4, 5, 6, 7, 8, 14, 15, -4, -5, -6, -7, -8, -15], np.int8).reshape(1, -1, 1)
    data = coder.encode_latent(latent, 0, tables, 95)  # where nothing hides
    kept = coder.decode_symbols(data, (1, 1, 13), tables, 95).ravel().tolist()
    ones = [int(size >= least) for size in (4, 5, 6, 7, 8)]
    assert kept == [*ones, 1, 2, *(-one for one in ones), -2]


@needs_native
@quick
@given(
    seed=seeds, size=shapes, zero_point=st.sampled_from([-128, 0, 127]), scale=st.sampled_from([0.5, 4, 40])
)
def test_both_coders_weigh_what_goes_on_at_a_position_alike(seed, size, zero_point, scale):
    """With planes that nearly all are without a prediction, and latents from flat to clipped."""
    tables = random_tables(seed, channels=21)
    mean_w = tables.mean_w.copy()
    mean_w[:, 1:] = 0
    gain = np.random.default_rng(seed).integers(30, 3000, 21).astype(np.uint16)
    tables = replace(tables, mean_w=mean_w, gain=gain)
    spread = (
        np.random.default_rng(seed).laplace(0, 1, (*size, 21)) * np.linspace(0.1, scale, size[1])[:, None]
    )
    latent = np.clip(np.round(zero_point + spread), -128, 127).astype(np.int8)
    for quality in (1, 50, 94, 100):
        plan = purecoder.Plan(tables, tables.set_for(quality))
        steps, round256 = tables.steps(quality), int(tables.round256[quality - 1])
        data = coder.encode_latent(latent, zero_point, tables, quality)
        weights = masking.weights(tables, quality)
        assert data == purecoder.encode_latent(plan, latent, zero_point, steps, round256, weights)


def test_masking_is_the_mean_magnitude_in_steps_of_quality_50():
    tables = replace(
        random_tables(2, channels=3, sets=1),
        step16=np.full(100, 160, np.uint16),
        gain=np.array([256, 512, 256], np.uint16),  # steps of 10, 20 and 10
        mean_w=np.array([[[0] * 4, [0] * 4, [64, 0, 0, 0]]], np.int8),
    )
    latent = np.array([[0, 0, 99], [10, 0, 99], [-5, 10, -99], [120, 120, 0]], np.int8)[None]
    # (78 + 42) / 60 = 2 times the mean over the two channels without a prediction; it ends at 63/16
    weights = masking.weights(tables, 42)
    assert (masking.masking(latent, 0, weights) / 16).tolist() == [[0, 1, 1, 63 / 16]]
    assert (masking.masking(latent, 0, masking.weights(tables, 95)) / 16 == 1).all()


def test_no_weight_and_no_sum_of_weights_overflows():
    """The C coder refuses weights whose sums over the channels of a position do not fit."""
    for channels, gain in ((1, 1), (5, 1), (4096, 1), (4096, 65535)):
        tables = random_tables(3, channels=channels, sets=1)
        tables = replace(
            tables,
            step16=np.full(100, 1, np.uint16),
            gain=np.full(channels, gain, np.uint16),
            mean_w=np.zeros((1, channels, 4), np.int8),
        )
        weights = masking.weights(tables, 94)
        assert weights.min() >= 0 and 256 * int(weights.sum(dtype=np.int64)) < 2**31
        latent = np.full((2, 2, channels), -128, np.int8)
        coder.decode_symbols(coder.encode_latent(latent, 127, tables, 94), (channels, 2, 2), tables, 94)


def test_ones_are_left_out_where_much_goes_on():
    tables = random_tables(2, channels=2, sets=1)
    tables = replace(
        tables,
        step16=np.full(100, 640, np.uint16),  # 40 int8 steps
        gain=np.full(2, 256, np.uint16),
        round256=np.full(100, 128, np.uint16),
        mean_w=np.zeros((1, 2, 4), np.int8),
        bank_dead=np.full(tables.bank, 51, np.uint8),  # 0.2 of a step beyond the half
    )
    latent = np.array([[26, 0], [26, 40], [36, 40], [36, 120]], np.int8)[
        None
    ]  # 0.65, 0.65, 0.9 and 0.9 of a step
    data = coder.encode_latent(latent, 0, tables, 42)  # with a masking of 0.65, 1.65, 1.9 and 3.9
    kept = coder.decode_symbols(data, (2, 1, 4), tables, 42)
    # from 0.63, 0.83, 0.88 and 1.28 of a step on
    assert kept[0].ravel().tolist() == [1, 0, 1, 0]
    assert kept[1].ravel().tolist() == [0, 1, 1, 3]


def test_quantizer_rounds_and_reconstructs_as_specified():
    tables = random_tables(2, channels=1, sets=1)
    tables = replace(
        tables,
        step16=np.full(100, 84, np.uint16),  # 5.25 units,
        gain=np.array([512], np.uint16),  # which are 10.5 int8 steps
        round256=np.full(100, 64, np.uint16),  # up from three quarters of a step
        recon=np.array([[[64, -32]]], np.int8),  # half a step toward zero; a quarter away from it
        refine_w=np.zeros((1, 1, 4), np.uint8),
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
