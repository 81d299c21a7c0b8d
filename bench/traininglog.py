"""Training logs: the loss on training crops and on held-out images, epoch by epoch, as `edgepress train` writes them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgepress.runtime.errors import EdgepressError

_NEEDED = ("step", "loss", "val_score")


@dataclass(frozen=True)
class TrainingLog:
    """One part of a training, at least one epoch.

    losses: means over an epoch's crops, while the weights move. scores: the same loss of the averaged weights on whole
    held-out images. The two are not of the same pixels, so their distance alone proves little; what tells is whether
    the score rises while the loss goes on falling.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    scores: tuple[float, ...]

    @property
    def rise(self) -> float:
        """How far the last score lies above the best one, as a share of it: 0 when it fell until the end."""
        return self.scores[-1] / min(self.scores) - 1


def optimizers_room() -> Path | None:
    """The folder of the optimizer, found without importing it, since its room is above this one; None where only the
    runtime and the bench are."""
    spec = find_spec("edgepress.optimize")
    return next(map(Path, spec.submodule_search_locations or []), None) if spec else None


def shipped_logs() -> Path | None:
    """The folder of the logs that come with the shipped models, where it is."""
    room = optimizers_room()
    return room / "shipped" if room and (room / "shipped").is_dir() else None


def find_log(folder: Path, name: str) -> TrainingLog | None:
    """The log of a model's main training in a folder: NAME-start.csv, or NAME.csv where it was trained in one part.

    A second part (NAME.csv beside NAME-start.csv) has another loss and is not read. None when there is neither, or
    the log is of another loss than the study's. Raises EdgepressError for a file that is no log.
    """
    for file in (folder / f"{name}-start.csv", folder / f"{name}.csv"):
        if file.is_file():
            return _read(file)
    return None


def _read(file: Path) -> TrainingLog | None:
    try:
        rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
        if rows and "bpp" in rows[0]:
            return None  # trained for rate and distortion: its score is a logarithm, its loss is not
        steps, losses, scores = ([float(row[name]) for row in rows] for name in _NEEDED)
    except (KeyError, TypeError, ValueError):
        raise EdgepressError(
            f"{file}: is no log of `edgepress train`; its columns are {', '.join(_NEEDED)}"
        ) from None
    if not rows or min(losses + scores) <= 0:
        raise EdgepressError(f"{file}: holds no epoch, or a loss that is not positive")
    return TrainingLog(tuple(map(int, steps)), tuple(losses), tuple(scores))
