"""What is minimised: a Keras model that owns an autoencoder and turns a batch of uint8 crops into a loss and its parts."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from edgepress.bench.metrics import psnr, ssim

from .losses import mse
from .losses import ssim as ssim_loss
from .models import split
from .rate import ContextRate


def to_unit(images):
    """uint8 pixels to float32 in [0, 1]."""
    return ops.cast(images, "float32") / 255.0


def to_pixels(image) -> np.ndarray:
    """One float image (1, H, W, 3) in [0, 1] to uint8 (H, W, 3)."""
    return np.clip(np.round(ops.convert_to_numpy(image)[0] * 255.0), 0, 255).astype(np.uint8)


class Objective(keras.Model):
    """Base: `call` returns a dict of per-image values (B,) with the key "loss"; each becomes a metric of its name.

    `validate(images)` measures on whole uint8 images and returns {name: float} with the key "score", lower is better.
    """

    def __init__(self, autoencoder: keras.Model, parts: tuple[str, ...]):
        super().__init__(name="objective")
        self.autoencoder = autoencoder
        self.trackers = {part: keras.metrics.Mean(name=part) for part in parts}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(y_pred["loss"])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for part, tracker in self.trackers.items():
            tracker.update_state(y_pred[part])
        return self.get_metrics_result()

    def validate(self, images: list[np.ndarray]) -> dict[str, float]:
        raise NotImplementedError  # pragma: no cover - abstract


class HybridObjective(Objective):
    """The study's hybrid loss on the plain autoencoder; `parts` is what `losses.hybrid_parts` returns."""

    def __init__(self, autoencoder: keras.Model, parts: Callable, perceptual: bool):
        super().__init__(autoencoder, ("ssim", "mse", *(("perceptual",) if perceptual else ())))
        self.parts = parts

    def call(self, images, training=False):
        x = to_unit(images)
        return self.parts(x, self.autoencoder(x, training=training))

    def validate(self, images: list[np.ndarray]) -> dict[str, float]:
        rows = []
        for image in images:
            x = to_unit(image[None])
            y = self.autoencoder(x)
            decoded = to_pixels(y)
            loss = float(ops.convert_to_numpy(self.parts(x, y)["loss"])[0])
            rows.append((loss, psnr(image, decoded), ssim(image, decoded)))
        score, p, s = np.mean(rows, axis=0)
        return {"score": float(score), "psnr": float(p), "ssim": float(s)}


class RateDistortionObjective(Objective):
    """L = R + lambda D for every quality at once (Balle, Laparra, Simoncelli 2017; one network for many rates).

    A quantization step, in int8 steps of the encoder's output, is drawn log-uniformly for every crop. R is the bits per pixel
    of the noisy latents under `ContextRate`; D is 255^2 MSE of the image decoded from rounded latents (straight-through,
    Minnen and Singh 2020), or a mixture of it and 1 - SSIM; lambda = `trade` / step^2, what high-rate theory asks of a uniform
    quantizer. Crops are weighted by step, so that every quality moves the same share of its own loss.

    Args:
        autoencoder: with a layer "latent" whose int8 step will be `latent_scale`.
        whole_steps: draw whole numbers only, as the codec uses them: int8 latents in steps of, say, 1.5 would fall into cells
            of one and of two values.
        structure: 0..1, share of 1 - SSIM in D. Its unit is fixed so that both parts weigh about the same at 35 dB.
    """

    PROBES = (1.5, 4.0, 10.0)
    SSIM_UNIT = 500.0

    def __init__(
        self,
        autoencoder: keras.Model,
        *,
        latent_scale: float,
        step_range: tuple[float, float] = (1.0, 20.0),
        trade: float = 0.4,
        structure: float = 0.0,
        whole_steps: bool = False,
        seed: int = 0,
    ):
        super().__init__(autoencoder, ("bpp", "mse"))
        self.encoder, self.decoder = split(autoencoder)
        self.rate = ContextRate(autoencoder.get_layer("latent").output.shape[-1])
        self.latent_scale = latent_scale
        self.log_range = tuple(float(np.log(s)) for s in step_range)
        self.trade, self.structure, self.whole_steps = trade, structure, whole_steps
        self.random = keras.random.SeedGenerator(seed)

    def latents(self, x, training=False):
        """Latents of x in int8 steps, limited to what int8 holds.

        The gradient ends at the limit: passed on, it asks saturated latents to grow for ever, and training diverges.
        """
        return ops.clip(self.encoder(x, training=training) / self.latent_scale, -127.0, 127.0)

    def call(self, images, training=False):
        x = to_unit(images)
        batch, height, width = x.shape[0], x.shape[1], x.shape[2]
        batch = ops.shape(x)[0] if batch is None else batch
        log_step = keras.random.uniform((batch, 1, 1, 1), *self.log_range, seed=self.random)
        if self.whole_steps:
            log_step = ops.log(ops.round(ops.exp(log_step)))
        step = ops.exp(log_step)
        z = self.latents(x, training=training) / step
        noisy = z + keras.random.uniform(ops.shape(z), -0.5, 0.5, seed=self.random)
        rounded = z + ops.stop_gradient(ops.round(z) - z)
        bpp = self.rate(noisy, rounded, log_step) / (height * width)
        decoded = self.decoder(rounded * step * self.latent_scale, training=training)
        error = 255.0**2 * mse(x, decoded)
        distortion = error
        if self.structure:
            lost = self.SSIM_UNIT * (1 - ssim_loss(x, decoded))
            distortion = (1 - self.structure) * error + self.structure * lost
        step = ops.reshape(step, (-1,))
        loss = (bpp + self.trade / step**2 * distortion) * step / 4.0
        return {"loss": loss, "bpp": bpp, "mse": error}

    def validate(self, images: list[np.ndarray]) -> dict[str, float]:
        """PSNR, SSIM and estimated bits per pixel at the probe steps; score is the mean log of R + lambda D."""
        out: dict[str, float] = {}
        logs = []
        for probe in self.PROBES:
            log_step = ops.full((1, 1, 1, 1), float(np.log(probe)), dtype="float32")
            rows = []
            for image in images:
                x = to_unit(image[None])
                z = ops.round(self.latents(x) / probe)
                bpp = float(self.rate(z, z, log_step)[0]) / (image.shape[0] * image.shape[1])
                decoded = to_pixels(self.decoder(z * probe * self.latent_scale))
                error = float(np.mean((image.astype(float) - decoded) ** 2))
                rows.append((bpp, psnr(image, decoded), ssim(image, decoded)))
                logs.append(np.log(bpp + self.trade / probe**2 * error))
            for name, value in zip(("bpp", "psnr", "ssim"), np.mean(rows, axis=0), strict=True):
                out[f"{name}@{probe:g}"] = float(value)
        return {"score": float(np.mean(logs)), **out}
