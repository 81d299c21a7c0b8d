"""How much a layer of a traced Keras model computes."""

from __future__ import annotations

import numpy as np

from .graph import Step


def layer_macs(step: Step) -> int:
    """Multiply-adds of one operation of `graph.trace`: convolutions and matrix products; others have none."""
    weights = [w for w in getattr(step.operation, "weights", []) if "kernel" in w.name]
    if not weights:
        return 0
    places = int(np.prod(step.output.shape[1:-1]))
    if type(step.operation).__name__ == "Conv2DTranspose":  # takes a kernel for every position of its input
        places //= int(np.prod(step.operation.strides))
    return sum(int(np.prod(w.shape)) for w in weights) * places
