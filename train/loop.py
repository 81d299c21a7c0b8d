"""The training loop: `fit` with averaged weights, validation, checkpoints, a CSV log and exact resume."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import accelerated
from .checkpoint import load_state, read_progress, save_state
from .config import STRUCTURE_SIDE, TrainConfig
from .data import ImageFolder, batches, crop_batch
from .klt import start_as_klt
from .losses import Distortion, hybrid_parts
from .models import build, split
from .objective import HybridObjective, Objective, RateDistortionObjective, int8_grain
from .paced import PacedAdam
from .photo import LATENT_UNIT, TRANSFORM


@keras.saving.register_keras_serializable("edgepress")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine down to peak / 100 at `steps`."""

    def __init__(self, peak: float, warmup: int, steps: int):
        self.peak, self.warmup, self.steps = peak, warmup, steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        progress = keras.ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        cosine = 0.01 + 0.99 * 0.5 * (1 + keras.ops.cos(math.pi * progress))
        return self.peak * cosine * keras.ops.minimum(1.0, (step + 1) / max(1, self.warmup))

    def get_config(self):
        return {"peak": self.peak, "warmup": self.warmup, "steps": self.steps}


START_BATCHES = 24  # batches of crops that a starting transform or the ranges of channels are computed from


def crops_of(images: ImageFolder, config: TrainConfig, steps: range) -> np.ndarray:
    """The crops of several steps as one array (N, crop, crop, 3) uint8."""
    return np.concatenate(
        [crop_batch(images, config.batch, config.crop, config.seed, step) for step in steps]
    )


def make_objective(config: TrainConfig, images: ImageFolder) -> Objective:
    """What is minimised, with the model that will be saved."""
    model = build(config.model, config.seed)
    # Step numbers that training does not reach, so that these are crops of their own.
    crops = crops_of(images, config, range(1 << 30, (1 << 30) + START_BATCHES))
    if config.klt:
        start_as_klt(model, crops)
    if config.init:
        model.set_weights(keras.models.load_model(config.init, compile=False).get_weights())
    if config.loss == "hybrid":
        parts = hybrid_parts(config.a, config.b, config.c, config.vgg or None, config.vgg_blocks)
        return HybridObjective(model, parts, perceptual=config.b > 0)
    return RateDistortionObjective(
        model,
        unit=LATENT_UNIT,
        grain=int8_grain(split(model)[0], crops, LATENT_UNIT),
        step_range=(config.step_min, config.step_max),
        trade=config.trade,
        distortion=Distortion(config.structure, config.fine),
        seed=config.seed,
    )


class _EpochEnd(keras.callbacks.Callback):
    """After each epoch: validate the averaged weights, keep the best, write log and checkpoint, stop when it stalls."""

    def __init__(
        self,
        run: Path,
        validation: list[np.ndarray],
        config: TrainConfig,
        progress: dict,
        console,
    ):
        super().__init__()
        self.run, self.validation, self.config = run, validation, config
        self.progress, self.console = progress, console

    def on_epoch_end(self, epoch, logs=None):
        objective = self.model
        raw = [keras.ops.convert_to_numpy(v) for v in objective.trainable_variables]
        objective.optimizer.finalize_variable_values(objective.trainable_variables)  # the averaged weights
        measured = objective.validate(self.validation) if self.validation else {"score": float(logs["loss"])}
        if measured["score"] < self.progress["best"]:
            self.progress.update(best=measured["score"], best_epoch=epoch + 1)
            save_model(objective.autoencoder, self.run / "best.keras")
        save_model(objective.autoencoder, self.run / "last.keras")
        for variable, value in zip(objective.trainable_variables, raw, strict=True):
            variable.assign(value)
        row = {"epoch": epoch + 1, "step": (epoch + 1) * self.config.epoch_steps}
        row |= {k: round(float(v), 6) for k, v in logs.items()}
        row |= {f"val_{k}": round(v, 6) for k, v in measured.items()}
        self.progress["rows"].append(row)
        self.progress["epoch"] = epoch + 1
        write_log(self.run / "log.csv", self.progress["rows"])
        save_state(self.run, objective, self.progress)
        self.console.print("  ".join(f"{k} {v:g}" for k, v in row.items()), style="dim", highlight=False)
        stalled = epoch + 1 - self.progress["best_epoch"]
        if self.config.patience and stalled >= self.config.patience:
            self.console.print(f"no better validation score for {stalled} epochs: stopped early")
            objective.stop_training = True


class _Bar(keras.callbacks.Callback):
    """rich progress with the running loss parts."""

    def __init__(self, progress: Progress, task, epoch_steps: int):
        super().__init__()
        self.progress, self.task, self.epoch_steps = progress, task, epoch_steps

    def on_epoch_begin(self, epoch, logs=None):
        self.start = epoch * self.epoch_steps

    def on_train_batch_end(self, batch, logs=None):
        if batch % 10 == 9 or batch + 1 == self.epoch_steps:
            parts = "  ".join(f"{k} {v:.4g}" for k, v in (logs or {}).items())
            self.progress.update(self.task, completed=self.start + batch + 1, parts=parts)


def save_model(model: keras.Model, path: Path) -> None:
    """Save as `.keras` under a temporary name and rename."""
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    model.save(temporary)
    temporary.replace(path)


def write_log(path: Path, rows: list[dict]) -> None:
    """Rows as CSV, atomically; columns in the order of the first row."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", newline="") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def train(
    config: TrainConfig,
    data: str | Path,
    output: Path,
    run: Path,
    validation: str | Path | None = None,
    console: Console | None = None,
) -> dict:
    """Train `config` on the images below `data`, or go on where the run folder stands, and write `output` (.keras) and its log.

    Without a `validation` folder one image in 50 of `data` is held out for it.

    A run that was killed and resumed gives the very weights of one that was not (same machine, same libraries).
    Returns the progress: {"epoch", "best", "best_epoch", "rows"}. Raises DataError for unusable data, ValueError for a
    configuration that does not fit the run folder.
    """
    console = console or Console(stderr=True)
    images = ImageFolder(data, min_side=config.crop)
    held_out = (
        images.hold_out()
        if validation is None
        else ImageFolder(validation, STRUCTURE_SIDE if config.structure else 32)
    )
    held_out = [_whole(pixels) for pixels in held_out]
    epochs = max(1, math.ceil(config.steps / config.epoch_steps))
    progress: dict[str, Any] = {
        "config": asdict(config),
        "epoch": 0,
        "best": math.inf,
        "best_epoch": 0,
        "rows": [],
    }

    objective = make_objective(config, images)
    schedule = WarmupCosine(config.lr, config.warmup, epochs * config.epoch_steps)
    objective.compile(
        PacedAdam(
            schedule,
            slow=TRANSFORM,
            pace=config.pace,
            global_clipnorm=1.0,
            use_ema=True,
            ema_momentum=config.ema,
        ),
        # XLA's convolutions are slower than oneDNN's on a CPU (1.5x the CPU time a step, measured on `photo`).
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    objective(np.zeros((1, config.crop, config.crop, 3), np.uint8))
    objective.optimizer.build(objective.trainable_variables)

    run.mkdir(parents=True, exist_ok=True)
    before = read_progress(run)
    if before is not None:
        if before["config"] != progress["config"]:
            changed = [k for k, v in before["config"].items() if progress["config"].get(k) != v]
            raise ValueError(
                f"{run} holds a run with other settings ({', '.join(changed)}); name another --run or delete it"
            )
        progress = before
        load_state(run, objective)
        console.print(f"going on after epoch {progress['epoch']} of {epochs} in {run}")

    stopped = config.patience and progress["epoch"] - progress["best_epoch"] >= config.patience
    if progress["epoch"] < epochs and not stopped:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[parts]}"), console=console) as bar:
            start = progress["epoch"] * config.epoch_steps
            task = bar.add_task(config.model, total=epochs * config.epoch_steps, completed=start, parts="")
            callbacks = [
                _EpochEnd(run, held_out, config, progress, console),
                _Bar(bar, task, config.epoch_steps),
            ]
            if accelerated.available():
                accelerated.fit(
                    objective,
                    images,
                    batch=config.batch,
                    crop=config.crop,
                    seed=config.seed,
                    epoch_steps=config.epoch_steps,
                    epochs=range(progress["epoch"], epochs),
                    callbacks=callbacks,
                )
            else:
                objective.fit(
                    batches(images, config.batch, config.crop, config.seed, start),
                    steps_per_epoch=config.epoch_steps,
                    initial_epoch=progress["epoch"],
                    epochs=epochs,
                    verbose=0,
                    shuffle=False,
                    callbacks=callbacks,
                )
    if not (run / "best.keras").exists():
        raise ValueError(f"training diverged: no validation score was a number; lower lr and delete {run}")
    output.parent.mkdir(parents=True, exist_ok=True)
    save_model(keras.models.load_model(run / "best.keras", compile=False), output)
    write_log(output.with_suffix(".csv"), progress["rows"])
    return progress


def _whole(pixels: np.ndarray, multiple: int = 16, limit: int = 256) -> np.ndarray:
    """The centre of a validation image, at most `limit` pixels a side and a multiple of every stride."""
    h, w = (min(limit, side // multiple * multiple) for side in pixels.shape[:2])
    y, x = (pixels.shape[0] - h) // 2, (pixels.shape[1] - w) // 2
    return np.ascontiguousarray(pixels[y : y + h, x : x + w])
