"""Channel pruning to a share of the multiply-adds: the least important channels go first, in whole SIMD groups.

Greedy over the whole model: of every group of coupled channels the least important eight are a candidate; the candidate with
the least importance per multiply-add saved is removed, and so on until the share is reached (the knapsack view of
Molchanov et al. 2019 and of Shen et al. 2022, "Structural pruning via latency-saliency knapsack"). What remains is
fine-tuned by `distill.fine_tune`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel_cut import cut
from .channel_graph import MIXES, ChannelPlan, plan
from .channel_scores import Loss, Scores, score
from .errors import EdgepressError


@dataclass(frozen=True)
class PrunedChannels:
    """What `prune_channels` made.

    Attributes:
        model: the smaller model, same layer names, not yet fine-tuned.
        macs_before, macs_after: multiply-adds per image pixel, of all layers.
        channels: by layer, (before, after), where they differ.
        notes: remarks for the user, one sentence each.
    """

    model: Any
    macs_before: float
    macs_after: float
    channels: dict[str, tuple[int, int]]
    notes: tuple[str, ...]


def prune_channels(
    model: Any,
    images: Sequence[np.ndarray],
    keep_macs: float,
    criterion: str = "taylor",
    latent: str = "",
    group: int = 8,
    *,
    cut_latent: bool = False,
    loss: Loss | None = None,
) -> PrunedChannels:
    """Remove channels until the model has at most `keep_macs` of its multiply-adds.

    Args:
        model: flat functional Keras 3 model, before or after `rewrite`; left as it is.
        images: float32 (H, W, 3) in the model's input range, on which importance is measured (64 are enough).
        keep_macs: share of the multiply-adds that may remain, above 0 and at most 1.
        criterion: see `channel_scores`; bn_scale falls back to magnitude where nothing is normalized and notes it.
        latent: layer whose output is coded; its channels stay unless `cut_latent`.
        group: the number of channels that remain is a multiple of this in every group (or what it was).
        loss: of the criterion taylor; None: mean squared error.

    Raises: EdgepressError for settings out of range, without images where they are needed, and when removing all but `group`
        channels everywhere does not reach the share.
    """
    if not 0 < keep_macs <= 1:
        raise EdgepressError(f"keep_macs must lie above 0 and not above 1, not {keep_macs}")
    if group < 1:
        raise EdgepressError(f"group must be at least 1, not {group}")
    found = plan(model, latent, cut_latent=cut_latent)
    importance, notes = score(found, images, criterion, loss)
    kept = choose(found, importance, keep_macs, group)
    counts = {
        name: (len(made), int(kept[made].sum()))
        for name, made in found.writes.items()
        if type(model.get_layer(name)).__name__ in MIXES
    }
    changed = {name: pair for name, pair in counts.items() if pair[0] != pair[1]}
    return PrunedChannels(cut(found, kept), found.macs(), found.macs(kept), changed, tuple(notes))


def choose(found: ChannelPlan, importance: Scores, keep_macs: float, group: int) -> NDArray[np.bool_]:
    """Which units stay, bool[units]: as few as give at most `keep_macs` of the multiply-adds, the important ones.

    Raises: EdgepressError when no choice does.
    """
    kept = np.ones(found.units, bool)
    queues = [sorted(members.units, key=lambda unit: float(importance[unit])) for members in found.groups]
    wanted, now = keep_macs * found.macs(), found.macs()
    removed: list[tuple[float, int, list[int]]] = []
    while now > wanted:
        best, best_ratio, best_macs = -1, np.inf, now
        for i, queue in enumerate(queues):
            chunk = _chunk(len(queue), group)
            if not chunk:
                continue
            kept[queue[:chunk]] = False
            macs = found.macs(kept)
            kept[queue[:chunk]] = True
            ratio = float(importance[queue[:chunk]].sum()) / max(now - macs, 1e-9)
            if ratio < best_ratio:
                best, best_ratio, best_macs = i, ratio, macs
        if best < 0:
            raise EdgepressError(
                f"with {group} channels left everywhere the model still has {now / found.macs():.0%} of its multiply-adds; "
                f"keep_macs cannot be {keep_macs:g}, unless channels.group is smaller"
            )
        chunk = _chunk(len(queues[best]), group)
        kept[queues[best][:chunk]] = False
        removed.append((best_ratio, best, queues[best][:chunk]))
        queues[best] = queues[best][chunk:]
        now = best_macs
    # The last step may have gone further than it had to: give back what still fits, the dearest first, and in every group
    # the last first, since only that leaves multiples.
    done: set[int] = set()
    for _, i, units in sorted(removed[::-1], key=lambda entry: -entry[0]):
        if i in done:
            continue
        kept[units] = True
        if found.macs(kept) > wanted:
            kept[units] = False
            done.add(i)
    return kept


def _chunk(count: int, group: int) -> int:
    """How many channels go at once: down to the next multiple of `group` that is not zero; 0 when none can."""
    rest = (count - 1) // group * group
    return count - rest if rest else 0
