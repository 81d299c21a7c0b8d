"""Training on an accelerator under JAX: the images lie in its memory, and many steps are one call.

A small network's step takes an accelerator about a millisecond, less than Keras' `fit` and the cutting of crops take the
processor. Here the processor only draws where the crops lie; the same ones as for `fit`, in the same order.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from .data import DataError, ImageFolder, crop_places

CHUNK = 250  # steps in one call, at most


def available() -> bool:
    """Whether Keras runs on JAX and JAX on something other than the processor."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() != "cpu"


class _Pixels:
    """All images of a folder behind one another in the accelerator's memory.

    Raises DataError when they are more than 2 GiB of pixels, the reach of its 32-bit places.
    """

    def __init__(self, images: ImageFolder):
        import jax.numpy as jnp

        shapes = [pixels.shape for pixels in images]
        self.starts = np.concatenate([[0], np.cumsum([math.prod(shape) for shape in shapes])])
        if self.starts[-1] >= 1 << 31:
            raise DataError(
                f"{images.folder}: {self.starts[-1] >> 20} MB of pixels; an accelerator takes 2047: leave some out"
            )
        self.widths = np.array([shape[1] for shape in shapes])
        self.flat = jnp.asarray(np.concatenate([pixels.reshape(-1) for pixels in images]))

    def places(self, images: ImageFolder, batch: int, crop: int, seed: int, steps: range) -> tuple:
        """(first byte, bytes a row, mirrored) of every crop of the steps, each (steps, batch)."""
        drawn = [crop_places(images, batch, crop, seed, step) for step in steps]
        index, y, x, mirrored = (np.stack(values) for values in zip(*drawn, strict=True))
        first = self.starts[index] + (y * self.widths[index] + x) * 3
        return first.astype("int32"), (self.widths[index] * 3).astype("int32"), mirrored

    def cut(self, flat, first, row_bytes, mirrored, crop: int):
        """The crops (batch, crop, crop, 3) uint8 at places of one step."""
        import jax
        import jax.numpy as jnp

        rows = first[:, None] + jnp.arange(crop, dtype="int32") * row_bytes[:, None]
        lines = jax.vmap(lambda start: jax.lax.dynamic_slice(flat, (start,), (crop * 3,)))(rows.reshape(-1))
        crops = lines.reshape(-1, crop, crop, 3)
        return jnp.where(mirrored[:, None, None, None], crops[:, :, ::-1], crops)


def fit(
    objective: keras.Model,
    images: ImageFolder,
    *,
    batch: int,
    crop: int,
    seed: int,
    epoch_steps: int,
    epochs: range,
    callbacks: list,
) -> None:
    """What `objective.fit` does with the crops of `images` for these epochs, with `CHUNK` steps in one call.

    The objective is compiled and built. Callbacks see the end of every chunk as the end of a batch.
    """
    import jax

    # The window of SSIM subtracts nearly equal numbers; 19 bits of a faster float32 would be noise.
    with jax.default_matmul_precision("highest"):
        pixels = _Pixels(images)
        chunk = math.gcd(epoch_steps, CHUNK) if epoch_steps > CHUNK else epoch_steps

        def steps(state, flat, places):
            def step(state, place):
                first, row_bytes, mirrored = place
                crops = pixels.cut(flat, first, row_bytes, mirrored, crop)
                _, state = objective.train_step(state, (crops,))
                return state, None

            return jax.lax.scan(step, state, places)[0]

        run = jax.jit(steps, donate_argnums=0)
        observers = keras.callbacks.CallbackList(callbacks, model=objective)
        starts = [epoch * epoch_steps + at for epoch in epochs for at in range(0, epoch_steps, chunk)]

        def places(start: int) -> tuple:
            return pixels.places(images, batch, crop, seed, range(start, start + chunk))

        objective.stop_training = False
        with ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(places, starts[0])
            for number, start in enumerate(starts):
                if start % epoch_steps == 0:
                    observers.on_epoch_begin(start // epoch_steps)
                    objective.reset_metrics()
                    state = _read(objective)
                now = following.result()
                if number + 1 < len(starts):
                    following = ahead.submit(places, starts[number + 1])
                state = run(state, pixels.flat, now)
                done = start % epoch_steps + chunk
                if done < epoch_steps:
                    observers.on_train_batch_end(done - 1)
                    continue
                _write(objective, state)
                logs = {name: float(value) for name, value in objective.get_metrics_result().items()}
                observers.on_train_batch_end(done - 1, logs)
                observers.on_epoch_end(start // epoch_steps, logs)
                if objective.stop_training:
                    return


def _variables(objective: keras.Model) -> tuple[list, ...]:
    return (
        objective.trainable_variables,
        objective.non_trainable_variables,
        objective.optimizer.variables,
        objective.metrics_variables,
    )


def _read(objective: keras.Model) -> tuple[list, ...]:
    """The state that `train_step` passes on; copies, as a call's arguments are overwritten."""
    return tuple([variable.value + 0 for variable in group] for group in _variables(objective))


def _write(objective: keras.Model, state: tuple[list, ...]) -> None:
    for group, values in zip(_variables(objective), state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)
