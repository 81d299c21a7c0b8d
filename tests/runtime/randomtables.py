"""Random entropy tables and symbols, what hypothesis draws them by, and marks of the tests that do."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from edgepress.runtime import coder
from edgepress.runtime.tables import CONTEXTS, EntropyTables

needs_native = pytest.mark.skipif(coder.BACKEND != "native", reason="the C coder was not built")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)
# Small ones, and some that are wider than a tile or a vector.
shapes = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from([(17, 35), (34, 2), (1, 40), (16, 32)])
)


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
        refine_w=rng.integers(0, 256, (sets, channels, 4)).astype(np.uint8)
        * (rng.random((sets, channels, 1)) < 0.3),
    )


def random_symbols(seed: int, shape: tuple[int, int, int], scale: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    symbols = np.clip(np.round(rng.laplace(0, scale, shape)), -255, 255).astype(np.int16)
    symbols[rng.random(shape[0]) < 0.3] = 0
    return symbols
