"""Learns the integer entropy tables of a package from the int8 latents of a set of images.

Everything is fitted on the features that the coder itself computes (`edgepress.runtime.contexts`), channel by channel
in coding order, for each table set at its anchor step.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime import contexts, purecoder
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.tables import CONTEXTS, PROB_SCALE, QUALITIES, EntropyTables

from .fit_bank import BINS, Bank, fit_bank
from .fit_contexts import Batch, ChannelFit, fit_channel
from .fit_order import coding_order

DEFAULT_BANK = 64
DEFAULT_ROUND = 112
_PRIOR = 200.0  # observations that the other channels are worth to a context


def quality_steps(finest: float, coarsest: float) -> NDArray[np.uint16]:
    """step16, uint16[100]: geometric from `coarsest` (quality 1) to `finest` (quality 100), in int8 steps >= 1.

    Steps under 8 are whole numbers: latents are whole, so a step of 1.5 would have cells of one and of two values, and
    three times the error that its rate should cost. Neighbouring qualities may therefore share a step.
    """
    if not 1 <= finest <= coarsest <= 4095:
        raise EdgepressError(
            f"latent steps must satisfy 1 <= finest <= coarsest <= 4095, not {finest}, {coarsest}"
        )
    steps = np.geomspace(coarsest, finest, QUALITIES)
    return np.round(16 * np.where(steps < 8, np.round(steps), steps)).astype(np.uint16)


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
    anchors: Sequence[int] | None = None,
    bank: int = DEFAULT_BANK,
    round256: int | NDArray[np.uint16] = DEFAULT_ROUND,
) -> EntropyTables:
    """Fit tables to latents; deterministic.

    Args:
        latents: int8[H,W,C] arrays from the int8 encoder, of any sizes; a few dozen photographs are enough.
        zero_point: of the latent, -128..127.
        step16: uint16[100], latent step of each quality in 1/16 of an int8 step (see `quality_steps`).
        set_of: uint8[100], table set of each quality (see `share_sets`).
        anchors: the step (as in step16) at which each set is fitted; the geometric mean of its qualities by default.
        bank: the number of probability tables, 1..255.
        round256: rounding offset of the quantizer in 1/256 of a step, one for all qualities or uint16[100]; 128 rounds
            to nearest, less widens the zone that becomes zero and saves bits.

    Raises:
        EdgepressError: latents of another dtype or of different channel numbers, or none at all; steps or sets that
            are not 100 integers in range.
    """
    if step16.shape != (QUALITIES,) or step16.dtype != np.uint16 or step16.min() < 16:
        raise EdgepressError(f"step16 must be uint16[{QUALITIES}] of at least 16")
    if set_of.shape != (QUALITIES,) or set_of.dtype != np.uint8:
        raise EdgepressError(f"set_of must be uint8[{QUALITIES}]")
    stacks = _stack(latents, zero_point)
    sets = int(set_of.max()) + 1
    offsets = np.broadcast_to(np.asarray(round256, np.uint16), (QUALITIES,)).copy()
    steps = _anchor_steps(step16, set_of) if anchors is None else [int(step) for step in anchors]
    rounding = [
        int(offsets[set_of == k].mean()) if (set_of == k).any() else DEFAULT_ROUND for k in range(sets)
    ]

    with ThreadPoolExecutor(2) as pool:
        fits = list(pool.map(lambda k: _fit_set(stacks, steps[k], rounding[k]), range(sets)))
    counts = np.stack([[channel.counts for channel in fit.channels] for fit in fits])
    levels = np.array([[channel.level for channel in fit.channels] for fit in fits])
    tables = fit_bank(counts.reshape(-1, BINS), bank)
    return EntropyTables(
        step16=step16,
        round256=offsets,
        set_of=set_of,
        recon=np.stack([fit.recon for fit in fits]),
        order=np.stack([fit.order for fit in fits]),
        mean_w=np.stack([[channel.mean_w for channel in fit.channels] for fit in fits]),
        ctx_w=np.stack([[channel.ctx_w for channel in fit.channels] for fit in fits]),
        table_of=_assign(counts, levels, tables),
        bank_radius=tables.radius,
        bank_freq=tables.freq,
    )


def code_length(symbols: NDArray[np.int16], tables: EntropyTables, quality: int) -> float:
    """The bits of symbols int16[C,H,W] under the model; a stream has at most 6 bytes more."""
    plan = purecoder.Plan(tables, tables.set_for(quality))
    maps = contexts.Maps(symbols.shape[1:])
    flags = purecoder.FlagModel()
    bits = 0.0
    for channel in plan.order:
        flag = bool(symbols[channel].any())
        bits -= np.log2((flags.one if flag else PROB_SCALE - flags.one) / PROB_SCALE)
        flags.update(flag)
        if flag:
            bits += purecoder.plane_bits(plan, purecoder.model_plane(symbols[channel], channel, plan, maps))
        else:
            maps.decay()
    return float(bits)


@dataclass(frozen=True)
class _SetFit:
    """One table set; `channels` in channel order, `order` uint16[C], `recon` int8[C,2]."""

    channels: list[ChannelFit]
    order: NDArray[np.uint16]
    recon: NDArray[np.int8]


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


def _anchor_steps(step16: NDArray[np.uint16], set_of: NDArray[np.uint8]) -> list[int]:
    log = np.log(step16.astype(np.float64))
    return [round(float(np.exp(log[set_of == k].mean()))) for k in range(int(set_of.max()) + 1)]


def _fit_set(stacks: list[NDArray[np.int16]], step16: int, round256: int) -> _SetFit:
    symbols = [_quantize(values, step16, round256) for values in stacks]
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
    return _SetFit([fits[channel] for channel in range(channels)], order, _centroids(stacks, symbols, step16))


def _quantize(values: NDArray[np.int16], step16: int, round256: int) -> NDArray[np.int16]:
    sizes = np.arange(256)
    table = ((sizes * (16 * 256) + round256 * step16) // (256 * step16)).astype(np.int16)
    return table[np.abs(values)] * np.sign(values)


def _unseen() -> ChannelFit:
    """A channel that was zero in all images: contexts from the maps alone."""
    weights = np.array([64, 16, 4, 4, 0, 4], np.uint8)
    return ChannelFit(np.zeros(4, np.int8), weights, 0, np.zeros((CONTEXTS, BINS), np.float32))


def _centroids(
    stacks: list[NDArray[np.int16]], symbols: list[NDArray[np.int16]], step16: int
) -> NDArray[np.int8]:
    """recon, int8[C,2]: mean distance of the values from their symbols toward zero, rare ones drawn to the set's mean."""
    channels = symbols[0].shape[0]
    distance, number = np.zeros((channels, 2)), np.zeros((channels, 2))
    for values, group in zip(stacks, symbols, strict=True):
        for channel in range(channels):
            size = np.abs(group[channel]).ravel()
            toward_zero = size - np.abs(values[channel]).ravel() * (16 / step16)
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
