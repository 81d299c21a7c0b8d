"""Latents to bytes and back: the entropy coder behind one API, in C where the extension was built.

`BACKEND` says which implementation runs ("native" or "python"); both read and write the very same bytes. The
environment variable EDGEPRESS_CODER forces one of them.
"""

from __future__ import annotations

import os
import warnings
import weakref
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import masking
from .errors import CorruptStreamError, EdgepressError
from .refine import refine
from .tables import MAX_SYMBOL, EntropyTables, check_quality


def _load_native() -> ModuleType | None:
    forced = os.environ.get("EDGEPRESS_CODER", "")
    if forced not in ("", "native", "python"):
        raise EdgepressError(f"EDGEPRESS_CODER must be native or python, not {forced!r}")
    if forced == "python":
        return None
    try:
        from . import _coder
    except ImportError:
        if forced == "native":
            raise EdgepressError(
                "EDGEPRESS_CODER=native, but the C coder was not built: reinstall edgepress"
            ) from None
        warnings.warn(
            "edgepress was installed without its C coder; the Python one takes 250 times as long to encode and 200 to decode "
            "(0.3 s each for a 512x512 photograph): install a C compiler and reinstall edgepress",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return _coder


native: Any = _load_native()
BACKEND = "python" if native is None else "native"
if native is None:
    from . import purecoder  # 10 ms at every start, which the C coder does without


# By tables, and dropped with them: plans by set; for the C coder grades, which is the rest, by quality and zero point.
_plans: weakref.WeakKeyDictionary[EntropyTables, dict[int, Any]] = weakref.WeakKeyDictionary()
_grades: weakref.WeakKeyDictionary[EntropyTables, dict[tuple[int, int], Any]] = weakref.WeakKeyDictionary()
_MAX_GRADES = 16  # of 50 kB for the default package


def _grade(tables: EntropyTables, quality: int, zero_point: int) -> Any:
    """What the C coder wants to know, made when it is first needed."""
    grades = _grades.get(tables)
    if grades is None:
        grades = _grades.setdefault(tables, {})
    # The type is part of the check: True would be found as 1.
    found = grades.get((quality, zero_point)) if type(quality) is int else None
    if found is None:
        quality = check_quality(quality)
        found = native.prepare_grade(
            _plan(tables, quality),
            tables.steps(quality).tobytes(),
            _recon(tables, quality).tobytes(),
            zero_point,
            _round256(tables, quality),
            masking.weights(tables, quality).tobytes(),
        )
        for old in list(grades)[: len(grades) + 1 - _MAX_GRADES]:
            grades.pop(old, None)
        grades[quality, zero_point] = found
    return found


def _recon(tables: EntropyTables, quality: int) -> NDArray[np.int8]:
    return tables.recon[tables.set_for(quality)]


def _round256(tables: EntropyTables, quality: int) -> int:
    return int(tables.round256[quality - 1])


def _plan(tables: EntropyTables, quality: int) -> Any:
    table_set = tables.set_for(check_quality(quality))
    plans = _plans.setdefault(tables, {})
    if table_set not in plans:
        if native is None:
            plans[table_set] = purecoder.Plan(tables, table_set)
        else:
            arrays = (tables.order, tables.mean_w, tables.ctx_w, tables.table_of)
            plans[table_set] = native.prepare(
                *(array[table_set].tobytes() for array in arrays),
                tables.bank_radius.tobytes(),
                tables.bank_dead.tobytes(),
                tables.bank_freq.tobytes(),
            )
    return plans[table_set]


def encode_symbols(symbols: NDArray[np.int16], tables: EntropyTables, quality: int) -> bytes:
    """Code symbols without loss.

    Args:
        symbols: int16[C,H,W] with |s| <= 255.
        tables: the entropy tables of the package.
        quality: 1..100, selects the table set.

    Raises:
        EdgepressError: symbols of another shape, dtype or range.
    """
    _check_array("symbols", symbols, np.int16)
    _check_shape(symbols.shape, tables)
    if symbols.min() < -MAX_SYMBOL or symbols.max() > MAX_SYMBOL:
        raise EdgepressError(f"symbols must be in -{MAX_SYMBOL}..{MAX_SYMBOL}")
    plan = _plan(tables, quality)
    if native is None:
        return purecoder.encode(plan, symbols)
    _, height, width = symbols.shape
    # The C coder reads contiguous arrays where they lie.
    return _encoded(native.encode, plan, np.ascontiguousarray(symbols), height, width)


def encode_latent(latent: NDArray[np.int8], zero_point: int, tables: EntropyTables, quality: int) -> bytes:
    """The stream of a latent int8[H,W,C] at a quality of 1..100: `quantize` and `encode_symbols` in one, and better.

    A value that rounds to 1 or -1 becomes 0 where the bits of a 1 would cost more than they are worth, in the manner of
    rate-distortion optimized quantization (Karczewicz et al. 2008), the less they are worth the more goes on around it
    (`masking`). Raises as `quantize`.
    """
    _check_array("latent", latent, np.int8)
    height, width, channels = latent.shape
    _check_shape((channels, height, width), tables)
    _check_zero_point(zero_point)
    if native is None:
        steps = tables.steps(check_quality(quality))
        return purecoder.encode_latent(
            _plan(tables, quality),
            latent,
            zero_point,
            steps,
            _round256(tables, quality),
            masking.weights(tables, quality),
        )
    grade = _grade(tables, quality, zero_point)
    return _encoded(native.encode_latent, grade, np.ascontiguousarray(latent), height, width)


def _encoded(encode: Any, prepared: Any, values: NDArray, height: int, width: int) -> bytes:
    try:
        return encode(prepared, values, height, width)
    except ValueError as error:  # more than fits into the address space of a 32-bit processor
        raise EdgepressError(str(error)) from None


def decode_symbols(
    data: bytes, shape: tuple[int, int, int], tables: EntropyTables, quality: int
) -> NDArray[np.int16]:
    """The symbols int16[C,H,W] of a stream that `encode_symbols` wrote; `shape` is (C, H, W).

    Raises:
        CorruptStreamError: the stream is damaged or belongs to other tables or another shape.
        EdgepressError: a shape that does not fit the tables.
    """
    _check_shape(shape, tables)
    plan = _plan(tables, quality)
    if native is None:
        return purecoder.decode(plan, bytes(data), shape)
    try:
        symbols = native.decode(plan, bytes(data), shape[1], shape[2])
    except ValueError as error:
        raise CorruptStreamError(str(error)) from None
    return np.frombuffer(symbols, np.int16).reshape(shape)


def decode_latent(
    data: bytes,
    shape: tuple[int, int, int],
    zero_point: int,
    tables: EntropyTables,
    quality: int,
    into: NDArray[np.int8] | None = None,
) -> NDArray[np.int8]:
    """`decode_symbols` and `dequantize` in one: the decoder network's input int8[H,W,C]; `shape` is (C, H, W).

    Args:
        data, shape, zero_point, tables, quality: as for those two.
        into: an array int8[H,W,C] to be written and returned, contiguous; nothing sensible is in it after an error.

    Raises as those two, and EdgepressError for an `into` that cannot be written.
    """
    _check_shape(shape, tables)
    channels, height, width = shape
    if into is None:
        into = np.empty((height, width, channels), np.int8)
    elif into.dtype != np.int8 or into.shape != (height, width, channels) or not into.flags.carray:
        raise EdgepressError(f"the latent cannot be written into {into.dtype}{list(into.shape)}")
    if native is None:
        into[...] = dequantize(decode_symbols(data, shape, tables, quality), zero_point, tables, quality)
        return into  # refined already
    _check_zero_point(zero_point)
    grade = _grade(tables, quality, zero_point)
    try:
        native.decode_latent(grade, bytes(data), into, height, width)
    except ValueError as error:
        raise CorruptStreamError(str(error)) from None
    _refine(into, zero_point, tables, quality)
    return into


def quantize(
    latent: NDArray[np.int8], zero_point: int, tables: EntropyTables, quality: int
) -> NDArray[np.int16]:
    """Symbols int16[C,H,W] of a latent int8[H,W,C] at a quality of 1..100.

    Raises:
        EdgepressError: a latent of another shape or dtype, or a zero point outside -128..127.
    """
    _check_array("latent", latent, np.int8)
    height, width, channels = latent.shape
    _check_shape((channels, height, width), tables)
    _check_zero_point(zero_point)
    steps = tables.steps(check_quality(quality))
    round256 = _round256(tables, quality)
    if native is None:
        return purecoder.quantize(latent, zero_point, steps, round256)
    symbols = native.quantize(np.ascontiguousarray(latent), steps, zero_point, round256)
    return np.frombuffer(symbols, np.int16).reshape(channels, height, width)


def dequantize(
    symbols: NDArray[np.int16], zero_point: int, tables: EntropyTables, quality: int
) -> NDArray[np.int8]:
    """The latent int8[H,W,C] that the decoder network gets for symbols int16[C,H,W] at a quality of 1..100.

    Raises:
        EdgepressError: symbols of another shape or dtype, or a zero point outside -128..127.
    """
    _check_array("symbols", symbols, np.int16)
    _check_shape(symbols.shape, tables)
    _check_zero_point(zero_point)
    steps, recon = tables.steps(check_quality(quality)), _recon(tables, quality)
    if native is None:
        latent = purecoder.dequantize(symbols, zero_point, steps, recon)
    else:
        channels, height, width = symbols.shape
        values = native.dequantize(np.ascontiguousarray(symbols), recon, steps, zero_point)
        latent = np.frombuffer(values, np.int8).reshape(height, width, channels)
    _refine(latent, zero_point, tables, quality)
    return latent


def _refine(latent: NDArray[np.int8], zero_point: int, tables: EntropyTables, quality: int) -> None:
    """What is dequantized, refined in place (see refine.py)."""
    if not tables.refines[quality - 1]:
        return
    table_set = tables.set_for(quality)
    given = zero_point, tables.steps(quality), tables.refine_w[table_set], tables.alone[table_set]
    if native is None:
        refine(latent, *given)
    else:
        native.refine(latent, *given, *latent.shape[:2])


def _check_array(name: str, array: Any, dtype: type) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 3:
        found = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise EdgepressError(f"{name} must be a three-dimensional {np.dtype(dtype).name} array, not {found}")


def _check_shape(shape: tuple[int, ...], tables: EntropyTables) -> None:
    if len(shape) != 3 or shape[0] != tables.channels or shape[1] < 1 or shape[2] < 1:
        raise EdgepressError(
            f"the latent shape (C, H, W) is {tuple(shape)}, but the tables have C={tables.channels}"
        )


def _check_zero_point(zero_point: int) -> None:
    if not -128 <= zero_point <= 127:
        raise EdgepressError(f"the zero point of the latent must be in -128..127, not {zero_point!r}")
