"""How much a unit of channels matters: four criteria, each one number per unit, larger being more important.

    bn_scale    |gamma| of the batch normalizations that carry the unit (Liu et al. 2017, "Network slimming")
    magnitude   mean |weight| of the filters that make it (Li et al. 2017, "Pruning filters for efficient ConvNets")
    activation  mean |value| on images, times the norm of the weights that read it
    taylor      squared change of the loss, to first order, if the unit were zero (Molchanov et al. 2019, "Importance estimation
                for neural network pruning"): the sum of weight times gradient over the weights that read it

The first three have another scale in every layer: each is divided by the sum of those in its group that are not smaller (Lee et
al. 2021, "Layer-adaptive sparsity", LAMP), so that no layer loses all it has. taylor compares layers as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel_graph import MIXES, ChannelPlan, observe
from .errors import EdgepressError

CRITERIA = ("taylor", "activation", "magnitude", "bn_scale")
SAMPLES = 64  # images that taylor takes gradients of, and that activation looks at

Loss = Callable[[Any, Any], Any]
Scores = NDArray[np.float64]


def score(
    found: ChannelPlan, images: Sequence[np.ndarray], criterion: str, loss: Loss | None = None
) -> tuple[Scores, list[str]]:
    """The importance of every unit, float64[units] (meaningful for those in groups), and remarks for the user.

    Args:
        images: float32 (H, W, 3); the first 64 serve. For bn_scale and magnitude they may be missing.
        criterion: one of CRITERIA.
        loss: (target, output) -> loss per image, of taylor; None: mean squared error.

    Raises: EdgepressError for an unknown criterion, or without images where they are needed.
    """
    if criterion not in CRITERIA:
        raise EdgepressError(f"no criterion is called {criterion!r}; choose one of {', '.join(CRITERIA)}")
    if criterion in ("taylor", "activation") and not images:
        raise EdgepressError(f"the criterion {criterion} needs images; there are none")
    if criterion == "taylor":
        return _taylor(found, images[:SAMPLES], loss or _squared), []
    if criterion == "activation":
        return _relative(found, _activation(found, images[:SAMPLES])), []
    magnitude = _relative(found, _magnitude(found))
    if criterion == "magnitude":
        return magnitude, []
    return _bn_scale(found, magnitude)


def _mixing(found: ChannelPlan) -> list[Any]:
    layers = (found.model.get_layer(name) for name in found.writes)
    return [layer for layer in layers if type(layer).__name__ in MIXES]


def _collect(found: ChannelPlan, values: dict[str, np.ndarray], side: str) -> Scores:
    """Sums of per-channel values (by layer) over the channels of each unit."""
    total = np.zeros(found.units)
    for name, value in values.items():
        np.add.at(total, (found.reads if side == "reads" else found.writes)[name], value)
    return total


def _by_input(layer: Any, values: np.ndarray) -> np.ndarray:
    """Sums over all but the input channels of an array in the shape of the layer's first kernel."""
    axis = {"Conv2DTranspose": 3, "Dense": 0}.get(type(layer).__name__, 2)
    return values.sum(axis=tuple(a for a in range(values.ndim) if a != axis))


def _by_output(layer: Any, values: np.ndarray) -> np.ndarray:
    axis = 2 if type(layer).__name__ == "Conv2DTranspose" else values.ndim - 1
    return values.mean(axis=tuple(a for a in range(values.ndim) if a != axis))


def _magnitude(found: ChannelPlan) -> Scores:
    filters = {}
    for layer in _mixing(found):
        kernel = layer.get_weights()[1 if type(layer).__name__ == "SeparableConv2D" else 0]
        filters[layer.name] = _by_output(layer, np.abs(kernel))
    return _collect(found, filters, "writes")


def _activation(found: ChannelPlan, images: Sequence[np.ndarray]) -> Scores:
    sums: dict[str, np.ndarray] = {}
    names = {layer.name for layer in _mixing(found)}

    def visit(layer: Any, source: Any) -> None:
        if layer.name in names:
            values = np.abs(np.asarray(source).reshape(-1, source.shape[-1])).mean(axis=0, dtype=float)
            sums[layer.name] = sums.get(layer.name, 0.0) + values

    for image in images:
        observe(found.model, image[None], visit)
    weighed = {
        layer.name: sums[layer.name] * np.sqrt(_by_input(layer, np.square(layer.get_weights()[0])))
        for layer in _mixing(found)
    }
    return _collect(found, weighed, "reads") / len(images)


def _taylor(found: ChannelPlan, images: Sequence[np.ndarray], loss: Loss) -> Scores:
    import tensorflow as tf

    layers = _mixing(found)
    kernels = [
        layer.depthwise_kernel if type(layer).__name__ == "SeparableConv2D" else layer.kernel
        for layer in layers
    ]
    values = [kernel.value for kernel in kernels]

    @tf.function(reduce_retracing=True)
    def products(image: Any) -> list[Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            lost = tf.reduce_mean(loss(image, found.model(image, training=False)))
        slopes = tape.gradient(lost, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [value * slope for value, slope in zip(values, slopes, strict=True)]

    total = np.zeros(found.units)
    for image in images:
        found_here = zip(layers, products(image[None]), strict=True)
        changes = {layer.name: _by_input(layer, np.asarray(p, float)) for layer, p in found_here}
        # A unit's changes in all its readers add up before they are squared: it goes from all of them at once.
        total += np.square(_collect(found, changes, "reads"))
    return total / len(images)


def _bn_scale(found: ChannelPlan, fallback: Scores) -> tuple[Scores, list[str]]:
    scales = {
        layer.name: np.abs(np.asarray(layer.gamma))
        for layer in found.model.layers
        if type(layer).__name__ == "BatchNormalization" and layer.scale and layer.name in found.writes
    }
    carried = np.zeros(found.units, bool)
    for name in scales:
        carried[found.writes[name]] = True
    values = _relative(found, _collect(found, scales, "writes"))
    without = [group.writers[0] for group in found.groups if not carried[list(group.units)].all()]
    if not without:
        return values, []
    what = "no layer is" if len(without) == len(found.groups) else f"{', '.join(without)} are not"
    return np.where(carried, values, fallback), [
        f"{what} followed by a batch normalization with a scale: magnitude stands in for bn_scale there"
    ]


def _relative(found: ChannelPlan, values: Scores) -> Scores:
    """Each value divided by the sum of those in its group that are not smaller."""
    scaled = np.zeros(found.units)
    for group in found.groups:
        units = np.array(group.units)
        units = units[np.argsort(-values[units], kind="stable")]
        scaled[units] = values[units] / np.maximum(np.cumsum(values[units]), 1e-30)
    return scaled


def _squared(target: Any, output: Any) -> Any:
    from edgepress.train.losses import mse

    return mse(target, output)
