"""Looking into TFLite models: running them at any size, operations, multiply-adds, parameters, what runs undelegated."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

# Operations whose inputs 1 and 2 are weights and bias.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


class TFLite:
    """A TFLite model with one input and one output, run by LiteRT on one thread with its default XNNPACK delegate.

    Attributes:
        input, output: LiteRT's tensor details (dtype, shape, quantization ...).
    """

    def __init__(self, content: bytes, delegates: bool = True, preserve: bool = False):
        """`preserve` keeps the values of all tensors readable after a run; it goes without delegates only."""
        kind = OpResolverType.AUTO if delegates else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=kind,
            experimental_preserve_all_tensors=preserve,
        )
        self.input = self._interpreter.get_input_details()[0]
        self.output = self._interpreter.get_output_details()[0]
        self._shape: tuple[int, ...] | None = None

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The output for (1, H, W, C) of the input's dtype; resizes when the shape changes."""
        if batch.shape != self._shape:
            self._interpreter.resize_tensor_input(self.input["index"], batch.shape)
            self._interpreter.allocate_tensors()
            self._shape = batch.shape
        self._interpreter.set_tensor(self.input["index"], batch)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self.output["index"])

    def allocate(self) -> None:
        """Allocate at the model's own shape (which also delegates)."""
        self._interpreter.allocate_tensors()
        self._shape = tuple(self._interpreter.get_input_details()[0]["shape"])

    def operations(self) -> list[dict[str, Any]]:
        """LiteRT's nodes: op_name, inputs, outputs (tensor indices); with delegates, DELEGATE nodes come at the end."""
        return self._interpreter._get_ops_details()

    def tensors(self) -> dict[int, dict[str, Any]]:
        """Tensor details by index."""
        return {t["index"]: t for t in self._interpreter.get_tensor_details()}

    def constant(self, index: int) -> np.ndarray:
        """The values of a constant tensor, or (`preserve`) of any."""
        return self._interpreter.get_tensor(index)


def int8_pixels(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, 3) as the int8 networks take it, a pixel p being p - 128: int8 (1, H, W, 3)."""
    return (image[None] ^ np.uint8(128)).view(np.int8)


def operations(content: bytes) -> Counter[str]:
    """How many operations of each type a model has."""
    return Counter(op["op_name"] for op in TFLite(content, delegates=False).operations())


def undelegated(content: bytes) -> Counter[str]:
    """The operations that XNNPACK leaves to TFLite's own kernels, by type; empty when all are delegated. Where one breaks
    XNNPACK's preparation (bilinear resizing between two int8 scales does) none is run by it: all are left.

    LiteRT keeps replaced nodes in its list, so the plan is found by walking back from the output: a tensor that a
    DELEGATE node writes leads on to that node's inputs, any other tensor to the node that still computes it.
    """
    model = TFLite(content)
    try:
        model.allocate()
    except RuntimeError:
        return operations(content)
    writers: dict[int, dict[str, Any]] = {}
    for node in model.operations():  # delegates come last and take over the tensors they write
        writers.update({int(tensor): node for tensor in node["outputs"]})
    left: Counter[str] = Counter()
    seen: set[int] = set()
    queue = [int(model.output["index"])]
    while queue:
        node = writers.get(queue.pop(), {})
        if not node or node["index"] in seen:
            continue
        seen.add(node["index"])
        if node["op_name"] != "DELEGATE":
            left[node["op_name"]] += 1
        queue += [int(tensor) for tensor in node["inputs"] if tensor >= 0]
    return left


def parameters(content: bytes) -> tuple[int, int]:
    """(parameters, those that are not zero): weights and biases of all operations."""
    model = TFLite(content, delegates=False)
    model.allocate()
    tensors = model.tensors()
    computed = {int(t) for op in model.operations() for t in op["outputs"]} | {int(model.input["index"])}
    indices = set()
    for op in model.operations():
        for position, index in enumerate(op["inputs"]):
            bias = op["op_name"] in WEIGHTED and position >= 2
            if (
                index >= 0
                and index not in computed
                and (bias or tensors[index]["dtype"] in (np.float32, np.int8))
            ):
                indices.add(int(index))
    values = [model.constant(index) for index in indices]
    return sum(v.size for v in values), sum(int(np.count_nonzero(v)) for v in values)
