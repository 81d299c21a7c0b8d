"""The entropy coder in Python and numpy: used where the C extension is missing; same bytes, hundreds of times slower.

Method: rANS (Duda 2013) with the 32-bit state and 16-bit renormalization of Giesen's public-domain `ryg_rans`. A
stream is the final state of the encoder (4 bytes) and then 16-bit words in decoding order, all little-endian.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import contexts
from .errors import CorruptStreamError
from .tables import MAX_SYMBOL, PROB_BITS, PROB_SCALE, EntropyTables

STATE_START = 1 << 16
RAW_FREQ = PROB_SCALE // 2
MAX_PREFIX = 9  # zeros before an Exp-Golomb number; residuals up to 510 need 8


class Plan:
    """What encoding and decoding with one table set need, prepared once."""

    def __init__(self, tables: EntropyTables, table_set: int) -> None:
        self.order: list[int] = tables.order[table_set].tolist()
        self.mean_w = tables.mean_w[table_set]
        self.ctx_w = tables.ctx_w[table_set]
        self.table_of = tables.table_of[table_set]
        self.radius = tables.bank_radius.astype(np.int32)
        self.radii: list[int] = self.radius.tolist()
        self.dead: list[int] = tables.bank_dead.tolist()
        self.offset = tables.bank_offset
        self.freq = tables.bank_freq.astype(np.int64)
        ends = np.cumsum(self.freq)
        self.start = (
            ends - self.freq - np.repeat(ends[self.offset] - self.freq[self.offset], 2 * self.radius + 2)
        )
        self.starts = [part.tolist() for part in np.split(self.start, self.offset[1:])]
        self.freqs = [part.tolist() for part in np.split(self.freq, self.offset[1:])]


class FlagModel:
    """Adaptive probability (of 4096) that a plane is not all zero, from the previous two flags."""

    def __init__(self) -> None:
        self.ones = [2048] * 4
        self.context = 0

    @property
    def one(self) -> int:
        """The frequency of a 1 out of 2**14; it has the low end of the range, 0 the rest."""
        return self.ones[self.context] << 2

    def update(self, flag: int) -> None:
        """Learn from a flag."""
        p = self.ones[self.context]
        p += (4096 - p) >> 4 if flag else -(p >> 4)
        self.ones[self.context] = min(max(p, 32), 4064)
        self.context = (self.context << 1 | flag) & 3


@dataclass
class PlaneModel:
    """How the model sees a plane it codes: residuals and the bank entry of each, both int32[..., H, W]."""

    residual: NDArray[np.int32]
    entry: NDArray[np.int32]


def model_plane(plane: NDArray[np.int16], channel: int, plan: Plan, maps: contexts.Maps) -> PlaneModel:
    """Residuals and bank entries of a plane (int16[..., H, W]) that is not all zero; updates `maps`."""
    residual = plane - contexts.predict(plane, plan.mean_w[channel])
    magnitudes = contexts.magnitude(residual)
    weights = plan.ctx_w[channel]
    context = contexts.bucket(contexts.activity(maps.base(weights), magnitudes, weights))
    maps.update(magnitudes)
    return PlaneModel(residual, plan.table_of[channel][context].astype(np.int32))


def encode(plan: Plan, symbols: NDArray[np.int16]) -> bytes:
    """The stream of symbols int16[C,H,W]."""
    pairs: list[tuple[int, int]] = []  # (start, frequency) in decoding order
    flags = FlagModel()
    maps = contexts.Maps(symbols.shape[1:])
    for channel in plan.order:
        plane = symbols[channel]
        flag = int(plane.any())
        one = flags.one
        pairs.append((0, one) if flag else (one, PROB_SCALE - one))
        flags.update(flag)
        if flag:
            model = model_plane(plane, channel, plan, maps)
            _plane_pairs(pairs, plan, model.residual.ravel(), model.entry.ravel())
        else:
            maps.decay()
    return _rans_encode(pairs)


def encode_latent(
    plan: Plan, latent: NDArray[np.int8], zero_point: int, steps: NDArray[np.uint16], round256: int
) -> bytes:
    """The stream of a latent int8[H,W,C] without the ones that cost too much (see `coder.encode_latent`)."""
    symbols = quantize(latent, zero_point, steps, round256)
    values = np.abs(latent.transpose(2, 0, 1).astype(np.int32) - zero_point) * 4096
    maps = contexts.Maps(symbols.shape[1:])
    for channel in plan.order:
        plane = symbols[channel]
        if not plane.any():
            maps.decay()
            continue
        if not plan.mean_w[channel].any():
            _leave_out(plane, channel, plan, maps, values[channel], int(steps[channel]))
        model_plane(plane, channel, plan, maps)
    return encode(plan, symbols)


def _leave_out(
    plane: NDArray[np.int16],
    channel: int,
    plan: Plan,
    maps: contexts.Maps,
    values: NDArray[np.int32],
    step16: int,
) -> None:
    """Set ones of a plane without prediction to zero, in the order of coding, where they cost too much.

    `values` are 4096 * magnitude in int8 steps, 256 * 16 being the units of `dead` and of `step16`.
    """
    ctx_w = plan.ctx_w[channel]
    entries = plan.table_of[channel].tolist()
    base = maps.base(ctx_w)
    for y in range(plane.shape[0]):
        rows = slice(max(y - 1, 0), y + 1)
        magnitudes = contexts.magnitude(plane[rows].astype(np.int32))
        magnitudes[-1] = 0
        known = (contexts.activity(base[rows], magnitudes, ctx_w)[-1] << 4).tolist()
        row, sizes, magnitude = plane[y].tolist(), values[y].tolist(), 0
        for x, symbol in enumerate(row):
            activity = known[x] + 16 * int(ctx_w[0]) * magnitude >> 4
            entry = entries[contexts.BUCKETS[min(activity, contexts.LAST_ACTIVITY)]]
            if abs(symbol) == 1 and sizes[x] < (128 + plan.dead[entry]) * step16:
                row[x] = symbol = 0
            magnitude = min(abs(symbol), MAX_SYMBOL)
        plane[y] = row


def _plane_pairs(
    pairs: list[tuple[int, int]], plan: Plan, residual: NDArray[np.int32], entry: NDArray[np.int32]
) -> None:
    radius = plan.radius[entry]
    escaped = np.abs(residual) > radius
    index = plan.offset[entry] + np.where(escaped, 2 * radius + 1, residual + radius)
    coded = list(zip(plan.start[index].tolist(), plan.freq[index].tolist(), strict=True))
    begin = 0
    for position in np.flatnonzero(escaped).tolist():
        pairs += coded[begin : position + 1]
        begin = position + 1
        value = int(residual[position])
        number = abs(value) - int(radius[position])  # Exp-Golomb codes the excess plus one
        bits = "0" * (number.bit_length() - 1) + f"{number:b}" + ("1" if value < 0 else "0")
        pairs += [(RAW_FREQ if bit == "1" else 0, RAW_FREQ) for bit in bits]
    pairs += coded[begin:]


def _rans_encode(pairs: list[tuple[int, int]]) -> bytes:
    state = STATE_START
    words = []
    for start, freq in reversed(pairs):
        if state >= freq << 18:
            words.append(state & 0xFFFF)
            state >>= 16
        state = (state // freq << PROB_BITS) + start + state % freq
    words.reverse()
    return state.to_bytes(4, "little") + np.array(words, "<u2").tobytes()


class _Decoder:
    """The state of a rANS decoder."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 4 or len(data) % 2:
            raise CorruptStreamError("the compressed data has an impossible length")
        self.state = int.from_bytes(data[:4], "little")
        self.words = iter(np.frombuffer(data, "<u2", offset=4).tolist())

    def advance(self, start: int, freq: int) -> None:
        state = freq * (self.state >> PROB_BITS) + (self.state & (PROB_SCALE - 1)) - start
        if state < STATE_START:
            word = next(self.words, None)
            if word is None:
                raise CorruptStreamError("the compressed data ends too early")
            state = state << 16 | word
        self.state = state

    def bit(self, one: int) -> int:
        """A binary decision whose 1 has the frequency `one` at the low end of the range."""
        bit = int(self.state & (PROB_SCALE - 1) < one)
        self.advance(0 if bit else one, one if bit else PROB_SCALE - one)
        return bit

    def raw(self) -> int:
        """A bit of probability 1/2: 0 has the low half of the range."""
        return 1 - self.bit(RAW_FREQ)

    def escape(self, radius: int) -> int:
        """The residual after an escape symbol: excess over `radius`, then the sign."""
        zeros = 0
        while not self.raw():
            zeros += 1
            if zeros > MAX_PREFIX:
                raise CorruptStreamError("the compressed data holds an impossible number")
        number = 1
        for _ in range(zeros):
            number = number << 1 | self.raw()
        value = radius + number
        return -value if self.raw() else value

    def finish(self) -> None:
        if self.state != STATE_START or next(self.words, None) is not None:
            raise CorruptStreamError("the compressed data does not end where it should")


def decode(plan: Plan, data: bytes, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """The symbols int16[C,H,W] of a stream; raises `CorruptStreamError`."""
    decoder = _Decoder(data)
    symbols = np.zeros(shape, np.int16)
    flags = FlagModel()
    maps = contexts.Maps(shape[1:])
    for channel in plan.order:
        flag = decoder.bit(flags.one)
        flags.update(flag)
        if flag:
            _decode_plane(decoder, plan, channel, symbols[channel], maps)
        else:
            maps.decay()
    decoder.finish()
    return symbols


def _decode_plane(
    decoder: _Decoder, plan: Plan, channel: int, plane: NDArray[np.int16], maps: contexts.Maps
) -> None:
    """Decode one plane into `plane` (int16[H,W], zero) row by row and update `maps`."""
    weights = plan.mean_w[channel].tolist()
    ctx_w = plan.ctx_w[channel]
    entries = plan.table_of[channel].tolist()
    base = maps.base(ctx_w)
    magnitudes = np.zeros(plane.shape, np.int32)
    for y in range(plane.shape[0]):
        # What is known of the row before its first symbol: the rows above, and zeros in the row itself.
        rows = slice(max(y - 1, 0), y + 1)
        known = (contexts.activity(base[rows], magnitudes[rows], ctx_w)[-1] << 4).tolist()
        _, top, top_left, top_right = (part[-1] for part in contexts.causal(plane[rows]))
        if y:
            above = (weights[1] * top + weights[2] * top_left + weights[3] * top_right + 32).tolist()
            left_w, left = weights[0], int(top[0])
        else:
            above = [32] * plane.shape[1]
            left_w, left = sum(weights), 0
        plane[y], magnitudes[y] = _decode_row(
            decoder, plan, entries, known, above, left_w, left, int(ctx_w[0])
        )
    maps.update(magnitudes)


def _decode_row(
    decoder: _Decoder,
    plan: Plan,
    entries: list[int],
    known: list[int],
    above: list[int],
    left_w: int,
    left: int,
    straight_w: int,
) -> tuple[list[int], list[int]]:
    """The symbols and magnitudes of one row; `known` and `above` are its activity and prediction without `left`."""
    row, magnitudes = [], []
    magnitude = 0
    for base, rest in zip(known, above, strict=True):
        activity = base + 16 * straight_w * magnitude >> 4
        entry = entries[contexts.BUCKETS[min(activity, contexts.LAST_ACTIVITY)]]
        starts, radius = plan.starts[entry], plan.radii[entry]
        index = bisect_right(starts, decoder.state & (PROB_SCALE - 1)) - 1
        decoder.advance(starts[index], plan.freqs[entry][index])
        residual = index - radius if index <= 2 * radius else decoder.escape(radius)
        left = min(max(left_w * left + rest >> 6, -MAX_SYMBOL), MAX_SYMBOL) + residual
        if not -MAX_SYMBOL <= left <= MAX_SYMBOL:
            raise CorruptStreamError("the compressed data holds a symbol out of range")
        magnitude = min(abs(residual), MAX_SYMBOL)
        row.append(left)
        magnitudes.append(magnitude)
    return row, magnitudes


def quantize(
    latent: NDArray[np.int8], zero_point: int, steps: NDArray[np.uint16], round256: int
) -> NDArray[np.int16]:
    """Symbols int16[C,H,W] of a latent int8[H,W,C] on steps of steps/16 int8 steps, uint16[C]."""
    values = latent.transpose(2, 0, 1).astype(np.int64) - zero_point
    step16 = steps.astype(np.int64)[:, None, None]
    size = (np.abs(values) * (16 * 256) + round256 * step16) // (256 * step16)
    return np.copysign(size, values).astype(np.int16)


def dequantize(
    symbols: NDArray[np.int16], zero_point: int, steps: NDArray[np.uint16], recon: NDArray[np.int8]
) -> NDArray[np.int8]:
    """The latent int8[H,W,C] of symbols int16[C,H,W]; `recon` is int8[C,2] of the table set."""
    size = np.minimum(np.abs(symbols.astype(np.int64)), MAX_SYMBOL)
    shift = np.where(size == 1, recon[:, 0, None, None], recon[:, 1, None, None]).astype(np.int64)
    step16 = steps.astype(np.int64)[:, None, None]
    value = np.maximum(((size * 128 - shift) * step16 + 1024) >> 11, 0) * np.sign(symbols)
    return np.ascontiguousarray(np.clip(value + zero_point, -128, 127).astype(np.int8).transpose(1, 2, 0))
