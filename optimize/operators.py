"""Operations on tensors, as `a + b`, `x / 255` or `ops.relu(x)` leave them in a graph, as the layers that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MERGES = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "maximum": "Maximum",
    "minimum": "Minimum",
}
_FUNCTIONS = {
    **{name: name for name in ("relu", "relu6", "sigmoid", "tanh", "elu")},
    **{"silu": "swish", "swish": "swish"},
}
# What adds or multiplies a number: (number, whether the tensor comes first) -> scale and offset.
_NUMBERS: dict[str, Callable[[float, bool], tuple[float, float]]] = {
    "add": lambda n, _: (1.0, n),
    "subtract": lambda n, first: (1.0, -n) if first else (-1.0, n),
    "multiply": lambda n, _: (n, 0.0),
    "divide": lambda n, first: (1 / n if first and n else 0.0, 0.0),
}
_ALIASES = {
    "truedivide": "divide",
    "truediv": "divide",
    "sub": "subtract",
    "mul": "multiply",
    "concat": "concatenate",
}


def as_layer(
    kind: str, given: list[Any], is_tensor: Callable[[Any], bool], axis: Any, layers: Any, name: str
) -> tuple[Any, Any] | None:
    """(a new layer, what it is called with) that does what an operation does; None where no layer does.

    Args:
        kind: name of the operation in keras.ops or TensorFlow, e.g. "Add" or "math.truediv".
        given: its arguments, flattened, in order, None left out.
        is_tensor: tells the tensors among them.
        axis: of a concatenation, for maps (B, H, W, C).
        layers: the module keras.layers or tf_keras.layers.
        name: for the layer.
    """
    kind = kind.rpartition(".")[2].lower()
    kind = _ALIASES.get(kind, kind)
    tensors = [value for value in given if is_tensor(value)]
    numbers = [v for v in given if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if kind == "concatenate" and axis in (-1, 3) and len(tensors) > 1:
        return layers.Concatenate(name=name), tensors
    if kind in _FUNCTIONS and len(tensors) == 1 == len(given):
        return layers.Activation(_FUNCTIONS[kind], name=name), tensors[0]
    if len(given) != 2:
        return None
    if kind in _MERGES and len(tensors) == 2:
        return getattr(layers, _MERGES[kind])(name=name), tensors
    if kind in _NUMBERS and len(tensors) == 1 == len(numbers):
        scale, offset = _NUMBERS[kind](float(numbers[0]), is_tensor(given[0]))
        if scale:
            return layers.Rescaling(scale, offset, name=name), tensors[0]
    return None
