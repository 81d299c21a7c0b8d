"""Fits one channel's predictor and activity weights on the integer features that the coder itself will see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from edgepress.runtime import contexts
from edgepress.runtime.tables import CONTEXTS, PASSES

from .fit_bank import BINS, LIMIT

# Activities are 256 * scale * expected |residual|; a channel takes the largest scale that its weights and contexts hold.
SCALES = [2.0**power for power in range(4, -5, -1)]
UNIT = 256
_SAMPLES = 16384  # of a channel that the regressions see
_BLOCK = 1024
_ROUNDS = 6  # of reweighting; the weights move by less than their rounding after that
_NEAR = 2  # features of neighbours in the plane; the others are known before it
_MIN_GAIN = (
    0.04  # of the bits, below which a channel stays without a predictor, and so with passes and thinning
)


@dataclass(frozen=True)
class Batch:
    """The planes of one channel in images of one shape, and the maps before it; only images where it is coded."""

    planes: NDArray[np.int16]  # [B,H,W]
    maps: contexts.Maps  # over [B,H,W]


@dataclass(frozen=True)
class ChannelFit:
    """What the fit decides for a channel.

    Attributes:
        mean_w: int8[4].
        ctx_w: uint8[3,6].
        level: log2 of the scale of the channel's activities.
        counts: float32[24, BINS], residuals per context.
    """

    mean_w: NDArray[np.int8]
    ctx_w: NDArray[np.uint8]
    level: int
    counts: NDArray[np.float32]


def fit_channel(batches: list[Batch]) -> ChannelFit:
    """Choose the predictor with the shortest conditional code, none unless it gains; fit the activity for it."""
    best, best_bits = None, np.inf
    for weights in [np.zeros(4, np.int8), *_predictors(batches)]:
        fit = _fit_activity(batches, weights)
        bits = _conditional_bits(fit.counts)
        if best is None or bits < best_bits * (1 - _MIN_GAIN):
            best, best_bits = fit, bits
    assert best is not None
    return best


def _conditional_bits(counts: NDArray[np.float32]) -> float:
    total = counts.sum(axis=1, keepdims=True)
    return float(-(counts * np.log2(np.where(counts > 0, counts / np.maximum(total, 1), 1))).sum())


def _predictors(batches: list[Batch]) -> list[NDArray[np.int8]]:
    """Least-squares predictors worth a trial: plain, and weighted by the inverse variance expected at each place."""
    neighbours = np.concatenate([np.stack(contexts.causal(b.planes)).reshape(4, -1) for b in batches], axis=1)
    target = np.concatenate([b.planes.ravel() for b in batches]).astype(np.float64)
    spread = np.concatenate([(b.maps.slow / 256 + 0.25).ravel() for b in batches])
    sample, share = _sample(target)
    regressors, target, spread = neighbours[:, sample].astype(np.float64), target[sample], spread[sample]
    found: list[NDArray[np.int8]] = []
    for weight in (share, share / (spread * spread)):
        weighted = regressors * weight
        gram, moment = _gram(weighted, regressors), _gram(weighted, target[None])[:, 0]
        energy = float((weight * target * target).sum())
        ridge = 1e-3 * np.trace(gram) / 4 + 1e-9
        solution = np.linalg.solve(gram + ridge * np.eye(4), moment)
        if solution @ moment < 0.02 * energy:  # explains too little to pay
            continue
        rounded = np.clip(np.round(64 * solution), -127, 127).astype(np.int8)
        if rounded.any() and not any((rounded == other).all() for other in found):
            found.append(rounded)
    return found


def _features(batch: Batch, magnitudes: NDArray[np.int32], predicted: bool) -> NDArray[np.float64]:
    """The six features in units of activity per unit of weight, float64[6, positions]."""
    straight, diagonal = contexts.near(magnitudes, predicted)
    maps = batch.maps
    parts = [
        straight,
        diagonal,
        maps.fast / 16,
        maps.slow / 16,
        maps.around() / 16,
        np.ones(magnitudes.shape),
    ]
    return np.stack([np.asarray(part, np.float64).ravel() for part in parts])


def _fit_activity(batches: list[Batch], mean_w: NDArray[np.int8]) -> ChannelFit:
    predicted = bool(mean_w.any())
    residuals = [batch.planes - contexts.predict(batch.planes, mean_w) for batch in batches]
    magnitudes = [contexts.magnitude(residual) for residual in residuals]
    target = np.concatenate([m.ravel() for m in magnitudes]).astype(np.float64)
    features = np.concatenate(
        [_features(b, m, predicted) for b, m in zip(batches, magnitudes, strict=True)], axis=1
    )
    ctx_w, level = _integer_weights(*_by_pass(features, target, magnitudes, predicted))
    counts = np.zeros(CONTEXTS * BINS)
    for batch, residual, magnitude in zip(batches, residuals, magnitudes, strict=True):
        activity = contexts.activity(batch.maps.known(ctx_w, predicted), magnitude, ctx_w, predicted)
        context = contexts.bucket(activity).astype(np.int64)
        cell = context * BINS + np.clip(residual, -LIMIT, LIMIT) + LIMIT
        counts += np.bincount(cell.ravel(), minlength=counts.size)
    return ChannelFit(mean_w, ctx_w, level, counts.reshape(CONTEXTS, BINS).astype(np.float32))


def _by_pass(
    features: NDArray[np.float64],
    target: NDArray[np.float64],
    magnitudes: list[NDArray[np.int32]],
    predicted: bool,
) -> tuple[NDArray[np.float64], float]:
    """The coefficients of each pass, float64[3,6], and the largest expectation; with a prediction only the first row counts.

    What the planes before tell is regressed on once, over all passes; in each of them it is only weighed against the
    neighbours, since rare channels do not have symbols enough for more.
    """
    sample, share = _sample(target)
    coefficients = np.zeros((PASSES, len(features)))
    if predicted:
        coefficients[0] = _geometric_regression(features[:, sample], target[sample], share)
        return coefficients, float((coefficients[0] @ features).max())
    before = _geometric_regression(features[_NEAR:, sample], target[sample], share)
    step = np.concatenate(
        [np.broadcast_to(contexts.pass_of(*m.shape[-2:]), m.shape).ravel() for m in magnitudes]
    )
    expected, largest = before @ features[_NEAR:], 0.0
    for number in range(PASSES):
        chosen = np.flatnonzero(step == number)
        if not target[
            chosen
        ].any():  # nothing to learn from; planes of one row or column do not even have all passes
            coefficients[number, _NEAR:] = before
            continue
        sample, share = _sample(target[chosen])
        both = np.stack([features[:_NEAR, chosen].sum(axis=0), expected[chosen]])
        near, known = _geometric_regression(both[:, sample], target[chosen[sample]], share)
        coefficients[number] = near, near, *(known * before)
        largest = max(largest, float((near * both[0] + known * both[1]).max()))
    return coefficients, largest


def _sample(target: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positions to regress on and how many each stands for: zeros are thinned out more, as they tell less."""
    positions, shares = [], []
    for group in (np.flatnonzero(target), np.flatnonzero(target == 0)):
        every = -(-group.size // (_SAMPLES // 2)) if group.size else 1
        positions.append(group[::every])
        shares.append(np.full(positions[-1].size, float(every)))
    return np.concatenate(positions), np.concatenate(shares)


def _gram(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a @ b.T for a few very long rows, in blocks too small for BLAS to start threads, which would only cost time."""
    return sum(
        (a[:, i : i + _BLOCK] @ b[:, i : i + _BLOCK].T for i in range(0, a.shape[1], _BLOCK)), np.zeros(())
    )


def _geometric_regression(
    features: NDArray[np.float64], target: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Non-negative coefficients a such that a @ features is the mean of `target` (float64[n]), float64[6].

    A quasi-likelihood fit with the variance m(1+m) of a geometric distribution, whose code length it minimizes
    (McCullagh and Nelder, 1989), by iteratively reweighted non-negative least squares.
    """
    coefficients = np.zeros(len(features))
    coefficients[-1] = (share @ target) / (share @ features[-1] + 1e-6) + 1e-6
    for _ in range(_ROUNDS):
        mean = coefficients @ features + 1e-5
        weighted = features * (share / (mean * (1 + mean)))
        gram, moment = _gram(weighted, features), _gram(weighted, target[None])[:, 0]
        size = np.sqrt(np.diag(gram)) + 1e-12
        root = np.linalg.cholesky(gram / np.outer(size, size) + 1e-7 * np.eye(len(size)))
        coefficients = nnls(root.T, np.linalg.solve(root, moment / size))[0] / size
    return coefficients


def _integer_weights(coefficients: NDArray[np.float64], largest: float) -> tuple[NDArray[np.uint8], int]:
    """The weights in uint8 on the largest scale at which neither they nor the contexts overflow, and its log2.

    All passes are on one scale, so that they can share their tables.
    """
    for scale in SCALES:
        weights = coefficients * UNIT * scale
        if weights.max() <= 255 and largest * UNIT * scale <= contexts.LAST_ACTIVITY * 1.5:
            break
    return np.clip(np.round(weights), 0, 255).astype(np.uint8), int(np.log2(scale))
