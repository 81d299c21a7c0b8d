"""What is minimised: a Keras model that owns an autoencoder and turns a batch of uint8 crops into a loss and its parts."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from edgepress.bench.metrics import psnr, ssim

from .losses import MSE, Distortion
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


HEADROOM = 1.15  # over the largest latent seen, before int8 saturates


def int8_grain(encoder: keras.Model, crops: np.ndarray, unit: float) -> np.ndarray:
    """The int8 step of every latent channel in units, (C,) float32, if each fills int8: what limits its precision.

    crops: (N, H, W, 3) uint8 that show what the encoder will see.
    """
    largest = 0.0
    for start in range(0, len(crops), 16):
        z = ops.convert_to_numpy(encoder(to_unit(crops[start : start + 16])))
        largest = np.maximum(largest, np.abs(z).max(axis=(0, 1, 2)))
    return (HEADROOM * np.maximum(largest, unit) / unit / 127).astype("float32")


class RateDistortionObjective(Objective):
    """L = R + lambda D for every quality at once (Balle, Laparra, Simoncelli 2017; one network for many rates).

    A quantization step, in units of the latent, is drawn log-uniformly for every crop. R is the bits per pixel of the noisy
    latents under `ContextRate`; D is 255^2 MSE of the image decoded from rounded latents (straight-through, Minnen and
    Singh 2020), or a mixture of it and 1 - MS-SSIM; lambda = `trade` / step^2, what high-rate theory asks of a uniform
    quantizer. Crops are weighted by step, so that every quality moves the same share of its own loss.

    Args:
        autoencoder: with a layer "latent".
        unit: of quantization steps, in values of the latent.
        grain: (C,) float32, `int8_grain`: steps are whole multiples of it, and latents limited to 127 of it, as in the codec.
        distortion: D.
    """

    PROBES = (1.5, 4.0, 10.0, 25.0)

    def __init__(
        self,
        autoencoder: keras.Model,
        *,
        unit: float,
        grain: np.ndarray,
        step_range: tuple[float, float] = (1.0, 20.0),
        trade: float = 0.4,
        distortion: Distortion = MSE,
        seed: int = 0,
    ):
        super().__init__(autoencoder, ("bpp", *distortion.names))
        self.encoder, self.decoder = split(autoencoder)
        self.rate = ContextRate(autoencoder.get_layer("latent").output.shape[-1])
        self.unit, self.grain = unit, grain
        self.log_range = tuple(float(np.log(s)) for s in step_range)
        self.trade, self.distortion = trade, distortion
        self.random = keras.random.SeedGenerator(seed)

    def latents(self, x, training=False):
        """Latents of x in units, limited to what int8 holds.

        The gradient ends at the limit: passed on, it asks saturated latents to grow for ever, and training diverges.
        """
        return ops.clip(
            self.encoder(x, training=training) / self.unit, -127.0 * self.grain, 127.0 * self.grain
        )

    def steps(self, step):
        """The steps (..., C) that int8 latents take for one of `step` units (..., 1)."""
        return self.grain * ops.maximum(1.0, ops.round(step / self.grain))

    def call(self, images, training=False):
        x = to_unit(images)
        batch, height, width = x.shape[0], x.shape[1], x.shape[2]
        batch = ops.shape(x)[0] if batch is None else batch
        log_step = keras.random.uniform((batch, 1, 1, 1), *self.log_range, seed=self.random)
        step = ops.exp(log_step)
        steps = self.steps(step)
        z = self.latents(x, training=training) / steps
        noisy = z + keras.random.uniform(ops.shape(z), -0.5, 0.5, seed=self.random)
        rounded = z + ops.stop_gradient(ops.round(z) - z)
        bpp = self.rate(noisy, rounded, log_step) / (height * width)
        decoded = self.decoder(rounded * steps * self.unit, training=training)
        parts = self.distortion.parts(x, decoded)
        step = ops.reshape(step, (-1,))
        loss = (bpp + self.trade / step**2 * self.distortion.total(parts)) * step / 4.0
        return {"loss": loss, "bpp": bpp, **parts}

    def validate(self, images: list[np.ndarray]) -> dict[str, float]:
        """Bits per pixel (estimated), PSNR and the parts of D, or SSIM if D is MSE, at the probe steps; score: mean log of
        R + lambda D."""
        out: dict[str, float] = {}
        logs = []
        for probe in self.PROBES:
            log_step = ops.full((1, 1, 1, 1), float(np.log(probe)), dtype="float32")
            rows = []
            for image in images:
                x = to_unit(image[None])
                steps = self.steps(np.float32(probe))
                z = ops.round(self.latents(x) / steps)
                bpp = float(self.rate(z, z, log_step)[0]) / (image.shape[0] * image.shape[1])
                decoded = to_pixels(self.decoder(z * steps * self.unit))
                parts = {k: float(v[0]) for k, v in self.distortion.parts(x, to_unit(decoded[None])).items()}
                logs.append(np.log(bpp + self.trade / probe**2 * self.distortion.total(parts)))
                del parts["mse"]
                rows.append(
                    {"bpp": bpp, "psnr": psnr(image, decoded), **(parts or {"ssim": ssim(image, decoded)})}
                )
            for name in rows[0]:
                out[f"{name}@{probe:g}"] = float(np.mean([row[name] for row in rows]))
        return {"score": float(np.mean(logs)), **out}
