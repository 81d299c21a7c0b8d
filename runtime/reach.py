"""How far a network sees: the neighbours that one position of its output depends on, read off the model itself.

An image that is cut into tiles comes out as in one piece when every tile brings that many real neighbours along. Only
operators that work alike everywhere are known here; a network with any other is not cut.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from .modeltable import Table

Interval = tuple[int, int]  # positions along one axis, the end excluded
_Back = Callable[
    [Interval], Interval
]  # from positions of an output to the positions of the input that they need

# Field numbers and codes are those of TFLite's schema.fbs.
_CONCATENATION, _CONV, _DEPTHWISE, _DEPTH_TO_SPACE, _TRANSPOSE_CONV, _SPACE_TO_DEPTH = 2, 3, 4, 5, 67, 26
_AVERAGE_POOL, _MAX_POOL, _PAD, _STRIDED_SLICE = 1, 17, 34, 45
_POINTWISE = frozenset(
    # add, dequantize, logistic, mul, relu, relu_n1_to_1, relu6, tanh, sub, prelu, maximum, minimum, leaky_relu, quantize,
    # elu, hard_swish, gelu: each position from the same position
    (0, 6, 14, 18, 19, 20, 21, 28, 41, 54, 55, 57, 98, 111, 114, 117, 150)
)
_SAME, _VALID = 0, 1
_MAX_REACH = 1 << 20  # of positions; beyond it, the arithmetic is not worth its time


def halo(model: bytes, stride: int, label: str) -> int | None:
    """Latent positions on each side, on both axes, that an output of the network depends on beyond its own.

    Args:
        model: the TFLite flatbuffer, one that an interpreter has accepted.
        stride: pixels per latent position.
        label: "encoder", which goes from pixels to latents, or "decoder", which goes back.

    Returns:
        None when it cannot be told: an operator that is not known here, or a model in an unexpected form.
    """
    made, unit = ((0, 1), stride) if label == "encoder" else ((0, stride), 1)
    sides = []
    try:
        for axis in (1, 2):
            needed = _needed(model, axis, made)
            if needed is None or max(map(abs, needed)) > _MAX_REACH:
                return None
            sides += [-needed[0], needed[1] - unit]
    except (struct.error, IndexError, ValueError, ZeroDivisionError):
        return None
    return max(0, *(math.ceil(side / unit) for side in sides))


def _needed(model: bytes, axis: int, made: Interval) -> Interval | None:
    """The positions of the network's input that the positions `made` of its output need, borders ignored."""
    root = Table.root(model)
    (graph,) = root.tables(2)[:1]
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(1)]
    tensors, buffers = graph.tables(0), root.tables(4)
    (source,), (sink,) = graph.numbers(1, "i"), graph.numbers(2, "i")
    needed: dict[int, Interval] = {sink: made}
    # Operators stand in the order of execution, so that going back all consumers of a tensor come before its producer.
    for operator in reversed(graph.tables(3)):
        inputs, outputs = operator.numbers(1, "i"), operator.numbers(2, "i")
        wanted = [needed[index] for index in outputs if index in needed]
        if not wanted:
            continue
        code = codes[operator.number(0, "I")]
        operands = {index: tensors[index] for index in inputs if index >= 0}
        back = _way_back(code, operator.table(4), list(operands.values()), buffers, axis)
        if back is None:
            return None
        for index, tensor in operands.items():
            if _is_constant(tensor, buffers):
                # One value for all positions, or kernels and the like; what differs by position cannot be cut.
                if code in _POINTWISE and any(side != 1 for side in tensor.numbers(0, "i")[:-1]):
                    return None
                continue
            needs = back(wanted[0])
            known = needed.get(index, needs)
            needed[index] = min(known[0], needs[0]), max(known[1], needs[1])
    return needed.get(source)


def _is_constant(tensor: Table, buffers: list[Table]) -> bool:
    return buffers[tensor.number(2, "I")].length(0) > 0


def _way_back(
    code: int, options: Table | None, operands: list[Table], buffers: list[Table], axis: int
) -> _Back | None:
    """How an operator's positions depend on its input's, or None when that is not known."""
    if code in _POINTWISE:
        return lambda span: span
    if code == _PAD:
        paddings = struct.unpack("<8i", bytes(buffers[operands[1].number(2, "I")].numbers(0, "B")))
        before = paddings[2 * axis]
        return lambda span: (span[0] - before, span[1] - before)
    if options is None:
        return None
    if code == _STRIDED_SLICE:
        begin = struct.unpack("<4i", bytes(buffers[operands[1].number(2, "I")].numbers(0, "B")))[axis]
        begin = 0 if options.number(0, "i") >> axis & 1 else begin
        return (lambda span: (span[0] + begin, span[1] + begin)) if begin >= 0 else None
    if code == _CONCATENATION:
        return (lambda span: span) if options.number(0, "i") in (3, -1) else None
    if code in (_DEPTH_TO_SPACE, _SPACE_TO_DEPTH):
        block = options.number(0, "i")
        if code == _DEPTH_TO_SPACE:
            return lambda span: (span[0] // block, -(-span[1] // block))
        return lambda span: (span[0] * block, span[1] * block)
    padding, stride = options.number(0, "b"), options.number(3 - axis, "i", 1)
    if code in (_CONV, _DEPTHWISE):
        dilation = options.number(6 - axis + (code == _DEPTHWISE), "i", 1)
        kernel = (operands[1].numbers(0, "i")[axis] - 1) * dilation + 1
        return _window(operands[0], padding, stride, kernel, axis)
    if code in (_AVERAGE_POOL, _MAX_POOL):
        return _window(operands[0], padding, stride, options.number(5 - axis, "i"), axis)
    if code == _TRANSPOSE_CONV:
        kernel = operands[1].numbers(0, "i")[axis]
        before = max(kernel - stride, 0) // 2 if padding == _SAME else 0
        return lambda span: (
            -(-(span[0] + before - kernel + 1) // stride),
            (span[1] - 1 + before) // stride + 1,
        )
    return None


def _window(source: Table, padding: int, stride: int, kernel: int, axis: int) -> _Back:
    """The way back through a window that moves over the input."""
    if padding == _VALID:
        return lambda span: (span[0] * stride, (span[1] - 1) * stride + kernel)
    if source.numbers(0, "i")[axis] % stride:
        # Padding before the first position depends on the size then: anything up to the whole window.
        return lambda span: (span[0] * stride - kernel + 1, (span[1] - 1) * stride + kernel)
    before = max(kernel - stride, 0) // 2
    return lambda span: (span[0] * stride - before, (span[1] - 1) * stride - before + kernel)
