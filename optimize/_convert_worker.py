"""The process that runs TensorFlow's converter for `convert`: reads a job folder, writes .tflite files into it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert as tflite_convert
from tensorflow.lite.tools import flatbuffer_utils

import edgepress.train.layers  # noqa: F401  registers the custom layers

from ._int8_ends import int8_ends
from ._int8_ranges import with_own_ranges

HALVES = ("encoder", "decoder")
INT8_STEPS = 255
LEAST_STEPS = 8  # in a shift for which the steps of a range may grow, by an eighth at most
SAME = 1e-3  # of a step

# Operations whose output is made of values of their input, so that both have one scale in int8.
MOVES = ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "STRIDED_SLICE", "SLICE", "RESHAPE", "PAD", "MAX_POOL_2D")
MERGES = ("CONCATENATION",)  # likewise, of all their inputs
# Operations whose int8 output has a scale that TFLite prescribes.
PRESCRIBED = ("LOGISTIC", "TANH", "SOFTMAX")
PIXELS = (0.0, 1.0)
INT16X8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def main(folder: Path) -> None:
    """Do the jobs listed in `folder`/jobs.json: each has a folder of its own with the two halves in it."""
    jobs = json.loads((folder / "jobs.json").read_text())
    for name, job in jobs.items():
        place = folder / name
        models = {half: keras.saving.load_model(place / f"{half}.keras", compile=False) for half in HALVES}
        names = {half: _numbered(model) for half, model in models.items()}
        encoder, decoder = models.values()
        shape = (1, job["side"], job["side"], 3)
        stored = folder / f"tiles{job['side']}.npy"
        tiles = np.load(stored)[:, None] if stored.exists() else None
        if job["mode"] == "int8":
            assert tiles is not None
            given = job["latent_scale"] and _given_range(job["latent_scale"], job["zero_point"])
            kept = {
                half: {names[half].index(n) for n in job["fallback"] if n in names[half]} for half in HALVES
            }
            files, result = _int8(encoder, decoder, shape, tiles, given, kept)
        else:
            files, result = _float(encoder, decoder, shape, job["mode"], tiles), {}
        result["layers"] = {half: _layers(files[half], model, names[half]) for half, model in models.items()}
        for half, content in files.items():
            (place / f"{half}.tflite").write_bytes(_trim(content))
        (place / "result.json").write_text(json.dumps(result))


def _float(
    encoder: Any, decoder: Any, shape: tuple[int, ...], mode: str, tiles: np.ndarray | None
) -> dict[str, bytes]:
    converters = {
        "encoder": _converter(encoder, shape),
        "decoder": _converter(decoder, tuple(encoder.compute_output_shape(shape))),
    }
    if mode != "float32":
        for converter in converters.values():
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if mode == "float16":
                converter.target_spec.supported_types = [tf.float16]
    if mode == "int16x8":
        assert tiles is not None
        latents = [np.asarray(encoder(tile, training=False)) for tile in tiles]
        for converter, samples in zip(converters.values(), (list(tiles), latents), strict=True):
            converter.representative_dataset = lambda samples=samples: ([sample] for sample in samples)
            # TFLite has no 16-bit DEPTH_TO_SPACE: what is missing stays in float.
            converter.target_spec.supported_ops = [INT16X8, tf.lite.OpsSet.TFLITE_BUILTINS]
    return {half: converter.convert() for half, converter in converters.items()}


def _int8(
    encoder: Any,
    decoder: Any,
    shape: tuple[int, ...],
    tiles: np.ndarray,
    given: tuple[float, float] | None,
    fallback: dict[str, set[int]],
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Both halves; layers with the numbers `fallback` stay float."""
    latents = [np.asarray(encoder(tile, training=False)) for tile in tiles]
    low, high = given or _range(latents)
    scale = np.float32((high - low) / INT8_STEPS)
    zero_point = round(-128 - low / float(scale))
    # What the decoder will see: the latent on its int8 grid.
    latents = [np.clip(np.round(z / scale) + zero_point, -128, 127) for z in latents]
    latents = [((z - zero_point) * scale).astype("float32") for z in latents]
    files = {
        "encoder": _quantize(
            _calibrate(_converter(encoder, shape), list(tiles)), PIXELS, (low, high), fallback["encoder"]
        ),
        "decoder": _quantize(
            _calibrate(_converter(decoder, latents[0].shape), latents),
            (low, high),
            PIXELS,
            fallback["decoder"],
        ),
    }
    files["encoder"] = _set_scale(files["encoder"], "outputs", scale)
    files["decoder"] = _set_scale(files["decoder"], "inputs", scale)
    return files, {"scale": float(scale), "zero_point": zero_point}


def _converter(model: Any, shape: tuple[int, ...]) -> Any:
    function: Callable[[Any], Any] = tf.function(lambda x: model(x, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32))  # type: ignore[attr-defined]
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete])


def _given_range(scale: float, zero_point: int) -> tuple[float, float]:
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def _range(latents: list[np.ndarray]) -> tuple[float, float]:
    """The real values of int8 -128 and 127, such that 0 is exactly one of the 256 values."""
    low, high = min(0.0, *(float(z.min()) for z in latents)), max(0.0, *(float(z.max()) for z in latents))
    if high == low:
        high = low + 1.0  # a dead latent; any scale will do
    scale = (high - low) / INT8_STEPS
    zero_point = round(-128 - low / scale)
    return scale * (-128 - zero_point), scale * (127 - zero_point)


def _calibrate(converter: Any, samples: list[np.ndarray]) -> bytes:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    return with_own_ranges(converter.convert(), samples)


def _quantize(
    calibrated: bytes,
    source: tuple[float, float],
    goal: tuple[float, float],
    fallback: Collection[int] = (),
) -> bytes:
    """Quantize a calibrated model whose input and output have the ranges `source` and `goal`; int8 at both ends.

    Layers with the numbers `fallback` stay float, between DEQUANTIZE and QUANTIZE.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
    graph = model.subgraphs[0]
    fixed = _alike(model, int(graph.inputs[0]))
    for tensor in fixed:
        _set_range(graph.tensors[tensor], source)
    writers = {int(t): op for op in graph.operators for t in op.outputs}
    chain = _alike(model, int(graph.outputs[0]), back=True)
    made = {_name(model, writers[tensor]) for tensor in chain if tensor in writers}
    if not made.intersection(PRESCRIBED):
        fixed |= chain
        for tensor in chain:
            _set_range(graph.tensors[tensor], goal)
    _tie_merges(model, fixed)
    edited = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    kept = {
        name
        for name in (graph.tensors[op.outputs[0]].name.decode() for op in graph.operators)
        if _number(name) in fallback
    }
    quantized = tflite_convert.mlir_quantize(edited, denylisted_nodes=kept or None)
    return int8_ends(quantized, source, goal)


def _alike(model: Any, end: int, back: bool = False) -> set[int]:
    """`end` and the tensors that its values alone are moved to or (`back`) that they are moved from."""
    operators = model.subgraphs[0].operators  # in the order they run
    found = {end}
    for op in reversed(operators) if back else operators:
        name = _name(model, op)
        read = {int(t) for t in (op.inputs if name in MERGES else op.inputs[:1])}
        if name not in (*MOVES, *MERGES):
            continue
        if back and int(op.outputs[0]) in found:
            found |= read
        elif not back and read <= found:
            found.add(int(op.outputs[0]))
    return found


def _tie_merges(model: Any, fixed: set[int]) -> None:
    """Give all tensors that a concatenation joins one range, that of a `fixed` one or else one that holds all.

    The quantizer would give them one scale, too, but by rounding some of them once more.
    """
    graph = model.subgraphs[0]
    alike = {index: {index} for index in range(len(graph.tensors))}
    merges = []
    for op in graph.operators:
        name = _name(model, op)
        if name not in (*MOVES, *MERGES):
            continue
        ends = [*(op.inputs if name in MERGES else op.inputs[:1]), *op.outputs]
        group = set().union(*(alike[int(end)] for end in ends))
        alike.update(dict.fromkeys(group, group))
        merges += [int(op.outputs[0])] if name in MERGES else []
    done: set[int] = set()
    for output in merges:
        group = alike[output]
        known = [graph.tensors[index].quantization for index in group & fixed or group]
        known = [q for q in known if q is not None and q.min is not None]
        if known and output not in done:
            span = min(q.min[0] for q in known), max(q.max[0] for q in known)
            _set_ranges(graph, group - fixed, span)
            _tie_shift(model, alike, group, fixed, span)
        done |= group


def _tie_shift(
    model: Any, alike: dict[int, set[int]], group: set[int], fixed: set[int], span: tuple[float, float]
) -> None:
    """Give what becomes one of `group` by adding a number the same range less that number: then int8 rounds nothing.

    That holds where the number is a whole multiple of the group's step, which `beside` sees to when the range is `fixed`.
    Else the step is made one that divides the number, a little larger: that of one such addition.

    Args:
        alike: by tensor, those that have its range.
        span: of the group.
    """
    graph = model.subgraphs[0]
    for op in graph.operators:
        made = int(op.outputs[0])
        if made not in group or _name(model, op) != "ADD":
            continue
        sources, number = alike[int(op.inputs[0])], graph.tensors[op.inputs[1]]
        content = model.buffers[number.buffer].data
        if content is None or len(content) != np.dtype(np.float32).itemsize or sources & (fixed | group):
            continue
        readers = [other for other in graph.operators if sources & {int(tensor) for tensor in other.inputs}]
        if any(other is not op and not sources & {int(t) for t in other.outputs} for other in readers):
            continue  # something else reads what would get coarser steps
        offset = float(np.frombuffer(bytes(content), np.float32)[0])
        low, high = span
        steps = abs(offset) * INT8_STEPS / (high - low)
        whole = int(steps + SAME)
        if not group & fixed and whole >= LEAST_STEPS:
            low, high = low * steps / whole, high * steps / whole
            _set_ranges(graph, group, (low, high))
        elif abs(steps - whole) > SAME:
            continue
        if low < offset < high:
            _set_ranges(graph, sources, (low - offset, high - offset))
            return


def _set_ranges(graph: Any, tensors: Collection[int], ends: tuple[float, float]) -> None:
    for index in tensors:
        if graph.tensors[index].quantization is not None:
            _set_range(graph.tensors[index], ends)


def _name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) or str(code.builtinCode)


def _set_range(tensor: Any, ends: tuple[float, float]) -> None:
    tensor.quantization.min, tensor.quantization.max = [ends[0]], [ends[1]]


def _set_scale(content: bytes, end: str, scale: np.float32) -> bytes:
    """Write the scale of an end exactly: the converter takes it from float32 ends, one unit in the last place off.

    What its values are moved to or from has the same scale to the last bit, or XNNPACK would refuse the model.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    for tensor in _alike(model, int(getattr(graph, end)[0]), back=end == "outputs"):
        graph.tensors[tensor].quantization.scale = [float(scale)]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _numbered(model: Any) -> list[str]:
    """The names of a model's layers, which get numbers instead, since TensorFlow changes names in ways of its own."""
    names = [layer.name for layer in model.layers]
    for number, layer in enumerate(model.layers):
        layer.name = f"layer-{number}"
    return names


def _layers(content: bytes, model: Any, names: list[str]) -> list[str]:
    """The layer that each operation of a converted model comes from, by its name before `_numbered`."""
    graph = flatbuffer_utils.read_model_from_bytearray(bytearray(content)).subgraphs[0]
    last = model.layers.index(model.output._keras_history.operation)
    found = []
    for operation in graph.operators:
        number = _number(graph.tensors[operation.outputs[0]].name.decode())
        found.append(names[last if number is None else number])  # the output has a name of its own
    return found


def _number(tensor: str) -> int | None:
    """The number of the layer in a tensor's name, `model/layer-7_1/Relu;model/layer-7_1/BiasAdd ...`."""
    match = re.search(r"layer-(\d+)", tensor.split(";")[0])
    return int(match.group(1)) if match else None


def _trim(content: bytes) -> bytes:
    """Leave out what only debuggers read (tensor names, metadata): a good part of a small model's bytes."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for graph in model.subgraphs:
        graph.name = None
        for tensor in graph.tensors:
            tensor.name = None
            if tensor.quantization is not None:
                tensor.quantization.min = tensor.quantization.max = None
    model.metadata = model.description = model.signatureDefs = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
