"""Clusters residual histograms into a small bank of integer probability tables.

Method: Lloyd's algorithm with the code length as distortion (Kullback-Leibler k-means, Banerjee et al., 2005), so
that the bank minimizes the bits of the data it is fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.tables import PROB_BITS, PROB_SCALE

LIMIT = 255  # residuals are counted from -LIMIT to LIMIT; larger ones count as LIMIT
BINS = 2 * LIMIT + 1
MAX_RADIUS = 127
_ROUNDS = 12
_RESIDUALS = np.arange(-LIMIT, LIMIT + 1)


@dataclass(frozen=True)
class Bank:
    """Probability tables as `EntropyTables` stores them, and the bits of every residual under each.

    Attributes:
        radius: uint8[M].
        freq: uint16[sum(2R+2)].
        bits: float32[M, BINS], escapes included.
    """

    radius: NDArray[np.uint8]
    freq: NDArray[np.uint16]
    bits: NDArray[np.float32]

    def assign(self, counts: NDArray[np.float32]) -> NDArray[np.intp]:
        """The entry that codes each histogram (float32[cells, BINS]) in the fewest bits."""
        return np.argmin(counts @ self.bits.T, axis=1)


def fit_bank(counts: NDArray[np.float32], size: int) -> Bank:
    """A bank of at most `size` tables for histograms of residuals.

    Args:
        counts: float32[cells, BINS], how often each residual occurred in each cell.
        size: 1..255.
    """
    counts = counts[counts.sum(axis=1) > 0]
    if len(counts) == 0:  # nothing was ever coded: as if one zero had been
        counts = (_RESIDUALS == 0).astype(np.float32)[None]
    labels = _split_by_scale(counts, size)
    for _ in range(_ROUNDS):
        bits = -np.log2(_smooth(_gather(counts, labels)))
        labels = np.argmin(counts @ bits.T.astype(np.float32), axis=1)
        labels = _revive(counts, labels, bits, size)
    clusters = _gather(counts, labels)
    tables = [_integer_table(cluster) for cluster in clusters[clusters.sum(axis=1) > 0]]
    return Bank(
        np.array([(table.size - 2) // 2 for table in tables], np.uint8),
        np.concatenate(tables).astype(np.uint16),
        np.stack([_table_bits(table) for table in tables]),
    )


def _split_by_scale(counts: NDArray[np.float32], size: int) -> NDArray[np.intp]:
    """Cells in order of their mean magnitude, cut into groups of about equal bits."""
    total = counts.sum(axis=1)
    scale = counts @ np.abs(_RESIDUALS).astype(np.float32) / total
    order = np.argsort(scale, kind="stable")
    bits = _entropy_bits(counts)[order]
    share = np.cumsum(bits + 1e-3 * bits.sum() / bits.size + 1e-9)
    labels = np.empty(total.size, np.intp)
    labels[order] = np.minimum((share / share[-1] * size).astype(np.intp), size - 1)
    return labels


def _entropy_bits(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    total = counts.sum(axis=1, keepdims=True)
    return -(counts * np.log2(np.where(counts > 0, counts / total, 1))).sum(axis=1)


def _gather(counts: NDArray[np.float32], labels: NDArray[np.intp]) -> NDArray[np.float32]:
    """The sum of the cells of each label that occurs, float32[labels, BINS]."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return np.add.reduceat(counts[order], starts, axis=0)


def _smooth(clusters: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities [clusters, BINS]: counts plus two observations from a Laplace-like tail of the same scale."""
    total = clusters.sum(axis=1, keepdims=True, dtype=np.float64)
    scale = (clusters @ np.abs(_RESIDUALS).astype(np.float32))[:, None] / total
    decay = np.exp(-np.abs(_RESIDUALS) / (scale + 0.1))
    prior = decay / decay.sum(axis=1, keepdims=True) + 1e-6
    smooth = clusters + 2 * prior
    return smooth / smooth.sum(axis=1, keepdims=True)


def _revive(
    counts: NDArray[np.float32], labels: NDArray[np.intp], bits: NDArray[np.float64], size: int
) -> NDArray[np.intp]:
    """Give labels that lost all their cells to the clusters that waste most bits; half of those cells move over."""
    used = np.unique(labels)
    waste = np.einsum("ij,ij->i", counts, bits[labels].astype(np.float32)) - _entropy_bits(counts)
    per_label = np.bincount(labels, waste, minlength=bits.shape[0])
    free = size - used.size
    labels = labels.copy()
    fresh = bits.shape[0]
    for label in np.argsort(-per_label, kind="stable")[:free]:
        cells = np.flatnonzero(labels == label)
        worst = cells[np.argsort(-waste[cells], kind="stable")[: cells.size // 2]]
        labels[worst] = fresh
        fresh += 1
    return labels


def _escape_bits(excess: NDArray[np.int64]) -> NDArray[np.float64]:
    """Raw bits after an escape whose |r| - R is `excess` (>= 1): Exp-Golomb and sign."""
    return 2 * np.floor(np.log2(np.maximum(excess, 1))) + 2


def _integer_table(cluster: NDArray[np.float32]) -> NDArray[np.int64]:
    """Frequencies of -R..R and the escape; R is the smallest that costs at most 0.02% more than the best."""
    probability = _smooth(cluster[None])[0]
    weight = np.maximum(cluster.astype(np.float64), probability)
    size = np.abs(_RESIDUALS)
    reach = int(size[cluster > 0].max(initial=0))
    costs = []
    for radius in range(min(reach, MAX_RADIUS) + 1):
        inside = size <= radius
        escape = max(float(probability[~inside].sum()), 1 / PROB_SCALE)
        cost = -(weight[inside] * np.log2(np.maximum(probability[inside], 1 / PROB_SCALE))).sum()
        cost += (weight[~inside] * (_escape_bits(size[~inside] - radius) - np.log2(escape))).sum()
        costs.append(cost)
    radius = int(np.argmax(np.array(costs) <= min(costs) * 1.0002 + 1e-9))
    inside = size <= radius
    return integer_frequencies(np.append(probability[inside], probability[~inside].sum()))


def integer_frequencies(probability: NDArray[np.float64]) -> NDArray[np.int64]:
    """Frequencies >= 1 that sum to 2**14, closest to `probability` (float64[n], sums to 1) in code length."""
    exact = probability * PROB_SCALE
    freq = np.maximum(np.round(exact), 1).astype(np.int64)
    while (excess := int(freq.sum()) - PROB_SCALE) != 0:
        step = -1 if excess > 0 else 1
        moved = np.maximum(freq + step, 0.5)
        loss = np.where(freq + step >= 1, exact * np.log(freq / moved), np.inf)
        freq[np.argsort(loss, kind="stable")[: max(abs(excess) // 4, 1)]] += step
        freq = np.maximum(freq, 1)
    return freq


def _table_bits(table: NDArray[np.int64]) -> NDArray[np.float32]:
    radius = (table.size - 2) // 2
    size = np.abs(_RESIDUALS)
    bits = PROB_BITS - np.log2(table[-1]) + _escape_bits(size - radius)
    bits[size <= radius] = PROB_BITS - np.log2(table[:-1])
    return bits.astype(np.float32)
