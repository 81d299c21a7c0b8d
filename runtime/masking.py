"""How much of an error each position of a latent hides, which the encoder alone has to know.

The eye, and SSIM with it, sees less of an error the more goes on around it (contrast masking). So the encoder leaves out dear
ones (`EntropyTables.bank_dead`) in proportion to what goes on at their position, not everywhere alike. That is read off the
latent itself: the mean magnitude of the channels without a prediction, which are those of all that is not smooth, in steps of
quality 50. `_coder_masking.h` computes the very same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .tables import EntropyTables, check_quality

NEUTRAL = 16  # the masking that leaves `bank_dead` as it is
LARGEST = 63  # 16 * 128 + 63 * 255, times a step of 65535, fits into 31 bits
_SHIFT = 12  # of weights, which fit into 15 bits
_NEUTRAL_FROM = 95  # the quality


def weights(tables: EntropyTables, quality: int) -> NDArray[np.int16]:
    """int16[C]: what one int8 step of each channel adds to the masking of its position, in 1/2**12; all 0: it is neutral.

    The masking is (78 + quality) / 60 times the mean magnitude. That is a straight line through what gained most SSIM at each
    quality while the rate at equal PSNR, over all qualities, did not rise; found with the package photo, on validation
    photographs and on garments. From 95 on there was under 1% to gain, and nothing changes.
    """
    quality = check_quality(quality)
    alone = tables.alone[tables.set_for(quality)]
    if quality >= _NEUTRAL_FROM or not alone.any():
        return np.zeros(tables.channels, np.int16)
    # A step in 1/16 stands below, so that 16 times the masking is 256 times the quotient.
    above, below = 256 * (78 + quality) << _SHIFT, 60 * int(alone.sum()) * tables.steps(50).astype(np.int64)
    return np.where(alone, np.minimum((above + below // 2) // below, 0x7FFF), 0).astype(np.int16)


def masking(latent: NDArray[np.int8], zero_point: int, weights: NDArray[np.int16]) -> NDArray[np.int32]:
    """The masking of each position of a latent int8[H,W,C], int32[H,W] in 1/16: 0..63, 16 being neutral."""
    if not weights.any():
        return np.full(latent.shape[:2], NEUTRAL, np.int32)
    magnitudes = np.abs(latent.astype(np.int64) - zero_point)
    total = (magnitudes @ weights.astype(np.int64) + (1 << (_SHIFT - 1))) >> _SHIFT
    return np.minimum(total, LARGEST).astype(np.int32)
