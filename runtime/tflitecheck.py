"""What a TFLite model must be before an interpreter gets it.

Interpreters trust models: an operation with a missing input, a stride of 0 or an index out of range can crash one. So a
network of a package has one subgraph, no variables, and only the operations of small convolutional codecs; each of
them sees constants of the right size and the shapes that it must have, worked out anew from the input's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .errors import BadPackageError
from .flatbuffer import FlatBuffer

MAX_TENSORS = 4096
MAX_CHANNELS = 1 << 16
MAX_SIDE = 1 << 12  # of an image in the model file, of a kernel, of a step or a border
MAX_RATIO = 1 << 16  # of the scales of an operation's input and output
MAX_PER_POSITION = (
    1 << 15
)  # values of all activations together, per pixel: what an image makes the interpreter allocate

_FLOAT32, _INT32, _UINT8, _INT8 = 0, 2, 3, 9
_SIZES = {_FLOAT32: 4, _INT32: 4, _UINT8: 1, _INT8: 1}
_RANGES = {_UINT8: (0, 255), _INT8: (-128, 127), _INT32: (0, 0)}

# The part of TFLite's schema that such models need.
_TABLES = {
    "Model": {
        0: ("version", "u32"),
        1: ("operator_codes", "[OperatorCode]"),
        2: ("subgraphs", "[SubGraph]"),
        3: ("description", "string"),
        4: ("buffers", "[Buffer]"),
    },
    "OperatorCode": {0: ("deprecated", "i8"), 2: ("version", "i32=1"), 3: ("builtin", "i32")},
    "SubGraph": {
        0: ("tensors", "[Tensor]"),
        1: ("inputs", "[i32]"),
        2: ("outputs", "[i32]"),
        3: ("operators", "[Operator]"),
        4: ("name", "string"),
    },
    "Buffer": {0: ("data", "bytes")},
    "Tensor": {
        0: ("shape", "[i32]"),
        1: ("type", "i8"),
        2: ("buffer", "u32"),
        3: ("name", "string"),
        4: ("quantization", "Quantization"),
        7: ("shape_signature", "[i32]"),
        8: ("has_rank", "bool"),
    },
    "Quantization": {
        0: ("min", "[f32]"),
        1: ("max", "[f32]"),
        2: ("scale", "[f32]"),
        3: ("zero_point", "[i64]"),
        6: ("dimension", "i32"),
    },
    "Operator": {
        0: ("code", "u32"),
        1: ("inputs", "[i32]"),
        2: ("outputs", "[i32]"),
        3: ("options_type", "u8"),
        4: ("options", "union:options_type"),
    },
    "Convolution": {
        0: ("padding", "i8"),
        1: ("stride_w", "i32"),
        2: ("stride_h", "i32"),
        3: ("activation", "i8"),
        4: ("dilation_w", "i32=1"),
        5: ("dilation_h", "i32=1"),
    },
    "Depthwise": {
        0: ("padding", "i8"),
        1: ("stride_w", "i32"),
        2: ("stride_h", "i32"),
        3: ("multiplier", "i32"),
        4: ("activation", "i8"),
        5: ("dilation_w", "i32=1"),
        6: ("dilation_h", "i32=1"),
    },
    "Pool": {
        0: ("padding", "i8"),
        1: ("stride_w", "i32"),
        2: ("stride_h", "i32"),
        3: ("kernel_w", "i32"),
        4: ("kernel_h", "i32"),
        5: ("activation", "i8"),
    },
    "Concatenation": {0: ("axis", "i32"), 1: ("activation", "i8")},
    "Arithmetic": {0: ("activation", "i8"), 1: ("pot_scale_int16", "bool=1")},
    "Block": {0: ("size", "i32")},
    "Leaky": {0: ("alpha", "f32")},
    "Slice": {
        0: ("begin_mask", "i32"),
        1: ("end_mask", "i32"),
        2: ("ellipsis_mask", "i32"),
        3: ("new_axis_mask", "i32"),
        4: ("shrink_axis_mask", "i32"),
        5: ("offset", "bool"),
    },
    "Gelu": {0: ("approximate", "bool")},
    "None": {},
}
# BuiltinOptions -> table
_OPTIONS = {
    1: "Convolution", 2: "Depthwise", 5: "Pool", 10: "Concatenation", 11: "Arithmetic", 21: "Arithmetic",
    28: "Arithmetic", 29: "Arithmetic", 19: "Block", 94: "Block", 75: "Leaky", 32: "Slice", 116: "Gelu",
    22: "None", 33: "None", 38: "None", 39: "None", 42: "None", 66: "None", 78: "None", 89: "None", 91: "None",
}  # fmt: skip

Shape = tuple[int, ...]


def check_model(data: bytes, label: str) -> None:
    """Check a TFLite model of a package.

    Args:
        data: the flatbuffer.
        label: what the network is called in error messages.

    Raises:
        BadPackageError: not such a model, damaged, or one that asks for something absurd.
    """
    try:
        root = FlatBuffer(data, _TABLES, _OPTIONS, b"TFL3").root("Model")
        if root["version"] != 3 or len(root["subgraphs"]) != 1:
            raise BadPackageError("it is not of version 3 with one subgraph")
        _Graph(root, data).check()
    except BadPackageError as error:
        raise BadPackageError(f"the {label} is no TFLite model that can be trusted: {error}") from None


class _Graph:
    """One subgraph, and the shapes (tuples) and types of the tensors that are known so far."""

    def __init__(self, root: dict[str, Any], data: bytes) -> None:
        graph = root["subgraphs"][0]
        self._data = data
        self._codes = [max(code["deprecated"], code["builtin"]) for code in root["operator_codes"]]
        self._buffers = [buffer["data"] or (0, 0) for buffer in root["buffers"]]
        self._tensors: list[dict[str, Any]] = graph["tensors"]
        self._inputs, self._outputs = graph["inputs"], graph["outputs"]
        self._operators = graph["operators"]
        self._constant: dict[int, tuple[int, int]] = {}  # where each constant is: (first byte, bytes)
        self._known: set[int] = set()

    def check(self) -> None:
        """Raises BadPackageError."""
        _require(
            len(self._tensors) <= MAX_TENSORS >= len(self._operators), "it has too many tensors or operations"
        )
        for index, tensor in enumerate(self._tensors):
            self._check_tensor(index, tensor)
        _require(len(self._inputs) == 1 == len(self._outputs), "it must have one input and one output")
        source = self._tensor(self._inputs[0])
        _require(self._inputs[0] not in self._constant, "its input is a constant")
        _require(len(source["shape"]) == 4, "its input must have 4 dimensions")
        _require(max(source["shape"]) <= MAX_SIDE, "its input is too large")
        self._known = {self._inputs[0], *self._constant}
        total = math.prod(source["shape"])
        positions = math.prod(source["shape"][:3])
        for operator in self._operators:
            shape = self._check_operator(operator)
            total += math.prod(shape)
            positions = max(positions, math.prod(shape[:3]))
        _require(self._outputs[0] in self._known - set(self._constant), "its output is never computed")
        _require(total <= MAX_PER_POSITION * positions, "it needs too much memory")

    def _check_tensor(self, index: int, tensor: dict[str, Any]) -> None:
        shape, kind = tensor["shape"], tensor["type"]
        _require(kind in _SIZES, "it has a tensor of another type than float32, int32, uint8 and int8")
        _require(
            len(shape) <= 4 and all(1 <= side <= 1 << 24 for side in shape), "it has a tensor of a bad shape"
        )
        signature = tensor["shape_signature"]
        fits = len(signature) in (0, len(shape)) and all(
            side in (-1, fixed) for side, fixed in zip(signature, shape, strict=False)
        )
        _require(fits, "it has a tensor whose shape contradicts itself")
        tensor["shape"] = tuple(shape)
        _require(tensor["buffer"] < len(self._buffers), "it has a tensor without its buffer")
        first, size = self._buffers[tensor["buffer"]]
        if size:
            _require(
                size == _SIZES[kind] * math.prod(shape), "it has a constant of another size than its shape's"
            )
            # C code reads it as an array of its type.
            _require(first % _SIZES[kind] == 0, "it has a constant that is not aligned")
            self._constant[index] = first, size
        if tensor["quantization"]:
            _check_quantization(tensor["quantization"], tensor["shape"], kind)

    def _check_operator(self, operator: dict[str, Any]) -> Shape:
        """The shape of its output, which is known from now on."""
        _require(operator["code"] < len(self._codes), "it has an operation without a code")
        code = self._codes[operator["code"]]
        _require(code in _OPERATIONS, f"it has an operation that codecs do not use (number {code})")
        (low, high), options, infer = _OPERATIONS[code]
        inputs, outputs = operator["inputs"], operator["outputs"]
        _require(
            low <= len(inputs) <= high and len(outputs) == 1,
            "it has an operation without its inputs or output",
        )
        _require(
            options is None or operator["options"] is not None, "it has an operation without its options"
        )
        named = _OPTIONS.get(operator["options_type"]) if operator["options"] is not None else None
        _require(named in (options, None, "None"), "it has an operation with the options of another")
        _require(
            all(index in self._known for index in inputs), "it has an operation whose input is not known"
        )
        _require(outputs[0] not in self._known, "it has a tensor that is computed twice")
        output = self._tensor(outputs[0])
        shape = infer(
            self, [self._tensors[index] for index in inputs], inputs, operator["options"] or {}, output
        )
        _require(
            shape == output["shape"],
            f"the output of an operation (number {code}) has another shape than it must",
        )
        _require(max(shape, default=1) <= MAX_CHANNELS, "it has a tensor that is too large")
        self._known.add(outputs[0])
        return shape

    def _tensor(self, index: int) -> dict[str, Any]:
        _require(0 <= index < len(self._tensors), "it names a tensor that it does not have")
        return self._tensors[index]

    def is_constant(self, index: int) -> bool:
        """Whether a tensor's values are in the file."""
        return index in self._constant

    def integers(self, index: int) -> list[int]:
        """The values of a constant int32 tensor."""
        _require(
            self.is_constant(index) and self._tensors[index]["type"] == _INT32,
            "it has no constant where it must",
        )
        first, size = self._constant[index]
        return list(memoryview(self._data)[first : first + size].cast("i"))


Infer = Callable[[_Graph, list[dict[str, Any]], list[int], dict[str, Any], dict[str, Any]], Shape]


def _check_quantization(quantization: dict[str, Any], shape: Shape, kind: int) -> None:
    scales, zeros, dimension = quantization["scale"], quantization["zero_point"], quantization["dimension"]
    if not scales:
        _require(not zeros, "it has zero points without scales")
        return
    per_axis = 0 <= dimension < len(shape) and len(scales) == shape[dimension]
    _require(
        (len(scales) == 1 or per_axis) and len(zeros) in (0, len(scales)),
        "it has a tensor with too many scales",
    )
    # The sum tells of infinities and of what is no number, which min() may pass over.
    _require(min(scales) > 0 and math.isfinite(sum(scales)), "it has a scale that is not a positive number")
    low, high = _RANGES.get(kind, (0, 0))
    _require(not zeros or (low <= min(zeros) and max(zeros) <= high), "it has a zero point out of range")


def _of_type(tensors: list[dict[str, Any]], output: dict[str, Any]) -> None:
    kinds = {tensor["type"] for tensor in tensors} | {output["type"]}
    _require(len(kinds) == 1 and kinds <= {_FLOAT32, _UINT8, _INT8}, "it has an operation on mixed types")
    if output["type"] == _FLOAT32:
        return
    _require(all(_scale(tensor) for tensor in (*tensors, output)), "it has integers without a scale")
    # Kernels turn the ratio into a shift of an integer and end the process when it is none.
    extremes = [limit for tensor in tensors for limit in (min(_scale(tensor)), max(_scale(tensor)))]
    least, most = min(extremes) / _scale(output)[0], max(extremes) / _scale(output)[0]
    _require(least >= 1 / MAX_RATIO and most <= MAX_RATIO, "it has scales that do not go together")


def _scale(tensor: dict[str, Any]) -> list[float]:
    return tensor["quantization"]["scale"] if tensor["quantization"] else []


def _activation(options: dict[str, Any]) -> None:
    _require(0 <= options["activation"] <= 3, "it has an activation that codecs do not use")


def _windows(shape: Shape, kernel: tuple[int, int], options: dict[str, Any]) -> tuple[int, int]:
    """Height and width after a kernel went over a map; checks strides, dilations and padding, too."""
    result = []
    for side, size, axis in ((shape[1], kernel[0], "h"), (shape[2], kernel[1], "w")):
        stride, dilation = options["stride_" + axis], options.get("dilation_" + axis, 1)
        _require(
            1 <= stride <= MAX_SIDE and 1 <= dilation <= MAX_SIDE, "it has a stride or dilation out of range"
        )
        _require(1 <= size <= MAX_SIDE, "it has a kernel out of range")
        _require(options["padding"] in (0, 1), "it has an unknown padding")
        reach = (size - 1) * dilation + 1
        count = -(-side // stride) if options["padding"] == 0 else (side - reach) // stride + 1
        _require(count >= 1, "it has a kernel that does not fit")
        result.append(count)
    return result[0], result[1]


def _convolution(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    source, kernel = tensors[0], tensors[1]
    depthwise = "multiplier" in options
    shape, weights = source["shape"], kernel["shape"]
    _require(
        len(shape) == 4 == len(weights) and graph.is_constant(inputs[1]),
        "it has a convolution without a kernel",
    )
    channels = weights[3 if depthwise else 0]
    if depthwise:
        _require(
            weights[0] == 1 and channels == shape[3] * options["multiplier"], "it has a kernel of a bad shape"
        )
    else:
        _require(weights[3] == shape[3], "it has a kernel of a bad shape")
    _of_type([source], output)
    _require(source["type"] == kernel["type"] in (_FLOAT32, _INT8), "it has a convolution of mixed types")
    scales = len(_scale(kernel))
    if source["type"] == _INT8:
        _require(scales > 0, "it has integers without a scale")
        product = max(_scale(kernel)) * _scale(source)[0] / _scale(output)[0]
        _require(product <= MAX_RATIO, "it has scales that do not go together")
    per_channel = scales == channels and kernel["quantization"]["dimension"] == (3 if depthwise else 0)
    _require(scales <= 1 or per_channel, "it has a kernel with too many scales")
    for scale_of in (source, output):
        _require(len(_scale(scale_of)) <= 1, "it has a map with many scales")
    if len(inputs) == 3:
        bias = tensors[2]
        wanted = _FLOAT32 if source["type"] == _FLOAT32 else _INT32
        fits = graph.is_constant(inputs[2]) and bias["shape"] == (channels,) and bias["type"] == wanted
        _require(fits, "it has a bias that does not fit")
    _activation(options)
    return (shape[0], *_windows(shape, (weights[1], weights[2]), options), channels)


def _pool(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    shape = tensors[0]["shape"]
    _require(len(shape) == 4, "it has a pooling of a bad shape")
    _of_type(tensors, output)
    _activation(options)
    return (shape[0], *_windows(shape, (options["kernel_h"], options["kernel_w"]), options), shape[3])


def _same(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    _of_type(tensors, output)
    return tensors[0]["shape"]


def _requantize(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    ends = tensors[0], output
    _require(
        all(end["type"] in (_FLOAT32, _UINT8, _INT8) for end in ends), "it has a conversion of another type"
    )
    scales = [_scale(end)[0] for end in ends if end["type"] != _FLOAT32 and len(_scale(end)) == 1]
    _require(
        len(scales) == sum(end["type"] != _FLOAT32 for end in ends), "it has a conversion without a scale"
    )
    _require(not scales or max(scales) <= MAX_RATIO * min(scales), "it has scales that do not go together")
    return tensors[0]["shape"]


def _broadcast(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    _of_type(tensors, output)
    if options:
        _activation(options)
    one, other = ((1,) * (4 - len(tensor["shape"])) + tensor["shape"] for tensor in tensors)
    _require(
        all(a == b or 1 in (a, b) for a, b in zip(one, other, strict=True)), "it adds shapes that do not fit"
    )
    rank = max(len(tensor["shape"]) for tensor in tensors)
    return tuple(max(sides) for sides in zip(one, other, strict=True))[4 - rank :]


def _concatenation(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    _of_type(tensors, output)
    _require(options["activation"] == 0, "it has an activation that codecs do not use")
    first = tensors[0]["shape"]
    axis = options["axis"] + (len(first) if options["axis"] < 0 else 0)
    _require(0 <= axis < len(first), "it concatenates along an axis that does not exist")
    others = {(*tensor["shape"][:axis], 0, *tensor["shape"][axis + 1 :]) for tensor in tensors}
    _require(len(others) == 1, "it concatenates shapes that do not fit")
    return (*first[:axis], sum(tensor["shape"][axis] for tensor in tensors), *first[axis + 1 :])


def _pad(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    _of_type(tensors[:1], output)
    shape = tensors[0]["shape"]
    _require(tensors[1]["shape"] == (len(shape), 2) and len(shape) == 4, "it has a padding of a bad shape")
    borders = graph.integers(inputs[1])
    _require(all(0 <= border <= MAX_SIDE for border in borders), "it has a padding out of range")
    return tuple(side + borders[2 * axis] + borders[2 * axis + 1] for axis, side in enumerate(shape))


def _slice(
    graph: _Graph,
    tensors: list[dict[str, Any]],
    inputs: list[int],
    options: dict[str, Any],
    output: dict[str, Any],
) -> Shape:
    _of_type(tensors[:1], output)
    shape = tensors[0]["shape"]
    begin, end, steps = (graph.integers(index) for index in inputs[1:])
    _require(
        len(shape) == 4 == len(begin) == len(end) and steps == [1, 1, 1, 1], "it has a slice of a bad shape"
    )
    _require(
        not (options["ellipsis_mask"] or options["new_axis_mask"] or options["shrink_axis_mask"])
        and not options["offset"]
        and 0 <= options["begin_mask"] <= 15
        and 0 <= options["end_mask"] <= 15,
        "it has a slice of a kind that codecs do not use",
    )
    sides = []
    for axis, side in enumerate(shape):
        # Negative positions count from the end, as in Python; beyond the map there is nothing to slice.
        first = 0 if options["begin_mask"] >> axis & 1 else begin[axis]
        stop = side if options["end_mask"] >> axis & 1 else end[axis]
        _require(-side <= first < side and -side < stop <= side, "it has a slice out of range")
        sides.append((stop + side if stop < 0 else stop) - (first + side if first < 0 else first))
    _require(min(sides) >= 1, "it has an empty slice")
    return tuple(sides)


def _rearranged(deeper: bool) -> Infer:
    def infer(
        graph: _Graph,
        tensors: list[dict[str, Any]],
        inputs: list[int],
        options: dict[str, Any],
        output: dict[str, Any],
    ) -> Shape:
        _of_type(tensors, output)
        shape, size = tensors[0]["shape"], options["size"]
        _require(len(shape) == 4 and 1 <= size <= MAX_SIDE, "it has a block size out of range")
        images, height, width, channels = shape
        if deeper:
            _require(height % size == 0 == width % size, "it has a block size that does not fit")
            return images, height // size, width // size, channels * size * size
        _require(channels % (size * size) == 0, "it has a block size that does not fit")
        return images, height * size, width * size, channels // (size * size)

    return infer


# BuiltinOperator -> (fewest and most inputs), options that it must have, shape of the output
_OPERATIONS: dict[int, tuple[tuple[int, int], str | None, Infer]] = {
    0: ((2, 2), "Arithmetic", _broadcast),  # ADD
    1: ((1, 1), "Pool", _pool),  # AVERAGE_POOL_2D
    2: ((1, 64), "Concatenation", _concatenation),
    3: ((2, 3), "Convolution", _convolution),  # CONV_2D
    4: ((2, 3), "Depthwise", _convolution),  # DEPTHWISE_CONV_2D
    5: ((1, 1), "Block", _rearranged(deeper=False)),  # DEPTH_TO_SPACE
    6: ((1, 1), None, _requantize),  # DEQUANTIZE
    14: ((1, 1), None, _same),  # LOGISTIC
    17: ((1, 1), "Pool", _pool),  # MAX_POOL_2D
    18: ((2, 2), "Arithmetic", _broadcast),  # MUL
    19: ((1, 1), None, _same),  # RELU
    20: ((1, 1), None, _same),  # RELU_N1_TO_1
    21: ((1, 1), None, _same),  # RELU6
    26: ((1, 1), "Block", _rearranged(deeper=True)),  # SPACE_TO_DEPTH
    28: ((1, 1), None, _same),  # TANH
    34: ((2, 2), None, _pad),  # PAD
    41: ((2, 2), "Arithmetic", _broadcast),  # SUB
    42: ((2, 2), "Arithmetic", _broadcast),  # DIV
    45: ((4, 4), "Slice", _slice),  # STRIDED_SLICE
    54: ((2, 2), None, _broadcast),  # PRELU
    55: ((2, 2), None, _broadcast),  # MAXIMUM
    57: ((2, 2), None, _broadcast),  # MINIMUM
    75: ((1, 1), None, _same),  # SQRT
    76: ((1, 1), None, _same),  # RSQRT
    92: ((1, 1), None, _same),  # SQUARE
    98: ((1, 1), "Leaky", _same),  # LEAKY_RELU
    101: ((1, 1), None, _same),  # ABS
    111: ((1, 1), None, _same),  # ELU
    114: ((1, 1), None, _requantize),  # QUANTIZE
    117: ((1, 1), None, _same),  # HARD_SWISH
    150: ((1, 1), "Gelu", _same),  # GELU
}


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise BadPackageError(complaint)
