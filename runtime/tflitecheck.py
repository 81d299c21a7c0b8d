"""What a TFLite model must be before an interpreter gets it.

Interpreters trust models: an operation with a missing input, a stride of 0 or an index out of range can crash one. So a
network of a package has one subgraph, no variables, and only the operations of small convolutional codecs; each of
them sees constants of the right size and the shapes that it must have, worked out anew from the input's.
"""

from __future__ import annotations

import math
from typing import Any

from .errors import BadPackageError
from .flatbuffer import FlatBuffer
from .tfliteops import FLOAT32, INT8, INT32, MAX_SIDE, OPERATIONS, UINT8, Shape, Tensor, Tensors, require

MAX_TENSORS = 4096
MAX_CHANNELS = 1 << 16
MAX_PER_POSITION = (
    1 << 15
)  # values of all activations together, per pixel: what an image makes the interpreter allocate

_SIZES = {FLOAT32: 4, INT32: 4, UINT8: 1, INT8: 1}
_RANGES = {UINT8: (0, 255), INT8: (-128, 127), INT32: (0, 0)}

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
        self._data = memoryview(data)
        self._codes = [max(code["deprecated"], code["builtin"]) for code in root["operator_codes"]]
        self._buffers = [buffer["data"] or (0, 0) for buffer in root["buffers"]]
        self._tensors: Tensors = graph["tensors"]
        self._inputs, self._outputs = graph["inputs"], graph["outputs"]
        self._operators = graph["operators"]
        self._known: set[int] = set()

    def check(self) -> None:
        """Raises BadPackageError."""
        require(
            len(self._tensors) <= MAX_TENSORS >= len(self._operators), "it has too many tensors or operations"
        )
        for tensor in self._tensors:
            self._check_tensor(tensor)
        require(len(self._inputs) == 1 == len(self._outputs), "it must have one input and one output")
        source = self._tensor(self._inputs[0])
        require(source["constant"] is None, "its input is a constant")
        require(len(source["shape"]) == 4, "its input must have 4 dimensions")
        require(max(source["shape"]) <= MAX_SIDE, "its input is too large")
        constants = {index for index, tensor in enumerate(self._tensors) if tensor["constant"] is not None}
        self._known = {self._inputs[0], *constants}
        total = math.prod(source["shape"])
        positions = math.prod(source["shape"][:3])
        for operator in self._operators:
            shape = self._check_operator(operator)
            total += math.prod(shape)
            positions = max(positions, math.prod(shape[:3]))
        require(self._outputs[0] in self._known - constants, "its output is never computed")
        require(total <= MAX_PER_POSITION * positions, "it needs too much memory")

    def _check_tensor(self, tensor: Tensor) -> None:
        shape, kind = tensor["shape"], tensor["type"]
        require(kind in _SIZES, "it has a tensor of another type than float32, int32, uint8 and int8")
        require(
            len(shape) <= 4 and all(1 <= side <= 1 << 24 for side in shape), "it has a tensor of a bad shape"
        )
        signature = tensor["shape_signature"]
        fits = len(signature) in (0, len(shape)) and all(
            side in (-1, fixed) for side, fixed in zip(signature, shape, strict=False)
        )
        require(fits, "it has a tensor whose shape contradicts itself")
        tensor["shape"] = tuple(shape)
        require(tensor["buffer"] < len(self._buffers), "it has a tensor without its buffer")
        first, size = self._buffers[tensor["buffer"]]
        if size:
            require(
                size == _SIZES[kind] * math.prod(shape), "it has a constant of another size than its shape's"
            )
            # C code reads it as an array of its type.
            require(first % _SIZES[kind] == 0, "it has a constant that is not aligned")
        tensor["constant"] = self._data[first : first + size] if size else None
        if tensor["quantization"]:
            _check_quantization(tensor["quantization"], tensor["shape"], kind)

    def _check_operator(self, operator: dict[str, Any]) -> Shape:
        """The shape of its output, which is known from now on."""
        require(operator["code"] < len(self._codes), "it has an operation without a code")
        code = self._codes[operator["code"]]
        require(code in OPERATIONS, f"it has an operation that codecs do not use (number {code})")
        (low, high), options, infer = OPERATIONS[code]
        inputs, outputs = operator["inputs"], operator["outputs"]
        require(
            low <= len(inputs) <= high and len(outputs) == 1,
            "it has an operation without its inputs or output",
        )
        require(options is None or operator["options"] is not None, "it has an operation without its options")
        named = _OPTIONS.get(operator["options_type"]) if operator["options"] is not None else None
        require(named in (options, None, "None"), "it has an operation with the options of another")
        require(all(index in self._known for index in inputs), "it has an operation whose input is not known")
        require(outputs[0] not in self._known, "it has a tensor that is computed twice")
        output = self._tensor(outputs[0])
        shape = infer([self._tensors[index] for index in inputs], operator["options"] or {}, output)
        require(
            shape == output["shape"],
            f"the output of an operation (number {code}) has another shape than it must",
        )
        require(max(shape, default=1) <= MAX_CHANNELS, "it has a tensor that is too large")
        self._known.add(outputs[0])
        return shape

    def _tensor(self, index: int) -> Tensor:
        require(0 <= index < len(self._tensors), "it names a tensor that it does not have")
        return self._tensors[index]


def _check_quantization(quantization: dict[str, Any], shape: Shape, kind: int) -> None:
    scales, zeros, dimension = quantization["scale"], quantization["zero_point"], quantization["dimension"]
    if not scales:
        require(not zeros, "it has zero points without scales")
        return
    per_axis = 0 <= dimension < len(shape) and len(scales) == shape[dimension]
    require(
        (len(scales) == 1 or per_axis) and len(zeros) in (0, len(scales)),
        "it has a tensor with too many scales",
    )
    # The sum tells of infinities and of what is no number, which min() may pass over.
    require(min(scales) > 0 and math.isfinite(sum(scales)), "it has a scale that is not a positive number")
    low, high = _RANGES.get(kind, (0, 0))
    require(not zeros or (low <= min(zeros) and max(zeros) <= high), "it has a zero point out of range")
