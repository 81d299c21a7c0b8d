"""The ranges of activations for int8: measured once more, and cut where that costs less than the coarser steps.

TensorFlow 2.21's calibration sees some tensors only after an addition has overwritten them in place: the branches of
residual networks then get the range of their trunk, often fifty times their own. And it takes the extremes, so that one
value in a million decides on the step of all others; here a range is cut to where the mean squared error is least, that of
a tensor which only a leaky ReLU reads behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from .best_range import BINS, Range, best_range

LARGE = 32  # rows of maps of which a ninth of the values says enough of how they are distributed


def with_own_ranges(calibrated: bytes, samples: Sequence[np.ndarray]) -> bytes:
    """A calibrated float model with the ranges of all activations measured on `samples`, inputs of the model."""
    runner = _Runner(calibrated, samples[0].shape)
    ends: dict[int, Range] = {}
    for index, values in runner.tensors(samples):
        low, high = ends.get(index, (0.0, 0.0))  # int8 must hold zero
        ends[index] = min(low, float(values.min())), max(high, float(values.max()))
    counts = {index: np.zeros(BINS, np.int64) for index in ends}
    for index, values in runner.tensors(samples):
        low, high = ends[index]
        if low < high:
            if values.ndim == 4 and values.shape[1] >= LARGE:
                values = values[:, ::3, ::3]  # of every phase that depth_to_space may have left
            bins = ((values.ravel() - low) * ((BINS - 1e-3) / (high - low))).astype(np.int64)
            counts[index] += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
    slopes = _slopes(model)
    for index, (low, high) in ends.items():
        tensor = model.subgraphs[0].tensors[index]
        if tensor.quantization is not None and tensor.quantization.min is not None and low < high:
            low, high = best_range(counts[index], low, high, slope=slopes.get(index, 1.0))
            tensor.quantization.min, tensor.quantization.max = [low], [high]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _slopes(model: Any) -> dict[int, float]:
    """The slopes of leaky ReLUs, by the tensors that they alone read."""
    graph = model.subgraphs[0]
    readers: dict[int, list[Any]] = {}
    for operation in graph.operators:
        for index in operation.inputs:
            readers.setdefault(int(index), []).append(operation)
    return {
        index: abs(reading[0].builtinOptions.alpha)
        for index, reading in readers.items()
        if len(reading) == 1
        and flatbuffer_utils.opcode_to_name(model, reading[0].opcodeIndex) == "LEAKY_RELU"
        and index not in graph.outputs
    }


class _Runner:
    """A float model whose activations can all be seen."""

    def __init__(self, content: bytes, shape: tuple[int, ...]) -> None:
        self._interpreter = tf.lite.Interpreter(
            model_content=content,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._source = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.resize_tensor_input(self._source, shape)
        self._interpreter.allocate_tensors()
        self._made = {
            int(t) for operation in self._interpreter._get_ops_details() for t in operation["outputs"]
        }

    def tensors(self, samples: Sequence[np.ndarray]) -> Any:
        """(index, values) of every float32 activation, for every sample."""
        for sample in samples:
            self._interpreter.set_tensor(self._source, sample)
            self._interpreter.invoke()
            for index in self._made:
                values = self._interpreter.get_tensor(index)
                if values.dtype == np.float32:
                    yield index, values
