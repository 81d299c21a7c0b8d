"""Quantization-aware training through tensorflow-model-optimization: weights learn to live with int8 (Jacob et al. 2018).

The int8 scheme of TFLite is simulated as our converter applies it: weights symmetric by output channel, outputs of layers
by tensor, concatenated tensors with one range, nothing where values only move, and the latent on the very grid that becomes
the symbol (a fixed range from -128 to 127 steps). tfmot's own graph is not what is converted: the trained weights go back
into the Keras 3 halves, and `convert` quantizes those, since only it keeps encoder and decoder on one latent scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from .bridge import TFDepthToSpace, TFSpaceToDepth, to_tf_keras
from .errors import EdgepressError
from .graph import rebuild, replay
from .latent_range import LatentRange, fold_latent
from .split import Halves
from .tf_fit import Progress, fit

# Layers whose output is rounded; others only move values, or become part of the layer before.
ROUNDS = (
    *("Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D", "Dense"),
    *("Add", "Subtract", "Multiply", "Average", "Concatenate", "AveragePooling2D"),
    *("LeakyReLU", "PReLU", "ReLU", "ELU", "Activation"),
)
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


@dataclass(frozen=True)
class QuantizedTraining:
    """The trained halves, in the latent of the `LatentRange` they came from, and the loss under simulated int8."""

    halves: Halves
    loss_before: float
    loss_after: float


def train_quantized(
    filled: LatentRange,
    images: Sequence[np.ndarray],
    loss: Callable[[Any, Any], Any],
    *,
    steps: int = 500,
    batch: int = 8,
    crop: int = 64,
    learning_rate: float = 2e-4,
    seed: int = 0,
    progress: Progress | None = None,
) -> QuantizedTraining:
    """Fine-tune an autoencoder under simulated int8; convert the result with `filled.int8_scale` and `filled.zero_point`.

    Args:
        filled: halves whose latent is in int8 steps (`latent_range.fill_int8`), of layers that the bridge knows.
        images, loss, steps, batch, crop, learning_rate, seed, progress: as in `prune.prune`.

    Raises: EdgepressError for images that cannot be used; UnsupportedModelError from the bridge.
    """
    if steps < 1:
        raise EdgepressError(f"quantization-aware training needs at least 1 step, not {steps}")
    import tensorflow_model_optimization as tfmot
    import tf_keras

    # Adam's steps have one size for all weights, so the latent is trained at about its original size, not in int8 steps.
    size = float(np.exp(np.log(filled.scale).mean())) if filled.int8_scale == 1 else 1.0
    halves = _times(filled.halves, size)
    step = filled.int8_scale * size
    source = to_tf_keras(_joined(halves))
    configs = _configs(tfmot, (step * (-128 - filled.zero_point), step * (127 - filled.zero_point)))
    rounds = {layer.name: _how(layer) for layer in source.layers}

    def annotate(layer: Any) -> Any:
        return tfmot.quantization.keras.quantize_annotate_layer(layer, configs[rounds[layer.name]]())

    custom = {
        "TFDepthToSpace": TFDepthToSpace,
        "TFSpaceToDepth": TFSpaceToDepth,
        **{config.__name__: config for config in configs.values()},
    }
    with tfmot.quantization.keras.quantize_scope(custom):
        annotated = tf_keras.models.clone_model(source, clone_function=annotate)
        trained = tfmot.quantization.keras.quantize_apply(annotated)
    before, after = fit(
        trained,
        images,
        loss,
        steps=steps,
        batch=batch,
        crop=crop,
        learning_rate=learning_rate,
        seed=seed,
        progress=progress,
    )
    return QuantizedTraining(_times(_halves(halves, trained), 1 / size), before, after)


def _times(halves: Halves, factor: float) -> Halves:
    """The halves with a latent `factor` times as large."""
    if factor == 1:
        return halves
    scaled = fold_latent(halves, np.full(halves.latent.channels, 1 / factor, np.float32))
    assert scaled is not None, "what let the factors of channels through lets this one through"
    return scaled


def _joined(halves: Halves) -> Any:
    """Decoder after encoder as one flat model, whose layers are called by half and name."""
    image = keras.Input(halves.encoder.input.shape[1:], name="image")
    value = image
    for half, model in (("encoder", halves.encoder), ("decoder", halves.decoder)):
        copies: dict[int, Any] = {}

        def copy(operation: Any, *args: Any, half: str = half, copies: Any = copies, **kwargs: Any) -> Any:
            if not isinstance(operation, keras.layers.Layer):
                return operation(*args, **kwargs)
            fresh = id(operation) not in copies
            if fresh:
                config = {**operation.get_config(), "name": f"{half}-{operation.name}"}
                copies[id(operation)] = type(operation).from_config(config)
            output = copies[id(operation)](*args, **kwargs)
            if fresh:
                copies[id(operation)].set_weights(operation.get_weights())
            return output

        value = replay(model, [value], copy)[0]
    return keras.Model(image, value)


def _how(layer: Any) -> str:
    """Which of the `_configs` a layer of the tf_keras model gets."""
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    if readers and all(type(reader).__name__ == "Concatenate" for reader in readers):
        return "weights only"  # concatenated tensors share the range of the result
    if readers and layer.name.startswith("encoder-") and readers[0].name.startswith("decoder-"):
        return "latent"
    return "rounded" if type(layer).__name__ in ROUNDS else "moved"


def _configs(tfmot: Any, latent_ends: tuple[float, float]) -> dict[str, Any]:
    """tfmot's classes that say what of a layer is rounded; made here, since their bases need an import that takes seconds."""
    kinds = tfmot.quantization.keras.quantizers
    weights = kinds.LastValueQuantizer(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)
    depthwise = kinds.LastValueQuantizer(num_bits=8, per_axis=False, symmetric=True, narrow_range=True)
    outputs = kinds.AllValuesQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
    fixed = kinds.FixedQuantizer(8, *latent_ends, narrow_range=False)

    class Moved(tfmot.quantization.keras.QuantizeConfig):
        """Rounds nothing."""

        def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
            return []

        def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
            return []

        def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
            pass

        def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
            pass

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_config(self) -> dict[str, Any]:
            return {}

    class WeightsOnly(Moved):
        def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
            return [
                # The last axis of a depthwise kernel is no channel: one range for all is a little more than TFLite's noise.
                (getattr(layer, name), depthwise if name == "depthwise_kernel" else weights)
                for name in KERNELS
                if getattr(layer, name, None) is not None
            ]

        def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
            names = [name for name in KERNELS if getattr(layer, name, None) is not None]
            for name, value in zip(names, quantize_weights, strict=True):
                setattr(layer, name, value)

    class Rounded(WeightsOnly):
        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return [outputs]

    class Latent(WeightsOnly):
        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return [fixed]

    return {"moved": Moved, "weights only": WeightsOnly, "rounded": Rounded, "latent": Latent}


def _halves(halves: Halves, trained: Any) -> Halves:
    """Copies of the halves with the weights of the trained model, whose wrapped layers keep their names behind a prefix."""
    copies = {"encoder": rebuild(halves.encoder), "decoder": rebuild(halves.decoder)}
    wrapped = {layer.layer.name: layer for layer in trained.layers if hasattr(layer, "layer")}
    for half, model in copies.items():
        for layer in model.layers:
            if layer.weights:
                found = {_short(v.name): v.numpy() for v in wrapped[f"{half}-{layer.name}"].weights}
                if type(layer).__name__ == "DepthwiseConv2D":
                    found["kernel"] = found["depthwise_kernel"]  # as Keras 3 calls it
                layer.set_weights([found[_short(weight.path)] for weight in layer.weights])
    return replace(halves, **copies)


def _short(name: str) -> str:
    """`a/kernel:0` -> `kernel`."""
    return name.split("/")[-1].split(":")[0]
