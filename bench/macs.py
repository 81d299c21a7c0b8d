"""How much a network computes: the multiply-adds of a TFLite model, counted from its graph."""

from __future__ import annotations

import importlib
import math
from typing import Any

from edgepress.runtime.interpreter import choose_interpreter

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def macs_per_pixel(model: bytes) -> float:
    """Multiply-adds of a half of a codec per pixel of the image, which is its larger end (1,H,W,C).

    Convolutions and matrix products count, at the model's own static shape; additions and activations do not.
    """
    library = choose_interpreter()
    module = importlib.import_module(library.interpreter.__module__)
    # Without delegates, which would replace the operations by one of their own.
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = library.interpreter(model_content=model, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    shapes = {t["index"]: [int(n) for n in t["shape"]] for t in interpreter.get_tensor_details()}
    ends = (interpreter.get_input_details()[0]["shape"], interpreter.get_output_details()[0]["shape"])
    pixels = max(int(shape[1]) * int(shape[2]) for shape in ends)
    return sum(_macs(operation, shapes) for operation in interpreter._get_ops_details()) / pixels


def _macs(operation: dict[str, Any], shapes: dict[int, list[int]]) -> int:
    name, inputs = operation["op_name"], operation["inputs"]
    if name not in _WEIGHTED:
        return 0
    kernel = shapes[int(inputs[1])]
    # Every position of the output takes a whole kernel; in a transposed convolution every position of the input does.
    positions = shapes[int(inputs[2] if name == "TRANSPOSE_CONV" else operation["outputs"][0])][:-1]
    return math.prod(positions) * math.prod(kernel[1:] if name == "DEPTHWISE_CONV_2D" else kernel)
