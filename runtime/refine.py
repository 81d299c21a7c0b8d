"""Coarse values of a latent brought nearer to what they were, by the values around them.

What changes slowly over a picture, the means of blocks above all, lies in channels whose symbols are predicted from their
neighbours. Where their steps are coarse, slow changes become stairs, and a sky patches of flat colour. But what is one step of
the quantizer between neighbours most likely was less: a value is moved toward those that are up to 3/2 steps away, and any that
are further are edges and do not count. By how much is found on photographs (least squares of what quantization does to them,
`EntropyTables.refine_w`), for positions at which all channels without a prediction are zero, as in flat parts, and for others.

(JPEG's standard, ITU-T T.81, K.8, has decoders make up slopes within blocks from the means around them. Here the means
themselves are estimated, and the decoder network does the rest.)

Integers only, so that every machine makes the same of the same symbols. `_coder_refine.h` does so in C.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ONE = 128  # a weight of 1
_FAR = 1000  # further from all values than any limit, where there is no neighbour


def refine(
    latent: NDArray[np.int8],
    zero_point: int,
    steps: NDArray[np.uint16],
    weights: NDArray[np.uint8],
    alone: NDArray[np.bool_],
) -> None:
    """Refine a latent in place.

    Args:
        latent: int8[H,W,C], dequantized.
        zero_point: of the latent, what symbols of 0 became.
        steps: uint16[C], the quantizer's, in 1/16 of an int8 step.
        weights: uint8[C,4], in 1/128, as in `EntropyTables.refine_w`; a channel with none is left as it is.
        alone: bool[C], the channels without a prediction: where one is not zero, something else is coded.
    """
    refined = weights.any(axis=1)
    if not refined.any():
        return
    busy = (latent[..., alone] != zero_point).any(axis=2)
    straight, diagonal = around(latent[..., refined], steps[refined])
    w = np.where(busy[..., None, None], weights[refined, 2:], weights[refined, :2]).astype(np.int32)
    moved = latent[..., refined] + ((straight * w[..., 0] + diagonal * w[..., 1] + ONE // 2) // ONE)
    latent[..., refined] = np.clip(moved, -128, 127)


def around(
    values: NDArray[np.int8], steps: NDArray[np.uint16]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """How far the neighbours of values int8[H,W,C] are from them, summed over those up to 3/2 steps away.

    Returns: int32[H,W,C] of the four straight ones, and of the four diagonal ones.
    """
    own = values.astype(np.int32)
    padded = np.pad(own, ((1, 1), (1, 1), (0, 0)), constant_values=_FAR)
    limit = np.minimum(3 * steps.astype(np.int32) >> 5, 255)
    height, width, _ = own.shape
    sums = [np.zeros_like(own), np.zeros_like(own)]
    for y in range(3):
        for x in range(3):
            distance = padded[y : y + height, x : x + width] - own
            sums[y != 1 and x != 1] += np.where(np.abs(distance) <= limit, distance, 0)
    return sums[0], sums[1]
