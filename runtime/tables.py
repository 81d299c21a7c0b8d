"""The integer tables of the entropy model: everything encoder and decoder must agree on, in plain arrays.

The tables are learned (`edgepress.optimize.fit_tables`) and stored in the codec package as `entropy.bin`: the arrays
of `EntropyTables`, in the order of its fields, little-endian, one after the other. They hold integers only, so
that symbols are recovered exactly on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .errors import BadPackageError, EdgepressError

QUALITIES = 100
CONTEXTS = 24
PROB_BITS = 14
PROB_SCALE = 1 << PROB_BITS
MAX_SYMBOL = 255  # largest |symbol| of a stream
MAX_CHANNELS = 4096
MAX_BANK = 255
MAX_RADIUS = 127
PASSES = 3


@dataclass(frozen=True, eq=False)
class EntropyTables:
    """Steps, predictors, contexts and probabilities for K table sets, C latent channels and a bank of M tables.

    Compared and hashed by identity; the arrays are read-only copies. Every array is checked on construction:
    `BadPackageError` names the first one that is not usable.

    Attributes:
        step16: uint16[100], latent step of each quality in 1/16 of a unit, at least 1.
        gain: uint16[C], that unit in 1/256 of an int8 step of each channel, at least 1 (see `steps`).
        round256: uint16[100], rounding offset of the quantizer in 1/256 of a step, 0..255 (128: nearest).
        set_of: uint8[100], the table set (0..K-1) of each quality.
        recon: int8[K,C,2], shift of the reconstruction toward zero in 1/128 of a step, for |s| = 1 and |s| > 1.
        order: uint16[K,C], the permutation in which channel planes are coded.
        mean_w: int8[K,C,4], weights (1/64) of the left, top, top-left and top-right symbols in the prediction.
        ctx_w: uint8[K,C,3,6], weights of the activity features in each pass (see contexts.py); only the first six of a channel
            with a prediction are used, and the weights of neighbours that a pass does not know are not.
        table_of: uint8[K,C,24], the bank entry that codes each context.
        bank_radius: uint8[M], R of each bank entry, at most 127: residuals -R..R are coded directly, others escape.
        bank_dead: uint8[M], how far beyond half a step, in 1/256 of it, a value must lie for the encoder to make it 1 or -1
            instead of 0 where this entry codes it: the price of its bits. For channels without a prediction.
        bank_freq: uint16[sum(2R+2)], frequencies of -R..R and of the escape of each entry; each entry sums to 2**14.
        refine_w: uint8[K,C,4], how far a dequantized value moves toward its neighbours (see refine.py), in 1/128: weights of
            straight and diagonal ones where all channels without a prediction are zero, and the same where one is not.
    """

    step16: NDArray[np.uint16]
    gain: NDArray[np.uint16]
    round256: NDArray[np.uint16]
    set_of: NDArray[np.uint8]
    recon: NDArray[np.int8]
    order: NDArray[np.uint16]
    mean_w: NDArray[np.int8]
    ctx_w: NDArray[np.uint8]
    table_of: NDArray[np.uint8]
    bank_radius: NDArray[np.uint8]
    bank_dead: NDArray[np.uint8]
    bank_freq: NDArray[np.uint16]
    refine_w: NDArray[np.uint8]

    def __post_init__(self) -> None:
        sets, channels = np.shape(self.order) if np.ndim(self.order) == 2 else (0, 0)
        bank, values = np.size(self.bank_radius), np.size(self.bank_freq)
        _check_sizes(sets, channels, bank, values)
        for name, (dtype, shape) in _layout(sets, channels, bank, values).items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
                found = (
                    f"{array.dtype}{list(array.shape)}"
                    if isinstance(array, np.ndarray)
                    else type(array).__name__
                )
                raise BadPackageError(
                    f"entropy table {name} must be {np.dtype(dtype).name}{list(shape)}, not {found}"
                )
            # A private native-endian copy: nobody can change the tables behind the coder's cached plans.
            copy: np.ndarray = np.array(array, dtype=dtype, order="C")
            copy.setflags(write=False)
            object.__setattr__(self, name, copy)
        self._check_values()

    def _check_values(self) -> None:
        _require(self.step16.min() >= 1, "step16", "has a step of 0")
        _require(self.gain.min() >= 1, "gain", "has a gain of 0")
        _require(self.round256.max() <= 255, "round256", "has an offset above 255")
        _require(self.set_of.max() < self.sets, "set_of", "names a table set that does not exist")
        identity = np.arange(self.channels)
        _require(bool((np.sort(self.order, axis=1) == identity).all()), "order", "is not a permutation")
        _require(self.table_of.max() < self.bank, "table_of", "names a bank entry that does not exist")
        _require(self.bank_radius.max() <= MAX_RADIUS, "bank_radius", f"has a radius above {MAX_RADIUS}")
        sizes = 2 * self.bank_radius.astype(np.int64) + 2
        _require(int(sizes.sum()) == self.bank_freq.size, "bank_freq", "does not fit bank_radius")
        _require(self.bank_freq.min() >= 1, "bank_freq", "has a frequency of 0")
        sums = np.add.reduceat(self.bank_freq.astype(np.int64), self.bank_offset)
        _require(
            bool((sums == PROB_SCALE).all()), "bank_freq", f"has an entry that does not sum to {PROB_SCALE}"
        )

    @property
    def sets(self) -> int:
        """K, the number of table sets."""
        return self.order.shape[0]

    @property
    def channels(self) -> int:
        """C, the number of latent channels."""
        return self.order.shape[1]

    @property
    def bank(self) -> int:
        """M, the number of probability tables in the bank."""
        return self.bank_radius.size

    @property
    def bank_offset(self) -> NDArray[np.int64]:
        """int64[M]: where each bank entry starts in `bank_freq`."""
        sizes = 2 * self.bank_radius.astype(np.int64) + 2
        return np.cumsum(sizes) - sizes

    @cached_property
    def alone(self) -> NDArray[np.bool_]:
        """bool[K,C]: the channels without a prediction."""
        return np.asarray(~self.mean_w.any(axis=2))

    @cached_property
    def refines(self) -> NDArray[np.bool_]:
        """bool[100]: the qualities at which any channel is refined."""
        return np.asarray(self.refine_w.any(axis=(1, 2)))[self.set_of]

    def steps(self, quality: int) -> NDArray[np.uint16]:
        """uint16[C]: the quantization step of each channel in 1/16 of its int8 step, at least 16.

        Raises: EdgepressError unless quality is an integer from 1 to 100.
        """
        return channel_steps(int(self.step16[check_quality(quality) - 1]), self.gain)

    def set_for(self, quality: int) -> int:
        """The table set of a quality; raises `EdgepressError` unless quality is an integer from 1 to 100."""
        return int(self.set_of[check_quality(quality) - 1])

    def to_bytes(self) -> bytes:
        """The arrays as stored in a package's entropy.bin."""
        arrays = (getattr(self, field.name) for field in fields(self))
        return b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)

    @classmethod
    def from_bytes(
        cls, data: bytes, sets: int, channels: int, bank: int, bank_values: int, refined: bool = True
    ) -> EntropyTables:
        """Read what `to_bytes` wrote.

        Args:
            data: the content of entropy.bin.
            sets, channels, bank, bank_values: K, C, M and the length of `bank_freq`, from the manifest.
            refined: whether there is a `refine_w`, which packages up to format 4 have not; then it is all zeros.

        Raises:
            BadPackageError: sizes that are out of range or do not match `data`, or values that cannot be used.
        """
        _check_sizes(sets, channels, bank, bank_values)
        layout = _layout(sets, channels, bank, bank_values)
        unread = {} if refined else {"refine_w": np.zeros(layout.pop("refine_w")[1], np.uint8)}
        expected = sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in layout.values())
        if len(data) != expected:
            raise BadPackageError(
                f"the entropy tables have {len(data)} bytes, but the manifest says {expected}"
            )
        arrays: dict[str, np.ndarray] = dict(unread)
        offset = 0
        for name, (dtype, shape) in layout.items():
            stored = np.dtype(dtype).newbyteorder("<")
            count = int(np.prod(shape))
            array = np.frombuffer(data, stored, count, offset).reshape(shape)
            arrays[name] = array.astype(dtype)
            offset += count * stored.itemsize
        return cls(**arrays)


def channel_steps(step16: int, gain: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """uint16[C]: a step of step16/16 units in 1/16 of each channel's int8 step, at least 16.

    Channels fill int8 as far as each can, so that one unit is gain / 256 of the int8 steps of a channel. Steps under 8 int8
    steps are rounded to whole ones: latents are whole, so a step of 1.5 would have cells of one and of two values, and three
    times the error that its rate should cost.
    """
    step = (step16 * gain.astype(np.int64) + 128) >> 8
    whole = np.maximum((step + 8) >> 4, 1) << 4
    return np.where(step < 8 * 16, whole, np.minimum(step, 0xFFFF)).astype(np.uint16)


def check_quality(quality: int) -> int:
    """Return `quality` as an int; raises `EdgepressError` unless it is an integer from 1 to 100."""
    if (
        isinstance(quality, bool)
        or not isinstance(quality, (int, np.integer))
        or not 1 <= quality <= QUALITIES
    ):
        raise EdgepressError(f"quality must be an integer from 1 to {QUALITIES}, not {quality!r}")
    return int(quality)


def _layout(sets: int, channels: int, bank: int, values: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    return {
        "step16": (np.uint16, (QUALITIES,)),
        "gain": (np.uint16, (channels,)),
        "round256": (np.uint16, (QUALITIES,)),
        "set_of": (np.uint8, (QUALITIES,)),
        "recon": (np.int8, (sets, channels, 2)),
        "order": (np.uint16, (sets, channels)),
        "mean_w": (np.int8, (sets, channels, 4)),
        "ctx_w": (np.uint8, (sets, channels, PASSES, 6)),
        "table_of": (np.uint8, (sets, channels, CONTEXTS)),
        "bank_radius": (np.uint8, (bank,)),
        "bank_dead": (np.uint8, (bank,)),
        "bank_freq": (np.uint16, (values,)),
        "refine_w": (np.uint8, (sets, channels, 4)),
    }


def _check_sizes(sets: int, channels: int, bank: int, values: int) -> None:
    limits = {
        "table sets": (sets, QUALITIES),
        "latent channels": (channels, MAX_CHANNELS),
        "bank entries": (bank, MAX_BANK),
        "bank values": (values, MAX_BANK * (2 * MAX_RADIUS + 2)),
    }
    for what, (value, limit) in limits.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= limit:
            raise BadPackageError(f"the number of {what} must be an integer from 1 to {limit}, not {value!r}")


def _require(condition: bool | np.bool_, name: str, complaint: str) -> None:
    if not condition:
        raise BadPackageError(f"entropy table {name} {complaint}")
