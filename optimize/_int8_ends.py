"""int8 at both ends of a quantized TFLite model whose ends are float32, also where the first or last layers stayed float."""

from __future__ import annotations

from typing import Any

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

Range = tuple[float, float]


def int8_ends(content: bytes, source: Range, goal: Range) -> bytes:
    """The model with an int8 input and output; `source` and `goal` are the values of -128 and 127 where a layer at
    that end is float, so that nothing says how to quantize it."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    entry, exit_ = int(graph.inputs[0]), int(graph.outputs[0])

    quantizers = [op for op in graph.operators if _is(model, op, "QUANTIZE") and op.inputs[0] == entry]
    for op in quantizers[:1]:
        graph.operators.remove(op)
    inner = int(quantizers[0].outputs[0]) if quantizers else _tensor(graph, entry, source)
    if any(entry in op.inputs for op in graph.operators):  # read by float layers
        graph.operators.insert(0, _operation(model, "DEQUANTIZE", inner, entry))
    graph.inputs = [inner]

    writer = next(op for op in graph.operators if exit_ in op.outputs)
    if _is(model, writer, "DEQUANTIZE"):
        graph.operators.remove(writer)
        outer = int(writer.inputs[0])
    else:
        outer = _tensor(graph, exit_, goal)
        graph.operators.append(_operation(model, "QUANTIZE", exit_, outer))
    graph.outputs = [outer]
    for signature in model.signatureDefs or []:
        signature.inputs[0].tensorIndex, signature.outputs[0].tensorIndex = inner, outer
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _is(model: Any, operation: Any, name: str) -> bool:
    return flatbuffer_utils.opcode_to_name(model, operation.opcodeIndex) == name


def _tensor(graph: Any, like: int, ends: Range) -> int:
    """A new int8 tensor of the shape of another one."""
    old, new = graph.tensors[like], schema.TensorT()
    new.shape, new.shapeSignature, new.name = old.shape, old.shapeSignature, old.name + b"_int8"
    new.type, new.buffer = schema.TensorType.INT8, 0
    scale = (ends[1] - ends[0]) / 255
    new.quantization = schema.QuantizationParametersT()
    new.quantization.scale, new.quantization.zeroPoint = [scale], [round(-128 - ends[0] / scale)]
    graph.tensors.append(new)
    return len(graph.tensors) - 1


def _operation(model: Any, name: str, source: int, goal: int) -> Any:
    code = getattr(schema.BuiltinOperator, name)
    known = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    if code not in known:
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), 2
        model.operatorCodes.append(made)
        known.append(code)
    operation = schema.OperatorT()
    operation.opcodeIndex, operation.inputs, operation.outputs = known.index(code), [source], [goal]
    return operation
