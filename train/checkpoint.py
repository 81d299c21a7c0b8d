"""Exact training state on disk: every variable of model and optimizer, plus where the run stands."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np


def _variables(objective: keras.Model) -> list:
    return [*objective.variables, *objective.optimizer.variables]


def save_state(folder: Path, objective: keras.Model, progress: dict) -> None:
    """Write weights, optimizer moments, averages, random states and `progress` (JSON-able) in one atomic file."""
    arrays = {f"v{i:04d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(objective))}
    temporary = folder / ".state.npz.tmp"
    with temporary.open("wb") as f:
        np.savez(f, progress=np.frombuffer(json.dumps(progress).encode(), np.uint8), **arrays)
    temporary.replace(folder / "state.npz")


def read_progress(folder: Path) -> dict | None:
    """The `progress` of the last checkpoint in the folder, or None when there is none."""
    path = folder / "state.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as f:
        return json.loads(f["progress"].tobytes())


def load_state(folder: Path, objective: keras.Model) -> None:
    """Put the checkpoint's variables back into a built objective. ValueError when they do not fit."""
    with np.load(folder / "state.npz", allow_pickle=False) as f:
        variables = _variables(objective)
        if len(f.files) != len(variables) + 1:
            raise ValueError(
                f"{folder}: its checkpoint is of another model; delete the folder or name another --run"
            )
        for i, variable in enumerate(variables):
            variable.assign(f[f"v{i:04d}"])
