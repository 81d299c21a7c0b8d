"""The borders of blocks smoothed, where they are all that is to be seen: what a decoder does at low qualities.

A transform of blocks leaves a step where two of them meet, as large as the quantization of their means is coarse. In flat parts
of a picture it is seen before anything else. A decoder's convolutions round it off (STEP); here it becomes a slope that reaches
nearly from the middle of one block to that of the next, as if their means were interpolated; what lies upon it stays as it is.
Steps that are larger than quantization makes them are edges of the picture and stay, and so do those with much else going on,
which hides them.

(Deblocking is part of most video codecs, and there, too, it goes by the quantizer and by what is beside a border: List et al.,
"Adaptive deblocking filter", 2003. Those filters average pixels; this one adds the difference of two slopes.)

Integers only, so that every machine makes the same of the same pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .coder import native
from .manifest import REACH
from .tables import EntropyTables

UNIT = 16  # of a package's smoothing, 1/32 of a grey level a unit: limits are in 1/32 of levels, latent steps in 1/16 of units
LEAST, MOST = 6 * 32, 255 * 32  # the smallest limit that is worth the time, and what no step is above
FLAT = 3  # grey levels, root mean square, of what goes on between neighbouring pixels and halves what is done
OUTER = REACH // 2  # pixels on either side, away from the border, between whose means the step is measured
# In 1/256, from pixel to pixel across a border: a step as the decoder of `photo` leaves it (the median in flat parts of
# photographs), and what of it is to be there instead, between the middles of the outer pixels.
STEP = np.array([0, 0, 5, 10, 21, 36, 51, 110, 146, 205, 220, 235, 246, 251, 256, 256], np.int32)
SLOPE = np.rint(256 * np.clip(0.5 + (np.arange(2 * REACH) + 0.5 - REACH) / 12, 0, 1)).astype(np.int32)
SPREAD, CHANGE = np.diff(STEP), SLOPE - STEP
# The same for what is left between the two pixels at the border, in 1/16 of halves: all of it there, less and less beside it.
REST = np.concatenate([np.arange(1, 2 * REACH, 2), np.arange(1 - 2 * REACH, 0, 2)]).astype(np.int32)


def limit_of(tables: EntropyTables, smoothing: int, quality: int) -> int:
    """The step across a border, in 1/32 of grey levels, from which on less is done, and nothing from twice as much on.

    smoothing: of the package; 0 for a network without seams.

    Returns: 0 where there is nothing to do.
    """
    found = int(tables.step16[quality - 1]) * smoothing // UNIT
    return min(found, MOST) if found >= LEAST else 0


def smooth(pixels: NDArray[np.uint8], block: int, limit: int) -> None:
    """Smooth the borders of blocks in an image, in place.

    Args:
        pixels: HxWx3 in one piece, both sides multiples of `block`.
        block: side of a block, a multiple of 2 * REACH.
        limit: 1..MOST, see `limit_of`.
    """
    if native is not None:
        native.smooth(pixels, *pixels.shape[:2], block, limit)
        return
    _across(pixels, block, limit)
    _across(pixels.swapaxes(0, 1), block, limit)


def _across(pixels: NDArray[np.uint8], block: int, limit: int) -> None:
    """Those between columns of blocks, in segments of REACH rows."""
    height, width, colours = pixels.shape
    borders = width // block - 1
    # What a border reaches does not meet what the next one reaches: (segments, REACH, borders, 2 * REACH, colours)
    beside = slice(block // 2 - REACH, block // 2 + REACH)
    inner = pixels[:, block // 2 : width - block // 2]
    near = inner.reshape(height // REACH, REACH, borders, block, colours)[:, :, :, beside].astype(np.int32)
    left, right = (near[:, :, :, part].sum(axis=(1, 3)) for part in (slice(OUTER), slice(-OUTER, None)))
    step = right - left  # (segments, borders, colours), in 1/32 of levels
    # What of the steps from pixel to pixel is this one's own, and how much else goes on
    own = (step[:, :, None] * SPREAD[:, None] + (1 << 12)) >> 13
    busy = np.square(np.diff(near, axis=3) - own[:, None]).sum(axis=(1, 3, 4))
    flat = FLAT**2 * (2 * REACH - 1) * REACH * colours
    share = (flat << 8) // (flat + busy)
    most = np.abs(step).max(axis=2)
    share = np.where(most > limit, share * np.maximum(2 * limit - most, 0) // limit, share)
    # What of the step between the two pixels at the border is not, in 1/8 of levels
    middle = (near[:, :, :, REACH] - near[:, :, :, REACH - 1]).sum(axis=1)
    rest = middle - ((step * SPREAD[REACH - 1] + (1 << 9)) >> 10)
    change = step[:, :, None] * CHANGE[:, None] + 32 * rest[:, :, None] * REST[:, None]
    change *= share[..., None, None]
    shown = np.clip(near + ((change + (1 << 20)) >> 21)[:, None], 0, 255).astype(np.uint8)
    for border in range(borders):
        start = (border + 1) * block - REACH
        pixels[:, start : start + 2 * REACH] = shown[:, :, border].reshape(height, 2 * REACH, colours)
