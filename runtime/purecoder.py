"""The entropy coder in Python and numpy: used where the C extension is missing; same bytes, hundreds of times slower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import contexts, masking
from .errors import CorruptStreamError
from .rans import RAW_FREQ, RansDecoder, Unit, rans_encode
from .tables import MAX_SYMBOL, PASSES, PROB_SCALE, EntropyTables


class Plan:
    """What encoding and decoding with one table set need, prepared once."""

    def __init__(self, tables: EntropyTables, table_set: int) -> None:
        self.order: list[int] = tables.order[table_set].tolist()
        self.mean_w = tables.mean_w[table_set]
        self.ctx_w = tables.ctx_w[table_set]
        self.predicted: list[bool] = self.mean_w.any(axis=1).tolist()
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
    entry = _entries(magnitudes, channel, plan, maps)
    maps.update(magnitudes)
    return PlaneModel(residual, entry)


def _entries(
    magnitudes: NDArray[np.int32], channel: int, plan: Plan, maps: contexts.Maps
) -> NDArray[np.int32]:
    """The bank entry of each position, int32[..., H, W]."""
    weights, predicted = plan.ctx_w[channel], plan.predicted[channel]
    known = maps.known(weights, predicted)
    context = contexts.bucket(contexts.activity(known, magnitudes, weights, predicted))
    return plan.table_of[channel][context].astype(np.int32)


def encode(plan: Plan, symbols: NDArray[np.int16]) -> bytes:
    """The stream of symbols int16[C,H,W]."""
    units: list[Unit] = []  # in decoding order
    flags = FlagModel()
    maps = contexts.Maps(symbols.shape[1:])
    step = contexts.pass_of(*symbols.shape[1:])
    for channel in plan.order:
        plane = symbols[channel]
        flag = int(plane.any())
        one = flags.one
        units.append((0, one, 0) if flag else (one, PROB_SCALE - one, 0))
        flags.update(flag)
        if not flag:
            maps.decay()
            continue
        model = model_plane(plane, channel, plan, maps)
        if plan.predicted[channel]:
            order = contexts.wave(*plane.shape)
            _add_predicted(units, plan, model.residual.ravel()[order], model.entry.ravel()[order])
            continue
        first = 0
        for number in range(PASSES):
            chosen = step == number
            _add_pass(units, plan, model.residual[chosen], model.entry[chosen], first)
            first += int(chosen.sum())
    return rans_encode(units)


def encode_latent(
    plan: Plan,
    latent: NDArray[np.int8],
    zero_point: int,
    steps: NDArray[np.uint16],
    round256: int,
    weights: NDArray[np.int16],
) -> bytes:
    """The stream of a latent int8[H,W,C] without the ones that cost too much (see `coder.encode_latent`)."""
    symbols = quantize(latent, zero_point, steps, round256)
    # In 1/65536 of an int8 step, 256 * 16 * 16 being the units of `dead`, of the masking and of the steps.
    values = np.abs(latent.transpose(2, 0, 1).astype(np.int32) - zero_point) << 16
    hidden = masking.masking(latent, zero_point, weights)
    dead = np.array(plan.dead, np.int32)
    maps = contexts.Maps(symbols.shape[1:])
    step = contexts.pass_of(*symbols.shape[1:])
    for channel in plan.order:
        plane = symbols[channel]
        if not plan.predicted[channel]:
            for number in range(PASSES if plane.any() else 0):
                entry = _entries(contexts.magnitude(plane.astype(np.int32)), channel, plan, maps)
                dear = values[channel] < (128 * masking.NEUTRAL + dead[entry] * hidden) * int(steps[channel])
                plane[(step == number) & (np.abs(plane) == 1) & dear] = 0
        if plane.any():
            model_plane(plane, channel, plan, maps)
        else:
            maps.decay()
    return encode(plan, symbols)


def _coded(
    plan: Plan, residual: NDArray[np.int32], entry: NDArray[np.int32]
) -> tuple[list[int], list[int], list[int]]:
    """Starts and frequencies of residuals or escapes, and which of them are escapes."""
    radius = plan.radius[entry]
    escaped = np.abs(residual) > radius
    index = plan.offset[entry] + np.where(escaped, 2 * radius + 1, residual + radius)
    return plan.start[index].tolist(), plan.freq[index].tolist(), np.flatnonzero(escaped).tolist()


def _escape_units(residual: int, radius: int) -> list[Unit]:
    """What follows an escape: the Exp-Golomb code of the excess over the radius, and the sign, all by the first state."""
    number = abs(residual) - radius
    bits = "0" * (number.bit_length() - 1) + f"{number:b}" + ("1" if residual < 0 else "0")
    return [(RAW_FREQ if bit == "1" else 0, RAW_FREQ, 0) for bit in bits]


def _add_pass(
    units: list[Unit], plan: Plan, residual: NDArray[np.int32], entry: NDArray[np.int32], first: int
) -> None:
    """The symbols of a pass, of which the first is number `first` of the plane, then what follows their escapes."""
    starts, freqs, escapes = _coded(plan, residual, entry)
    units += zip(starts, freqs, range(first, first + len(starts)), strict=True)
    for k in escapes:
        units += _escape_units(int(residual[k]), plan.radii[int(entry[k])])


def _add_predicted(
    units: list[Unit], plan: Plan, residual: NDArray[np.int32], entry: NDArray[np.int32]
) -> None:
    """The symbols of a plane with a prediction, in the order of coding, each followed by what its escape needs."""
    starts, freqs, escapes = _coded(plan, residual, entry)
    coded = list(zip(starts, freqs, range(len(starts)), strict=True))
    begin = 0
    for k in escapes:
        units += coded[begin : k + 1]
        begin = k + 1
        units += _escape_units(int(residual[k]), plan.radii[int(entry[k])])
    units += coded[begin:]


def decode(plan: Plan, data: bytes, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """The symbols int16[C,H,W] of a stream; raises `CorruptStreamError`."""
    decoder = RansDecoder(data)
    symbols = np.zeros(shape, np.int16)
    flags = FlagModel()
    maps = contexts.Maps(shape[1:])
    for channel in plan.order:
        flag = decoder.bit(flags.one)
        flags.update(flag)
        if not flag:
            maps.decay()
        elif plan.predicted[channel]:
            _decode_predicted(decoder, plan, channel, symbols[channel], maps)
        else:
            _decode_passes(decoder, plan, channel, symbols[channel], maps)
    decoder.finish()
    return symbols


def _residual(decoder: RansDecoder, plan: Plan, entry: int, number: int) -> int | None:
    """The residual under a bank entry, of symbol `number` of the plane; None for an escape."""
    index = decoder.symbol(plan.starts[entry], plan.freqs[entry], number)
    return index - plan.radii[entry] if index <= 2 * plan.radii[entry] else None


def _decode_passes(
    decoder: RansDecoder, plan: Plan, channel: int, plane: NDArray[np.int16], maps: contexts.Maps
) -> None:
    """Decode one plane without a prediction into `plane` (int16[H,W], zero) and update `maps`."""
    step = contexts.pass_of(*plane.shape)
    magnitudes = np.zeros(plane.shape, np.int32)
    first = 0
    for number in range(PASSES):
        chosen = step == number
        entries = _entries(magnitudes, channel, plan, maps)[chosen].tolist()
        found = [_residual(decoder, plan, entry, k) for k, entry in enumerate(entries, first)]
        values = [
            decoder.escape(plan.radii[entry]) if residual is None else residual
            for residual, entry in zip(found, entries, strict=True)
        ]
        if any(abs(value) > MAX_SYMBOL for value in values):
            raise CorruptStreamError("the compressed data holds a symbol out of range")
        plane[chosen] = values
        magnitudes[chosen] = np.abs(plane[chosen])
        first += len(entries)
    maps.update(magnitudes)


def _decode_predicted(
    decoder: RansDecoder, plan: Plan, channel: int, plane: NDArray[np.int16], maps: contexts.Maps
) -> None:
    """The same for a plane with a prediction, in waves."""
    height, width = plane.shape
    weights = plan.mean_w[channel].tolist()
    straight_w, diagonal_w = (16 * int(w) for w in plan.ctx_w[channel, 0, :2])
    entries = plan.table_of[channel].tolist()
    known = maps.known(plan.ctx_w[channel], True).tolist()
    # A row above, and a column on either side, of zeros; magnitudes outside count as such.
    symbols = [[0] * (width + 2) for _ in range(height + 1)]
    magnitudes = [[0] * (width + 2) for _ in range(height + 1)]
    for number, position in enumerate(contexts.wave(height, width).tolist()):
        y, x = divmod(position, width)
        above, row, i = magnitudes[y], magnitudes[y + 1], x + 1
        straight, diagonal = row[i - 1] + above[i], above[i - 1] + above[i + 1]
        activity = known[y][x] + straight_w * straight + diagonal_w * diagonal >> 4
        entry = entries[contexts.BUCKETS[min(activity, contexts.LAST_ACTIVITY)]]
        residual = _residual(decoder, plan, entry, number)
        if residual is None:
            residual = decoder.escape(plan.radii[entry])
        seen = _causal(symbols[y], symbols[y + 1], x, y, width)
        total = sum(w * symbol for w, symbol in zip(weights, seen, strict=True)) + 32 >> 6
        symbol = min(max(total, -MAX_SYMBOL), MAX_SYMBOL) + residual
        if not -MAX_SYMBOL <= symbol <= MAX_SYMBOL:
            raise CorruptStreamError("the compressed data holds a symbol out of range")
        symbols[y + 1][i] = symbol
        row[i] = min(abs(residual), MAX_SYMBOL)
    plane[:] = np.array(symbols)[1:, 1:-1]
    maps.update(np.array(magnitudes, np.int32)[1:, 1:-1])


def _causal(above: list[int], row: list[int], x: int, y: int, width: int) -> tuple[int, int, int, int]:
    """As `contexts.causal`, for column x of row y; the rows have a zero before their first symbol."""
    if not y:
        return (row[x],) * 4
    top = above[x + 1]
    if not x:
        return top, top, top, above[x + 2] if width > 1 else top
    return row[x], top, above[x], above[x + 2] if x + 1 < width else top


def quantize(
    latent: NDArray[np.int8], zero_point: int, steps: NDArray[np.uint16], round256: int
) -> NDArray[np.int16]:
    """Symbols int16[C,H,W] of a latent int8[H,W,C] on steps of steps/16 int8 steps, uint16[C]."""
    values = latent.transpose(2, 0, 1).astype(np.int64) - zero_point
    inverse = -(-(1 << 20) // steps.astype(np.int64))[
        :, None, None
    ]  # rounded up, so that whole steps stay whole
    size = (np.abs(values) * inverse + (round256 << 8)) >> 16
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
