"""The operations of TFLite that a network of a package may have: their inputs, options, and the shape they give.

See `tflitecheck`, which goes through a model with this table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import BadPackageError

MAX_SIDE = 1 << 12  # of an image in the model file, of a kernel, of a step or a border
MAX_RATIO = 1 << 16  # of the scales of an operation's input and output

# TensorType in TFLite's schema.fbs
FLOAT32, INT32, UINT8, INT8 = 0, 2, 3, 9

Shape = tuple[int, ...]


# As `FlatBuffer` reads them; a tensor has its values under "constant", or None when they are not in the file.
Tensor = dict[str, Any]
Tensors = list[Tensor]
Options = dict[str, Any]
# (inputs, options, output) -> the output's shape; BadPackageError for what is not allowed
Infer = Callable[[Tensors, Options, Tensor], Shape]


def require(condition: bool, complaint: str) -> None:
    """BadPackageError(complaint) unless the condition holds."""
    if not condition:
        raise BadPackageError(complaint)


def _of_type(tensors: Tensors, output: Tensor) -> None:
    kinds = {tensor["type"] for tensor in tensors} | {output["type"]}
    require(len(kinds) == 1 and kinds <= {FLOAT32, UINT8, INT8}, "it has an operation on mixed types")
    if output["type"] == FLOAT32:
        return
    require(all(_scale(tensor) for tensor in (*tensors, output)), "it has integers without a scale")
    # Kernels turn the ratio into a shift of an integer and end the process when it is none.
    extremes = [limit for tensor in tensors for limit in (min(_scale(tensor)), max(_scale(tensor)))]
    least, most = min(extremes) / _scale(output)[0], max(extremes) / _scale(output)[0]
    require(least >= 1 / MAX_RATIO and most <= MAX_RATIO, "it has scales that do not go together")


def _scale(tensor: Tensor) -> list[float]:
    return tensor["quantization"]["scale"] if tensor["quantization"] else []


def _integers(tensor: Tensor) -> list[int]:
    """The values of a constant int32 tensor."""
    require(tensor["constant"] is not None and tensor["type"] == INT32, "it has no constant where it must")
    return list(tensor["constant"].cast("i"))


def _activation(options: Options) -> None:
    require(0 <= options["activation"] <= 3, "it has an activation that codecs do not use")


def _windows(shape: Shape, kernel: tuple[int, int], options: Options) -> tuple[int, int]:
    """Height and width after a kernel went over a map; checks strides, dilations and padding, too."""
    result = []
    for side, size, axis in ((shape[1], kernel[0], "h"), (shape[2], kernel[1], "w")):
        stride, dilation = options["stride_" + axis], options.get("dilation_" + axis, 1)
        require(
            1 <= stride <= MAX_SIDE and 1 <= dilation <= MAX_SIDE, "it has a stride or dilation out of range"
        )
        require(1 <= size <= MAX_SIDE, "it has a kernel out of range")
        require(options["padding"] in (0, 1), "it has an unknown padding")
        reach = (size - 1) * dilation + 1
        count = -(-side // stride) if options["padding"] == 0 else (side - reach) // stride + 1
        require(count >= 1, "it has a kernel that does not fit")
        result.append(count)
    return result[0], result[1]


def _convolution(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    source, kernel = tensors[0], tensors[1]
    depthwise = "multiplier" in options
    shape, weights = source["shape"], kernel["shape"]
    require(
        len(shape) == 4 == len(weights) and kernel["constant"] is not None,
        "it has a convolution without a kernel",
    )
    channels = weights[3 if depthwise else 0]
    if depthwise:
        require(
            weights[0] == 1 and channels == shape[3] * options["multiplier"], "it has a kernel of a bad shape"
        )
    else:
        require(weights[3] == shape[3], "it has a kernel of a bad shape")
    _of_type([source], output)
    require(source["type"] == kernel["type"] in (FLOAT32, INT8), "it has a convolution of mixed types")
    scales = len(_scale(kernel))
    if source["type"] == INT8:
        require(scales > 0, "it has integers without a scale")
        product = max(_scale(kernel)) * _scale(source)[0] / _scale(output)[0]
        require(product <= MAX_RATIO, "it has scales that do not go together")
    per_channel = scales == channels and kernel["quantization"]["dimension"] == (3 if depthwise else 0)
    require(scales <= 1 or per_channel, "it has a kernel with too many scales")
    for scale_of in (source, output):
        require(len(_scale(scale_of)) <= 1, "it has a map with many scales")
    if len(tensors) == 3:
        bias = tensors[2]
        wanted = FLOAT32 if source["type"] == FLOAT32 else INT32
        fits = bias["constant"] is not None and bias["shape"] == (channels,) and bias["type"] == wanted
        require(fits, "it has a bias that does not fit")
    _activation(options)
    return (shape[0], *_windows(shape, (weights[1], weights[2]), options), channels)


def _pool(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    shape = tensors[0]["shape"]
    require(len(shape) == 4, "it has a pooling of a bad shape")
    _of_type(tensors, output)
    _activation(options)
    return (shape[0], *_windows(shape, (options["kernel_h"], options["kernel_w"]), options), shape[3])


def _same(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    _of_type(tensors, output)
    return tensors[0]["shape"]


def _requantize(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    ends = tensors[0], output
    require(all(end["type"] in (FLOAT32, UINT8, INT8) for end in ends), "it has a conversion of another type")
    scales = [_scale(end)[0] for end in ends if end["type"] != FLOAT32 and len(_scale(end)) == 1]
    require(len(scales) == sum(end["type"] != FLOAT32 for end in ends), "it has a conversion without a scale")
    require(not scales or max(scales) <= MAX_RATIO * min(scales), "it has scales that do not go together")
    return tensors[0]["shape"]


def _broadcast(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    _of_type(tensors, output)
    if options:
        _activation(options)
    one, other = ((1,) * (4 - len(tensor["shape"])) + tensor["shape"] for tensor in tensors)
    require(
        all(a == b or 1 in (a, b) for a, b in zip(one, other, strict=True)), "it adds shapes that do not fit"
    )
    rank = max(len(tensor["shape"]) for tensor in tensors)
    return tuple(max(sides) for sides in zip(one, other, strict=True))[4 - rank :]


def _concatenation(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    _of_type(tensors, output)
    require(options["activation"] == 0, "it has an activation that codecs do not use")
    first = tensors[0]["shape"]
    axis = options["axis"] + (len(first) if options["axis"] < 0 else 0)
    require(0 <= axis < len(first), "it concatenates along an axis that does not exist")
    others = {(*tensor["shape"][:axis], 0, *tensor["shape"][axis + 1 :]) for tensor in tensors}
    require(len(others) == 1, "it concatenates shapes that do not fit")
    return (*first[:axis], sum(tensor["shape"][axis] for tensor in tensors), *first[axis + 1 :])


def _pad(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    _of_type(tensors[:1], output)
    shape = tensors[0]["shape"]
    require(tensors[1]["shape"] == (len(shape), 2) and len(shape) == 4, "it has a padding of a bad shape")
    borders = _integers(tensors[1])
    require(all(0 <= border <= MAX_SIDE for border in borders), "it has a padding out of range")
    return tuple(side + borders[2 * axis] + borders[2 * axis + 1] for axis, side in enumerate(shape))


def _slice(tensors: Tensors, options: Options, output: Tensor) -> Shape:
    _of_type(tensors[:1], output)
    shape = tensors[0]["shape"]
    begin, end, steps = map(_integers, tensors[1:])
    require(
        len(shape) == 4 == len(begin) == len(end) and steps == [1, 1, 1, 1], "it has a slice of a bad shape"
    )
    require(
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
        require(-side <= first < side and -side < stop <= side, "it has a slice out of range")
        sides.append((stop + side if stop < 0 else stop) - (first + side if first < 0 else first))
    require(min(sides) >= 1, "it has an empty slice")
    return tuple(sides)


def _rearranged(deeper: bool) -> Infer:
    def infer(tensors: Tensors, options: Options, output: Tensor) -> Shape:
        _of_type(tensors, output)
        shape, size = tensors[0]["shape"], options["size"]
        require(len(shape) == 4 and 1 <= size <= MAX_SIDE, "it has a block size out of range")
        images, height, width, channels = shape
        if deeper:
            require(height % size == 0 == width % size, "it has a block size that does not fit")
            return images, height // size, width // size, channels * size * size
        require(channels % (size * size) == 0, "it has a block size that does not fit")
        return images, height * size, width * size, channels // (size * size)

    return infer


# BuiltinOperator -> (fewest and most inputs), options that it must have, shape of the output
OPERATIONS: dict[int, tuple[tuple[int, int], str | None, Infer]] = {
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
