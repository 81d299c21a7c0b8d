"""What the training of finished networks shares: its optimizer, its checks, and how the weights come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.train.losses import LEAST_SIDE

from .errors import EdgepressError
from .graph import rebuild
from .recipe import DecoderPart, RdPart
from .tf_fit import large_enough

WARMUP = 50  # steps in which the rate of learning rises
AVERAGED = 0.995  # of the moving average of the weights that is the result
LEAST_SIZE = 0.01  # of a variable, in terms of the median: zeros would stay zeros


class RelativeAdam(keras.optimizers.Adam):
    """Adam whose rate of learning is a share of each variable's own size: the halves' weights differ a hundredfold, since
    factors of channels have been moved about. `finalize_variable_values` puts moving averages in their places.

    Args:
        variables: what is trained.
        peak: the rate of learning, which rises to it linearly and falls to 0 as a cosine.
        steps: of the whole training.
    """

    def __init__(self, variables: Sequence[Any], peak: float, steps: int) -> None:
        rise = min(WARMUP, steps)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - rise), warmup_target=peak, warmup_steps=rise
        )
        super().__init__(rate, epsilon=1e-12, use_ema=True, ema_momentum=AVERAGED)
        sizes = [float(np.sqrt(np.mean(np.square(v.numpy())))) for v in variables]
        self._sizes = [max(size, LEAST_SIZE * float(np.median(sizes))) for size in sizes]
        self.build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        size = self._sizes[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * size)


def trainable(
    images: Sequence[NDArray[np.uint8]], settings: RdPart | DecoderPart, part: str
) -> list[NDArray[np.uint8]]:
    """The images that have crops of that size.

    part: of the recipe, for the message.

    Raises: EdgepressError when there are none, and for crops too small for MS-SSIM where `structure` asks for it.
    """
    crop = settings.crop
    if settings.structure and crop < LEAST_SIDE:
        raise EdgepressError(
            f"{part}.structure needs crops of at least {LEAST_SIDE} pixels, not {crop}: "
            f"raise {part}.crop, or set {part}.structure = 0"
        )
    return large_enough(images, crop)


def taken_back(model: Any, learner: Any) -> Any:
    """A copy of a flat model with the weights of `learner`, which was `opened` from it and trained."""
    made = rebuild(model)
    for layer in made.layers:
        if layer.weights:
            layer.set_weights(learner.get_layer(layer.name).get_weights())
    return made
