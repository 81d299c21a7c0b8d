"""Learns the integer entropy tables of a package from the int8 latents of a set of images.

Everything is fitted on the features that the coder itself computes (`edgepress.runtime.contexts`), channel by channel
in coding order, for each table set at the middle one of its qualities.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime import coder, contexts
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.tables import CONTEXTS, PASSES, QUALITIES, EntropyTables, channel_steps

from .fit_bank import BINS, LIMIT, Bank, fit_bank
from .fit_contexts import Batch, ChannelFit, fit_channel
from .fit_order import coding_order
from .fit_refine import fit_refine

DEFAULT_BANK = 64
DEFAULT_ROUND = 112
_PRIOR = 200.0  # observations that the other channels are worth to a context


def quality_steps(finest: float, coarsest: float) -> NDArray[np.uint16]:
    """step16, uint16[100]: geometric from `coarsest` (quality 1) to `finest` (quality 100), in units of 1/16 to 4095."""
    if not 1 / 16 <= finest <= coarsest <= 4095:
        raise EdgepressError(
            f"latent steps must satisfy 1/16 <= finest <= coarsest <= 4095, not {finest}, {coarsest}"
        )
    return np.round(16 * np.geomspace(coarsest, finest, QUALITIES)).astype(np.uint16)


def share_sets(step16: NDArray[np.uint16], sets: int) -> NDArray[np.uint8]:
    """set_of, uint8[100]: the qualities in at most `sets` groups of neighbours of about equal step ratio."""
    position = np.log(step16.astype(np.float64))
    span = position[0] - position[-1]
    share = (position[0] - position) / span if span > 0 else np.zeros(QUALITIES)
    group = np.minimum((share * sets).astype(np.int64), sets - 1)
    return np.unique(group, return_inverse=True)[1].astype(np.uint8)


def fit_tables(
    latents: Sequence[NDArray[np.int8]],
    zero_point: int,
    *,
    step16: NDArray[np.uint16],
    set_of: NDArray[np.uint8],
    gain: NDArray[np.uint16] | None = None,
    bank: int = DEFAULT_BANK,
    round256: int | NDArray[np.uint16] = DEFAULT_ROUND,
    thinning: float = 0.0,
) -> EntropyTables:
    """Fit tables to latents; deterministic.

    Args:
        latents: int8[H,W,C] arrays from the int8 encoder, of any sizes; a few dozen photographs are enough.
        zero_point: of the latent, -128..127.
        step16: uint16[100], latent step of each quality in 1/16 of a unit (see `quality_steps`).
        gain: uint16[C], that unit in 1/256 of an int8 step of each channel; one int8 step by default.
        set_of: uint8[100], table set of each quality (see `share_sets`).
        bank: the number of probability tables, 1..255.
        round256: rounding offset of the quantizer in 1/256 of a step, one for all qualities or uint16[100]; 128 rounds
            to nearest, less widens the zone that becomes zero and saves bits.
        thinning: how strongly the encoder leaves out ones that cost many bits (`EntropyTables.bank_dead`): 0 not at all, 1
            where distortion and rate weigh what they do at this step in theory. Tables are then fitted twice, the second
            time to the symbols that the first ones leave.

    Raises:
        EdgepressError: latents of another dtype or of different channel numbers, or none at all; steps or sets that
            are not 100 integers in range.
    """
    if step16.shape != (QUALITIES,) or step16.dtype != np.uint16 or step16.min() < 1:
        raise EdgepressError(f"step16 must be uint16[{QUALITIES}] of at least 1")
    if set_of.shape != (QUALITIES,) or set_of.dtype != np.uint8:
        raise EdgepressError(f"set_of must be uint8[{QUALITIES}]")
    stacks = _stack(latents, zero_point)
    if gain is None:
        gain = np.full(stacks[0].shape[0], 256, np.uint16)
    set_of = _one_set_per_step(step16, gain, set_of)
    sets = int(set_of.max()) + 1
    offsets = np.broadcast_to(np.asarray(round256, np.uint16), (QUALITIES,)).copy()
    middle = [int(np.flatnonzero(set_of == k)[(set_of == k).sum() // 2]) + 1 for k in range(sets)]
    tables = None
    for _ in range(2 if thinning else 1):
        with ThreadPoolExecutor(2) as pool:
            fits = list(
                pool.map(partial(_fit_set, stacks, zero_point, step16, gain, offsets, tables), middle)
            )
        counts = np.stack([[channel.counts for channel in fit.channels] for fit in fits])
        levels = np.array([[channel.level for channel in fit.channels] for fit in fits])
        found = fit_bank(counts.reshape(-1, BINS), bank)
        tables = EntropyTables(
            step16=step16,
            gain=gain,
            round256=offsets,
            set_of=set_of,
            recon=np.stack([fit.recon for fit in fits]),
            order=np.stack([fit.order for fit in fits]),
            mean_w=np.stack([[channel.mean_w for channel in fit.channels] for fit in fits]),
            ctx_w=np.stack([[channel.ctx_w for channel in fit.channels] for fit in fits]),
            table_of=_assign(counts, levels, found),
            bank_radius=found.radius,
            bank_dead=_dead_zones(found, thinning),
            bank_freq=found.freq,
            refine_w=np.stack([fit.refine_w for fit in fits]),
        )
    assert tables is not None
    return tables


@dataclass(frozen=True)
class _SetFit:
    """One table set; `channels` in channel order, `order` uint16[C], `recon` int8[C,2], `refine_w` uint8[C,4]."""

    channels: list[ChannelFit]
    order: NDArray[np.uint16]
    recon: NDArray[np.int8]
    refine_w: NDArray[np.uint8]


def _stack(latents: Sequence[NDArray[np.int8]], zero_point: int) -> list[NDArray[np.int16]]:
    """Latents minus zero point by image size: int16[C,B,H,W] each."""
    by_shape: dict[tuple[int, ...], list[NDArray[np.int16]]] = {}
    for latent in latents:
        if latent.ndim != 3 or latent.dtype != np.int8 or latent.size == 0:
            raise EdgepressError(f"a latent must be int8[H,W,C], not {latent.dtype}{list(latent.shape)}")
        by_shape.setdefault(latent.shape, []).append(latent.astype(np.int16) - np.int16(zero_point))
    if len({shape[2] for shape in by_shape}) != 1:
        raise EdgepressError("fitting entropy tables needs latents, all with the same number of channels")
    return [np.ascontiguousarray(np.stack(group).transpose(3, 0, 1, 2)) for group in by_shape.values()]


def _one_set_per_step(
    step16: NDArray[np.uint16], gain: NDArray[np.uint16], set_of: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """`set_of` without borders between qualities of the same steps, which would differ in bytes but not in quality."""
    merged = set_of.copy()
    steps = [channel_steps(int(step), gain) for step in step16]
    for k in range(1, QUALITIES):
        if np.array_equal(steps[k], steps[k - 1]):
            merged[k] = merged[k - 1]
    return np.unique(merged, return_inverse=True)[1].astype(np.uint8)


def _dead_zones(bank: Bank, thinning: float) -> NDArray[np.uint8]:
    """bank_dead: a one in place of a zero takes b more bits, and lowers the squared error of a value v steps by 2 v - 1.

    A uniform quantizer of step 1 has the error D = 1/12 and dD/dR = -ln 2 / 6 (entropy-coded, high rate), so that a one pays
    from v = 1/2 + b ln 2 / 12 on.
    """
    zero, one = bank.bits[:, LIMIT], (bank.bits[:, LIMIT - 1] + bank.bits[:, LIMIT + 1]) / 2
    price = np.maximum(one - zero, 0) * np.log(2) / 12
    return np.clip(np.round(256 * thinning * price), 0, 255).astype(np.uint8)


def _symbols(
    values: NDArray[np.int16],
    zero_point: int,
    tables: EntropyTables | None,
    quality: int,
    steps: NDArray[np.uint16],
    round256: int,
) -> NDArray[np.int16]:
    """Symbols int16[C,B,H,W] of values of the same shape, thinned where there are `tables` already."""
    if tables is None:
        return _quantize(values, steps, round256)
    symbols = np.empty_like(values)
    for i in range(values.shape[1]):
        latent = (values[:, i].transpose(1, 2, 0) + zero_point).astype(np.int8)
        data = coder.encode_latent(latent, zero_point, tables, quality)
        symbols[:, i] = coder.decode_symbols(data, symbols[:, i].shape, tables, quality)
    return symbols


def _fit_set(
    stacks: list[NDArray[np.int16]],
    zero_point: int,
    step16: NDArray[np.uint16],
    gain: NDArray[np.uint16],
    offsets: NDArray[np.uint16],
    tables: EntropyTables | None,
    quality: int,
) -> _SetFit:
    """The fit of the set that `quality` stands for."""
    steps = channel_steps(int(step16[quality - 1]), gain)
    round256 = int(offsets[quality - 1])
    symbols = [_symbols(values, zero_point, tables, quality, steps, round256) for values in stacks]
    channels = symbols[0].shape[0]
    order = coding_order(symbols)
    maps = [contexts.Maps(group.shape[1:]) for group in symbols]
    fits: dict[int, ChannelFit] = {}
    for channel in order.tolist():
        batches = []
        for group, state in zip(symbols, maps, strict=True):
            coded = group[channel].any(axis=(1, 2))
            if coded.any():
                batches.append(Batch(group[channel][coded], state.select(coded)))
        fit = fit_channel(batches) if batches else _unseen()
        fits[channel] = fit
        for group, state in zip(symbols, maps, strict=True):
            # Where the plane is all zero, so are prediction and residual, and this is the coder's decay.
            state.update(contexts.magnitude(group[channel] - contexts.predict(group[channel], fit.mean_w)))
    in_turn = [fits[channel] for channel in range(channels)]
    recon = _centroids(stacks, symbols, steps)
    predicted = np.array([fit.mean_w.any() for fit in in_turn])
    refine_w = fit_refine(zip(stacks, symbols, strict=True), steps, recon, predicted)
    return _SetFit(in_turn, order, recon, refine_w)


def _quantize(values: NDArray[np.int16], steps: NDArray[np.uint16], round256: int) -> NDArray[np.int16]:
    """As `purecoder.quantize`, for int16[C,...] values."""
    sizes, inverse = np.arange(256), -(-(1 << 20) // steps.astype(np.int64))[:, None]
    table = ((sizes * inverse + (round256 << 8)) >> 16).astype(np.int16)
    channel = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    return table[channel, np.abs(values)] * np.sign(values)


def _unseen() -> ChannelFit:
    """A channel that was zero in all images: contexts from the maps alone."""
    weights = np.tile(np.array([64, 16, 4, 4, 0, 4], np.uint8), (PASSES, 1))
    return ChannelFit(np.zeros(4, np.int8), weights, 0, np.zeros((CONTEXTS, BINS), np.float32))


def _centroids(
    stacks: list[NDArray[np.int16]], symbols: list[NDArray[np.int16]], steps: NDArray[np.uint16]
) -> NDArray[np.int8]:
    """recon, int8[C,2]: mean distance of the values from their symbols toward zero, rare ones drawn to the set's mean."""
    channels = symbols[0].shape[0]
    distance, number = np.zeros((channels, 2)), np.zeros((channels, 2))
    for values, group in zip(stacks, symbols, strict=True):
        for channel in range(channels):
            size = np.abs(group[channel]).ravel()
            toward_zero = size - np.abs(values[channel]).ravel() * (16 / steps[channel])
            kind = np.minimum(size, 2)
            distance[channel] += np.bincount(kind, toward_zero, minlength=3)[1:]
            number[channel] += np.bincount(kind, minlength=3)[1:]
    pooled = distance.sum(axis=0) / np.maximum(number.sum(axis=0), 1)
    shift = (distance + 20 * pooled) / (number + 20)
    return np.clip(np.round(128 * shift), -128, 127).astype(np.int8)


def _assign(counts: NDArray[np.float32], levels: NDArray[np.int64], bank: Bank) -> NDArray[np.uint8]:
    """table_of, uint8[K,C,24]; rare contexts lean on those of other channels that expect the same magnitude."""
    sets, channels = levels.shape
    # Two contexts per octave, so contexts of equal expectation are 2 * level apart.
    lowest = int(levels.min())
    highest = int(levels.max())
    slots = CONTEXTS + 2 * (highest - lowest)
    pool = np.zeros((slots, BINS), np.float32)
    begin = 2 * (highest - levels)
    for k in range(sets):
        for c in range(channels):
            pool[begin[k, c] : begin[k, c] + CONTEXTS] += counts[k, c]
    pool = _fill_empty(pool)
    pool /= pool.sum(axis=1, keepdims=True)
    table_of = np.empty((sets, channels, CONTEXTS), np.uint8)
    for k in range(sets):
        for c in range(channels):
            prior = pool[begin[k, c] : begin[k, c] + CONTEXTS]
            table_of[k, c] = bank.assign(counts[k, c] + np.float32(_PRIOR) * prior)
    return table_of


def _fill_empty(pool: NDArray[np.float32]) -> NDArray[np.float32]:
    """Expectations that never occurred take the histogram of the nearest that did."""
    seen = np.flatnonzero(pool.sum(axis=1) > 0)
    if seen.size == 0:
        pool[:, BINS // 2] = 1
        return pool
    nearest = seen[np.argmin(np.abs(np.arange(len(pool))[:, None] - seen), axis=1)]
    return pool[nearest]
