"""Split, rewrite, prune, quantize and package a trained autoencoder."""

from __future__ import annotations

import importlib
from typing import Any

# Where the public names live; imported on first use, since each needs TensorFlow.
_HOMES = {
    "from_tf_keras": "bridge",
    "to_tf_keras": "bridge",
    "load": "load",
    "load_model": "load",
    "find_latent": "split",
    "convert_pair": "convert",
    "optimize": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(module, name)
