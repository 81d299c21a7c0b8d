"""The entropy coder: lossless, the same bytes from C and Python, safe on any input, true to the written model."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from randomtables import needs_native, quick, random_symbols, random_tables, seeds, shapes

from edgepress.runtime import coder, contexts, purecoder
from edgepress.runtime.errors import CorruptStreamError, EdgepressError
from edgepress.runtime.tables import EntropyTables


def pure_encode(symbols, tables, quality):
    return purecoder.encode(purecoder.Plan(tables, tables.set_for(quality)), symbols)


def pure_decode(data, shape, tables, quality):
    return purecoder.decode(purecoder.Plan(tables, tables.set_for(quality)), data, shape)


scales = st.sampled_from([0.01, 0.3, 2.0, 20.0, 1000.0])


@needs_native
@quick
@given(
    seed=seeds,
    size=shapes,
    scale=scales,
    spread=st.sampled_from([0.0, 1.0, 12.0]),
    quality=st.integers(1, 100),
)
def test_both_coders_write_and_read_the_same_bytes(seed, size, scale, spread, quality):
    tables = random_tables(seed, spread=spread)
    symbols = random_symbols(seed, (4, *size), scale)
    data = coder.encode_symbols(symbols, tables, quality)
    assert data == pure_encode(symbols, tables, quality)
    assert np.array_equal(coder.decode_symbols(data, symbols.shape, tables, quality), symbols)
    assert np.array_equal(pure_decode(data, symbols.shape, tables, quality), symbols)


@needs_native
@pytest.mark.parametrize("size", [(1, 1), (7, 4), (9, 70)])
def test_both_coders_know_how_much_many_large_planes_are(size):
    """Averages of which four are more than 16 bits, and planes after them that let them fall again."""
    tables = random_tables(1, channels=60, sets=1)
    tables = replace(
        tables,
        mean_w=np.zeros((1, 60, 4), np.int8),
        ctx_w=np.broadcast_to(
            np.array([0, 0, 0, 0, 1, 0], np.uint8), (1, 60, 3, 6)
        ).copy(),  # the mean around
        order=np.arange(60, dtype=np.uint16)[None],
    )
    symbols = random_symbols(1, (60, *size), 1000.0)
    symbols[30:] //= 64
    data = coder.encode_symbols(symbols, tables, 50)
    assert data == pure_encode(symbols, tables, 50)
    assert np.array_equal(coder.decode_symbols(data, symbols.shape, tables, 50), symbols)


@needs_native
@quick
@given(seed=seeds, data=st.binary(max_size=80), size=shapes)
def test_both_coders_judge_arbitrary_bytes_alike(seed, data, size):
    tables = random_tables(seed, spread=0.2)
    shape = (4, *size)

    def verdict(decode):
        try:
            return decode(data, shape, tables, 50).tolist()
        except CorruptStreamError:
            return "corrupt"

    assert verdict(coder.decode_symbols) == verdict(pure_decode)


@pytest.mark.parametrize("decode", [coder.decode_symbols, pure_decode])
def test_damage_is_found_or_decodes_to_other_symbols(decode):
    tables = random_tables(1)
    symbols = random_symbols(1, (4, 6, 7), 3.0)
    data = coder.encode_symbols(symbols, tables, 50)
    for length in range(len(data)):
        with pytest.raises(CorruptStreamError):
            decode(data[:length], symbols.shape, tables, 50)
    with pytest.raises(CorruptStreamError):
        decode(data + b"\0\0", symbols.shape, tables, 50)
    rng = np.random.default_rng(0)
    for _ in range(300):
        mutated = bytearray(data)
        mutated[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            other = decode(bytes(mutated), symbols.shape, tables, 50)
        except CorruptStreamError:
            continue
        assert other.shape == symbols.shape and not np.array_equal(other, symbols)


def test_extreme_symbols_survive_every_predictor():
    tables = random_tables(7, channels=3)
    board = np.indices((3, 12, 11)).sum(axis=0) % 2
    symbols = np.where(board, 255, -255).astype(np.int16)
    for quality in (1, 2):
        data = coder.encode_symbols(symbols, tables, quality)
        assert np.array_equal(coder.decode_symbols(data, symbols.shape, tables, quality), symbols)
        assert data == pure_encode(symbols, tables, quality)


def test_planes_of_zeros_are_nearly_free():
    tables = random_tables(3, channels=192)
    assert len(coder.encode_symbols(np.zeros((192, 32, 48), np.int16), tables, 1)) <= 8


def test_the_format_has_not_changed():
    """A stream written today must be readable for ever: this hash only changes together with the format version."""
    rng = np.random.RandomState(5)  # whose numbers are frozen across numpy versions
    tables = EntropyTables(
        step16=np.full(100, 16, np.uint16),
        gain=np.full(3, 256, np.uint16),
        round256=np.full(100, 128, np.uint16),
        set_of=np.zeros(100, np.uint8),
        recon=np.zeros((1, 3, 2), np.int8),
        order=np.array([[2, 0, 1]], np.uint16),
        mean_w=np.array([[[0, 0, 0, 0], [40, 30, -10, 5], [0, 64, 0, 0]]], np.int8),
        ctx_w=np.array([[[[50, 20, 30, 8, 3, 10]] * 3] * 3], np.uint8),
        table_of=np.array([[[1] * 4 + [0] * 20] * 3], np.uint8),
        bank_radius=np.array([2, 0], np.uint8),
        bank_dead=np.zeros(2, np.uint8),
        bank_freq=np.array([1000, 3000, 8000, 3000, 1000, 384, 16000, 384], np.uint16),
        refine_w=np.zeros((1, 3, 4), np.uint8),
    )
    symbols = (rng.randint(-3, 4, (3, 40, 48)) * (rng.random_sample((3, 40, 48)) < 0.4)).astype(np.int16)
    data = coder.encode_symbols(symbols, tables, 1)  # with all four states
    assert hashlib.sha256(data).hexdigest()[:16] == "b7234ad1b74a2941"
    data = coder.encode_symbols(symbols[:, :10, :12], tables, 1)  # with two
    assert hashlib.sha256(data).hexdigest()[:16] == "918ea45aec484c55"


def prediction_by_the_book(plane, y, x, weights):
    """The prediction of one position from the symbols to its left and above."""
    top = plane[y - 1, x] if y else None
    left = plane[y, x - 1] if x else top
    if left is None:
        return 0
    if top is None:
        top = top_left = top_right = left
    else:
        top_left = plane[y - 1, x - 1] if x else top
        top_right = plane[y - 1, x + 1] if x + 1 < plane.shape[1] else top
    seen = left, top, top_left, top_right
    mean = (sum(int(i) * int(j) for i, j in zip(weights, seen, strict=True)) + 32) >> 6
    return max(-255, min(255, mean))


def order_by_the_book(height, width, predicted):
    """The positions of a plane as they are coded, and the pass of each."""
    places = [(y, x) for y in range(height) for x in range(width)]
    if predicted:
        return [(y, x, 0) for y, x in places]
    parities = [[(0, 0)], [(1, 1)], [(0, 1), (1, 0)]]
    return [(y, x, n) for n, some in enumerate(parities) for y, x in places if (y % 2, x % 2) in some]


def model_by_the_book(symbols, tables, table_set):
    """Residual and bank entry of every coded position, position by position as the specification has it."""
    _, height, width = symbols.shape
    fast, slow = np.zeros((2, height, width), int)
    found = {}
    for c in tables.order[table_set].tolist():
        plane, w = symbols[c].astype(int), tables.mean_w[table_set, c].astype(int)
        e = np.zeros((height, width), int)  # magnitudes that are known by now
        of = lambda yy, xx, m=e: m[yy, xx] if 0 <= yy < height and 0 <= xx < width else 0  # noqa: E731
        for y, x, step in order_by_the_book(height, width, w.any()) if plane.any() else []:
            residual = plane[y, x] - (prediction_by_the_book(plane, y, x, w) if w.any() else 0)
            straight = of(y, x - 1) + of(y - 1, x) + of(y, x + 1) + of(y + 1, x)
            diagonal = sum(of(y + i, x + j) for i in (-1, 1) for j in (-1, 1))
            a = tables.ctx_w[table_set, c, step].astype(int)
            if not w.any():  # neighbours of the same pass are not used, though some are known
                straight, diagonal = straight * (step == 2), diagonal * (step == 1)
            n4 = 0
            for yy, xx in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
                n4 += slow[yy, xx] if 0 <= yy < height and 0 <= xx < width else slow[y, x]
            t = 16 * (a[0] * straight + a[1] * diagonal + a[5]) + a[2] * fast[y, x] + a[3] * slow[y, x]
            t = (t + a[4] * (n4 >> 2)) >> 4
            octave = int(t).bit_length() - 1
            context = 0 if t < 4 else min(23, 2 * octave - 3 + (t >> (octave - 1) & 1))
            found[c, y, x] = residual, tables.table_of[table_set, c, context]
            e[y, x] = min(abs(residual), 255)
        fast += (e << 4) - (fast >> 2)
        slow += (e << 4) - (slow >> 4)
    return found


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (5, 7)])
@pytest.mark.parametrize("scale", [0.4, 90.0])
def test_contexts_are_those_of_the_specification(size, scale):
    tables = random_tables(11, channels=5)
    symbols = random_symbols(3, (5, *size), scale)
    plan, maps = purecoder.Plan(tables, 0), contexts.Maps(size)
    found = {}
    for c in plan.order:
        if not symbols[c].any():
            maps.decay()
            continue
        model = purecoder.model_plane(symbols[c], c, plan, maps)
        for (y, x), residual in np.ndenumerate(model.residual):
            found[c, y, x] = residual, model.entry[y, x]
    assert found == model_by_the_book(symbols, tables, 0)


def test_waves_are_those_of_the_specification():
    order = contexts.wave(6, 3).tolist()
    assert order == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
    order = contexts.wave(3, 5).tolist()
    assert order == [0, 1, 2, 5, 3, 6, 4, 7, 10, 8, 11, 9, 12, 13, 14]


@pytest.mark.parametrize("size", [(1, 1), (9, 1), (1, 9), (13, 7)])
def test_waves_bring_neighbours_in_time(size):
    height, width = size
    order = [divmod(position, width) for position in contexts.wave(height, width).tolist()]
    seen = set()
    for y, x in order:
        inside = [(y, x - 1), (y - 1, x - 1), (y - 1, x), (y - 1, x + 1)]
        assert all(place in seen for place in inside if place[0] >= 0 and 0 <= place[1] < width)
        seen.add((y, x))
    assert len(order) == len(seen) == height * width


@needs_native
@pytest.mark.parametrize("words", range(120, 140))
def test_streams_around_the_length_where_states_begin(words):
    """The third and the fourth state begin at 128 words: on either side of it, and cut there, both coders agree."""
    tables = random_tables(2, channels=2)
    symbols = np.zeros((2, 40, 40), np.int16)
    values = random_symbols(4, (2, 40, 40), 2.0)
    for count in range(1600):  # the first symbols of the last channel, until the stream has that length
        symbols[tables.order[1, -1], : count // 40] = values[0, : count // 40]
        symbols[tables.order[1, -1], count // 40, : count % 40] = values[0, count // 40, : count % 40]
        data = coder.encode_symbols(symbols, tables, 2)
        if len(data) >= 2 * words + 8:
            break
    assert data == pure_encode(symbols, tables, 2)
    assert np.array_equal(pure_decode(data, symbols.shape, tables, 2), symbols)
    assert np.array_equal(coder.decode_symbols(data, symbols.shape, tables, 2), symbols)


def test_buckets_are_half_octaves():
    values = np.array([0, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 8191, 8192, 10**7], np.int32)
    assert contexts.bucket(values).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 22, 23, 23]


def test_threads_do_not_disturb_each_other():
    tables = random_tables(5, channels=16)
    images = [random_symbols(i, (16, 20, 20), 2.0) for i in range(12)]
    alone = [coder.encode_symbols(image, tables, 1 + i % 2) for i, image in enumerate(images)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: coder.encode_symbols(images[i], tables, 1 + i % 2), range(12)))
    assert alone == together


def test_latents_are_decoded_into_arrays():
    tables = random_tables(5)
    rng = np.random.default_rng(5)
    latent = rng.integers(-128, 128, (3, 7, 4)).astype(np.int8)
    data = coder.encode_latent(latent, 3, tables, 60)
    expected = coder.decode_latent(data, (4, 3, 7), 3, tables, 60)
    room = np.full((2, 3, 7, 4), 99, np.int8)
    assert coder.decode_latent(data, (4, 3, 7), 3, tables, 60, room[1]).base is room
    assert np.array_equal(room[1], expected) and np.all(room[0] == 99)
    read_only = np.empty((3, 7, 4), np.int8)
    read_only.flags.writeable = False
    apart = np.empty((3, 7, 8), np.int8)[..., ::2]
    for wrong in (np.empty((7, 3, 4), np.int8), np.empty((3, 7, 4), np.uint8), apart, read_only):
        with pytest.raises(EdgepressError, match="cannot be written into"):
            coder.decode_latent(data, (4, 3, 7), 3, tables, 60, wrong)


def test_unusable_arguments_are_named():
    tables = random_tables(8)
    good = np.zeros((4, 2, 2), np.int16)
    for bad in (good.astype(np.int32), good[0], good + np.int16(256), np.zeros((3, 2, 2), np.int16)):
        with pytest.raises(EdgepressError):
            coder.encode_symbols(bad, tables, 50)
    for quality in (0, 101, 50.0, True):
        with pytest.raises(EdgepressError, match="quality"):
            coder.encode_symbols(good, tables, quality)
    for shape in ((4, 0, 2), (3, 2, 2), (4, 2)):
        with pytest.raises(EdgepressError, match="shape"):
            coder.decode_symbols(b"0000", shape, tables, 50)
    with pytest.raises(EdgepressError, match="zero point"):
        coder.quantize(np.zeros((2, 2, 4), np.int8), 128, tables, 50)
