"""The entropy coder: lossless, the same bytes from C and Python, safe on any input, true to the written model."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress.runtime import coder, contexts, purecoder
from edgepress.runtime.errors import BadPackageError, CorruptStreamError, EdgepressError
from edgepress.runtime.tables import CONTEXTS, EntropyTables

needs_native = pytest.mark.skipif(coder.BACKEND != "native", reason="the C coder was not built")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def random_tables(
    seed: int, channels: int = 4, sets: int = 2, bank: int = 6, spread: float = 1.0
) -> EntropyTables:
    """Valid tables with arbitrary content; `spread` scales the radii of the bank."""
    rng = np.random.default_rng(seed)
    radius = np.minimum(127, rng.integers(0, 1 + int(20 * spread), bank)).astype(np.uint8)
    freqs = []
    for r in radius:
        weight = rng.random(2 * int(r) + 2) ** rng.integers(1, 12)
        freq = 1 + np.floor(weight / weight.sum() * (2**14 - weight.size)).astype(np.int64)
        freq[np.argmax(freq)] += 2**14 - freq.sum()
        freqs.append(freq)
    predicted = rng.random((sets, channels, 1)) < 0.7
    return EntropyTables(
        step16=np.sort(rng.integers(16, 16 * 20, 100))[::-1].astype(np.uint16),
        gain=rng.integers(30, 600, channels).astype(np.uint16),
        round256=rng.integers(60, 129, 100).astype(np.uint16),
        set_of=(np.arange(100) % sets).astype(np.uint8),
        recon=rng.integers(-128, 128, (sets, channels, 2)).astype(np.int8),
        order=np.stack([rng.permutation(channels) for _ in range(sets)]).astype(np.uint16),
        mean_w=(rng.integers(-128, 128, (sets, channels, 4)) * predicted).astype(np.int8),
        ctx_w=rng.integers(0, 256, (sets, channels, 3, 6)).astype(np.uint8),
        table_of=rng.integers(0, bank, (sets, channels, CONTEXTS)).astype(np.uint8),
        bank_radius=radius,
        bank_dead=rng.integers(0, 256, bank).astype(np.uint8),
        bank_freq=np.concatenate(freqs).astype(np.uint16),
    )


def random_symbols(seed: int, shape: tuple[int, int, int], scale: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    symbols = np.clip(np.round(rng.laplace(0, scale, shape)), -255, 255).astype(np.int16)
    symbols[rng.random(shape[0]) < 0.3] = 0
    return symbols


def pure_encode(symbols, tables, quality):
    return purecoder.encode(purecoder.Plan(tables, tables.set_for(quality)), symbols)


def pure_decode(data, shape, tables, quality):
    return purecoder.decode(purecoder.Plan(tables, tables.set_for(quality)), data, shape)


seeds = st.integers(0, 2**32 - 1)
# Small ones, and some that are wider than a tile or a vector.
shapes = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from([(17, 35), (34, 2), (1, 40), (16, 32)])
)
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
    )
    symbols = (rng.randint(-3, 4, (3, 10, 12)) * (rng.random_sample((3, 10, 12)) < 0.4)).astype(np.int16)
    data = coder.encode_symbols(symbols, tables, 1)
    assert hashlib.sha256(data).hexdigest()[:16] == "1e2882cc2342bd66"


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


def test_buckets_are_half_octaves():
    values = np.array([0, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 8191, 8192, 10**7], np.int32)
    assert contexts.bucket(values).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 22, 23, 23]


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


def test_threads_do_not_disturb_each_other():
    tables = random_tables(5, channels=16)
    images = [random_symbols(i, (16, 20, 20), 2.0) for i in range(12)]
    alone = [coder.encode_symbols(image, tables, 1 + i % 2) for i, image in enumerate(images)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: coder.encode_symbols(images[i], tables, 1 + i % 2), range(12)))
    assert alone == together


def test_tables_survive_storage():
    tables = random_tables(4, channels=7, sets=3)
    again = EntropyTables.from_bytes(tables.to_bytes(), 3, 7, 6, tables.bank_freq.size)
    assert again.to_bytes() == tables.to_bytes()
    symbols = random_symbols(4, (7, 5, 5), 2.0)
    assert coder.encode_symbols(symbols, again, 9) == coder.encode_symbols(symbols, tables, 9)


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("step16", 5, 0),
        ("gain", 0, 0),
        ("round256", 0, 256),
        ("set_of", 99, 2),
        ("order", (0, 0), 9),
        ("table_of", (1, 2, 3), 6),
        ("bank_radius", 0, 200),
        ("bank_freq", 0, 0),
        ("bank_freq", 1, 16000),
    ],
)
def test_impossible_tables_are_refused(name, index, value):
    tables = random_tables(6)
    array = getattr(tables, name).copy()
    array[index] = value
    with pytest.raises(BadPackageError, match=name):
        replace(tables, **{name: array})


def test_storage_of_the_wrong_size_is_refused():
    tables = random_tables(6)
    data, values = tables.to_bytes(), tables.bank_freq.size
    for sizes in [
        (2, 4, 6, values + 1),
        (0, 4, 6, values),
        (2, 10**9, 6, values),
        (2, 4, True, values),
        ("2", 4, 6, 9),
    ]:
        with pytest.raises(BadPackageError):
            EntropyTables.from_bytes(data, *sizes)
    with pytest.raises(BadPackageError, match="bytes"):
        EntropyTables.from_bytes(data[:-1], 2, 4, 6, values)
    with pytest.raises(BadPackageError, match="recon"):
        replace(tables, recon=tables.recon.astype(np.int16))


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
