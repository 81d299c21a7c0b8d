"""What a search may lose: a measure and an amount, and how a loss is judged from the images it was measured on.

A mean over a few images is uncertain, so that a package is chosen by the upper end of the mean loss (Student's t,
one-sided) over one half of the held-out images, and has to hold on the other half, which had no say in the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev
from typing import TypeVar

from .errors import RecipeError
from .recipe import METRICS

T = TypeVar("T")

UNITS = {"psnr": " dB PSNR", "ssim": " SSIM", "bd-rate": " % BD-rate"}


@dataclass(frozen=True)
class Budget:
    """The largest loss, in the unit of the metric (see `UNITS`), and the confidence of the bound on it."""

    metric: str
    amount: float
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.amount:g}{UNITS[self.metric]}"

    def bound(self, losses: Sequence[float]) -> float:
        """The upper end of the mean of `losses`, one for each image, at the confidence; the mean itself of a single one."""
        mean = fmean(losses)
        if len(losses) < 2 or not isfinite(mean):
            return mean
        from scipy.special import stdtrit  # on use: only searches need it

        spread = stdev(losses) / len(losses) ** 0.5
        return mean + float(stdtrit(len(losses) - 1, self.confidence)) * spread


def parse_budget(text: str) -> tuple[str, float]:
    """(metric, amount) of "0.2" (dB of PSNR), "ssim=0.005" or "bd-rate=2". Raises RecipeError."""
    metric, _, amount = text.rpartition("=")
    metric = metric.strip() or "psnr"
    if metric not in METRICS:
        raise RecipeError(f"--max-drop {text}: the measure must be one of {', '.join(METRICS)}")
    try:
        value = float(amount)
    except ValueError:
        raise RecipeError(f"--max-drop {text}: {amount!r} is not a number") from None
    if not 0 < value <= 100:
        raise RecipeError(f"--max-drop {text}: the loss must lie above 0 and at most at 100")
    return metric, value


def halve(items: Sequence[T]) -> tuple[list[T], list[T]]:
    """Every other item, for choosing, and the rest, for verifying."""
    return list(items[0::2]), list(items[1::2])
