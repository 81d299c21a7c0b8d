"""Coarse values refined by their neighbours: stairs become slopes, edges stay, C and Python agree, and so do tiles."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from randomtables import needs_native, quick, random_symbols, random_tables, seeds

from edgepress.runtime import Codec, coder
from edgepress.runtime.coder import native
from edgepress.runtime.refine import refine

BOTH = pytest.mark.parametrize("backend", ["python", pytest.param("native", marks=needs_native)])
STEP = 10  # int8 steps


def refined(backend, latent, weights, zero_point=0, step=STEP):
    """A refined copy of int8[H,W,C]; weights [C][4]."""
    copy = np.array(latent, np.int8)
    steps = np.full(copy.shape[2], 16 * step, np.uint16)
    weights = np.array(weights, np.uint8)
    arguments = zero_point, steps, weights, ~weights.any(axis=1)
    if backend == "native":
        native.refine(copy, *arguments, *copy.shape[:2])
    else:
        refine(copy, *arguments)
    return copy


@BOTH
def test_what_is_flat_or_has_no_weights_stays(backend):
    flat = np.full((5, 6, 2), 40)
    np.testing.assert_array_equal(refined(backend, flat, [[20, 9, 20, 9]] * 2), flat)
    noise = np.random.default_rng(0).integers(-20, 20, (5, 6, 2))
    np.testing.assert_array_equal(refined(backend, noise, [[0] * 4] * 2), noise)
    made = refined(backend, noise, [[20, 9, 20, 9], [0] * 4])
    np.testing.assert_array_equal(made[..., 1], noise[..., 1])
    assert (made[..., 0] != noise[..., 0]).any()


@BOTH
def test_stairs_become_slopes_and_edges_stay(backend):
    stair = np.repeat([0, STEP, 2 * STEP], 3)[None, :, None].repeat(5, 0)
    made = refined(backend, stair, [[16, 0, 0, 0]])[2, :, 0]
    # A value moves by an eighth of a step for the one neighbour that is a step away.
    np.testing.assert_array_equal(made, [0, 0, 1, 9, 10, 11, 19, 20, 20])
    edge = np.repeat([0, 2 * STEP], 4)[None, :, None].repeat(5, 0)
    np.testing.assert_array_equal(refined(backend, edge, [[16, 8, 16, 8]]), edge)
    assert (refined(backend, edge, [[16, 0, 0, 0]], step=14) != edge).any()  # up to 3/2 of these


@BOTH
def test_weights_are_of_straight_and_diagonal_neighbours_alone_and_among_others(backend):
    latent = np.full((3, 3, 2), -5)
    latent[1, 1, 0] = 3
    latent[..., 1] = 7  # zero
    for zero_point, weights, moved in (
        (7, [32, 0, 0, 0], -8),  # four of four neighbours, by a quarter of 8
        (7, [0, 16, 0, 0], -4),
        (7, [0, 0, 32, 0], 0),
        (6, [0, 0, 32, 0], -8),
        (6, [0, 0, 8, 16], -6),
        (6, [32, 0, 0, 0], 0),
    ):
        made = refined(backend, latent, [weights, [0] * 4], zero_point)
        assert made[1, 1, 0] == 3 + moved, (zero_point, weights)


@BOTH
def test_nothing_is_beyond_the_borders_and_sums_are_clipped(backend):
    one = np.full((1, 1, 1), 100)
    np.testing.assert_array_equal(refined(backend, one, [[255] * 4]), one)
    row = np.array([100, 127, 100])[None, :, None]
    assert refined(backend, row, [[255] * 4], step=20)[0].ravel().tolist() == [127, 19, 127]


@needs_native
@quick
@given(
    seed=seeds,
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    channels=st.one_of(st.integers(1, 6), st.sampled_from([15, 16, 17, 33])),
    zero_point=st.sampled_from([-128, 0, 1, 127]),
    spread=st.sampled_from([1, 5, 200]),
)
def test_c_and_python_agree(seed, height, width, channels, zero_point, spread):
    rng = np.random.default_rng(seed)
    latent = np.clip(rng.normal(0, spread, (height, width, channels)), -128, 127).astype(np.int8)
    steps = rng.integers(1, 1 << int(rng.integers(2, 16)), channels).astype(np.uint16)
    weights = rng.integers(0, 256, (channels, 4)) * (rng.random((channels, 1)) < 0.5)
    latent[rng.random(latent.shape) < 0.5] = zero_point
    given = zero_point, steps, weights.astype(np.uint8), rng.random(channels) < 0.5
    first, second = latent.copy(), latent.copy()
    refine(first, *given)
    native.refine(second, *given, height, width)
    np.testing.assert_array_equal(first, second)


@needs_native
def test_the_c_function_refuses_what_does_not_fit():
    latent, steps, weights = np.zeros((2, 3, 4), np.int8), np.ones(4, np.uint16), np.ones((4, 4), np.uint8)
    alone = np.ones(4, bool)
    native.refine(latent, 0, steps, weights, alone, 2, 3)
    for changed in (
        (128, steps, weights, alone, 2, 3),
        (0, steps[:3], weights, alone, 2, 3),
        (0, steps, weights[:3], alone, 2, 3),
        (0, steps, weights, alone[:3], 2, 3),
        (0, steps, weights, alone, 3, 3),
        (0, steps, weights, alone, -2, -3),
        (0, steps[:0], weights[:0], alone[:0], 2, 3),
        (0, steps, weights, alone, 1 << 40, 1 << 40),
    ):
        with pytest.raises(ValueError, match="size"):
            native.refine(latent, *changed)


def test_what_is_decoded_is_refined_in_every_way_that_leads_to_a_latent():
    tables = dataclasses.replace(random_tables(3, channels=5), set_of=np.zeros(100, np.uint8))
    plain = dataclasses.replace(tables, refine_w=np.zeros_like(tables.refine_w))
    assert tables.refines.all() and not plain.refines.any()
    symbols = random_symbols(3, (5, 7, 9), 1.0)
    data = coder.encode_symbols(symbols, tables, 10)
    expected = coder.dequantize(symbols, 2, plain, 10)
    rough = expected.copy()
    refine(expected, 2, tables.steps(10), tables.refine_w[0], tables.alone[0])
    assert (expected != rough).any()
    np.testing.assert_array_equal(coder.dequantize(symbols, 2, tables, 10), expected)
    np.testing.assert_array_equal(coder.decode_latent(data, symbols.shape, 2, tables, 10), expected)


def test_a_slow_slope_comes_back_nearer_to_what_it_was():
    """One of about half a step from block to block."""
    codec = Codec.load("photo")
    tables, zero_point = codec.package.tables, codec.package.zero_point
    plain = dataclasses.replace(tables, refine_w=np.zeros_like(tables.refine_w))
    slope = np.linspace(90, 140, 256)[:, None, None] + np.linspace(0, 20, 256)[:, None] * np.array([1, 0, -1])
    latent = codec.latent(np.rint(slope).astype(np.uint8))
    shape = latent.shape[2], *latent.shape[:2]
    for quality in (5, 15):
        data = coder.encode_latent(latent, zero_point, tables, quality)
        weights, errors = tables.refine_w[tables.set_for(quality)].any(axis=1) / tables.steps(quality), []
        for used in (plain, tables):
            seen = coder.decode_latent(data, shape, zero_point, used, quality)
            errors.append(np.square((seen - latent.astype(float)) * weights).sum())
        assert errors[1] < 0.8 * errors[0], (quality, errors)
    assert not tables.refines[74:].any()  # where steps are fine, no time is spent
