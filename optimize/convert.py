"""From Keras 3 halves to TFLite: full-integer int8 whose two halves share the latent's scale, and others to compare with.

The int8 route is calibrate -> edit -> quantize: TensorFlow's converter writes the ranges it saw on representative
images into a float model; the range of the latent is then set, the same in both halves, and the model quantized. So
the encoder's int8 output IS the decoder's int8 input, and `latent_scale` can fix one int8 step to a given size. The
work happens in a process of its own (`_convert_worker`), since an abort in the converter would kill ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ConversionError, UnsupportedModelError
from .tflite import TFLite

CALIBRATION_CROPS = 256  # with 100, rare bright images lie beyond the ranges: conv3 lost 0.1 dB by it
MULTIPLE = 80640  # of any usual stride: 2^8 3^2 5 7
SIDE = 128  # image side of the static shape written into the models; they can be resized
CALIBRATED = ("int8", "int16x8")  # modes that need representative images
# What TFLite offers, and what there is to know of each.
MODES = {
    "int8": "weights, activations and both ends in int8: the one that packages are made of",
    "float32": "as trained",
    "float16": "weights stored in 16 bits and widened when loaded: half the bytes, no speed",
    "dynamic": "int8 weights, activations quantized anew for every input: a quarter of the bytes, some of the speed",
    "int16x8": "int8 weights, 16-bit activations: nearly float quality, but it leaves the fast path, since XNNPACK has no "
    "kernels for it and TFLite's own run instead",
}
COMPARED = ("float16", "dynamic", "int16x8")  # modes that packages are not made of
Layers = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class FloatPair:
    """Encoder and decoder as TFLite models with float32 at both ends, in any mode but int8; `layers` as in `Pair`."""

    encoder: bytes
    decoder: bytes
    mode: str = "float32"
    layers: Layers = ((), ())


@dataclass(frozen=True)
class Pair:
    """Encoder (int8 image -> int8 latent) and decoder (int8 latent -> int8 image) as int8 TFLite models.

    `scale` and `zero_point` are those of the latent: real value = scale * (int8 - zero_point), on both sides.
    `layers` names, for encoder and decoder, the Keras layer that each TFLite operation comes from.
    """

    encoder: bytes
    decoder: bytes
    scale: float
    zero_point: int
    layers: Layers = ((), ())


@dataclass(frozen=True)
class Job:
    """What to convert: two Keras 3 halves, in a mode of MODES; int8 with a `latent_scale` or the range seen on images.

    `zero_point` goes with `latent_scale`. Layers of the names `fallback` stay float in an int8 model: what `layer_noise`
    says loses quality; each costs a conversion of numbers before and behind it, and float arithmetic in between.

    `resizable=False` leaves out the check that the int8 models run at other sizes than their own, which transposed
    convolutions do not.
    """

    encoder: Any
    decoder: Any
    mode: str = "int8"
    latent_scale: float | None = None
    zero_point: int = 0
    resizable: bool = True
    fallback: tuple[str, ...] = ()


def convert_pair(
    encoder: Any,
    decoder: Any,
    images: Sequence[np.ndarray],
    *,
    latent_scale: float | None = None,
    resizable: bool = True,
) -> Pair:
    """Both halves as full-integer int8 TFLite models: per-channel weights, int8 activations, int8 at both ends.

    The image side is int8 rather than uint8, since XNNPACK does not take the QUANTIZE operation between the two.
    A pixel p is stored as p - 128 (scale 1/255), or with the scale 1/256 that TFLite prescribes after a sigmoid.
    Values beyond the ends of a range saturate.

    Args:
        encoder, decoder: Keras 3 models (B, H, W, 3) -> (B, H/s, W/s, C) -> (B, H, W, 3), spatial size free, pixels
            being p / 255.
        images: representative, float32 (H, W, 3) in [0, 1] or uint8; crops of 128x128 are taken from them.
        latent_scale: size of one int8 step of the latent; it then has zero point 0 and saturates at -128 and 127
            steps. None: the range that the latent has on the images.
        resizable: see `Job`.

    Raises:
        ConversionError: TensorFlow cannot convert a half, or what came out has other types, scales or shapes.
        UnsupportedModelError: a stride that is no integer.
    """
    job = Job(encoder, decoder, latent_scale=latent_scale, resizable=resizable)
    pair = convert([job], images)[0]
    assert isinstance(pair, Pair)
    return pair


def convert(jobs: Sequence[Job], images: Sequence[np.ndarray] = ()) -> list[FloatPair | Pair]:
    """Do several conversions in one process, whose start costs seconds. Images and errors as in `convert_pair`.

    Returns: `Pair` for int8 jobs, `FloatPair` for others.
    """
    for job in jobs:
        unknown = {*job.fallback} - {
            layer.name for half in (job.encoder, job.decoder) for layer in half.layers
        }
        if unknown:
            raise ConversionError(f"there is no layer {sorted(unknown)[0]!r} that could stay float")
        if job.mode not in MODES:
            raise ConversionError(f"no mode is called {job.mode!r}; choose one of {', '.join(MODES)}")
        if job.latent_scale is not None and not job.latent_scale > 0:
            raise ConversionError(f"latent_scale must be positive, not {job.latent_scale}")
    strides = [_stride(job.encoder) for job in jobs]
    pairs: list[FloatPair | Pair] = []
    for job, stride, (result, encoder, decoder) in zip(
        jobs, strides, _work(jobs, strides, images), strict=True
    ):
        layers = (tuple(result["layers"]["encoder"]), tuple(result["layers"]["decoder"]))
        if job.mode != "int8":
            pairs.append(FloatPair(encoder, decoder, job.mode, layers))
            continue
        pair = Pair(encoder, decoder, result["scale"], result["zero_point"], layers)
        check_pair(pair, stride, job.resizable and not _fixed_side(job.encoder))
        pairs.append(pair)
    return pairs


def calibration_crops(images: Sequence[np.ndarray], side: int, limit: int = CALIBRATION_CROPS) -> np.ndarray:
    """Up to `limit` crops side x side from all over the images, float32 (N, side, side, 3) in [0, 1].

    Images smaller than `side` are extended by repeating their edge. Raises ConversionError without images.
    """
    tiles = []
    for image in images:
        pixels = image.astype("float32") / 255 if image.dtype == np.uint8 else image.astype("float32")
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0)), mode="edge")
        for y in range(0, pixels.shape[0] - side + 1, side):
            tiles += [pixels[y : y + side, x : x + side] for x in range(0, pixels.shape[1] - side + 1, side)]
    if not tiles:
        raise ConversionError("int8 conversion needs representative images; there are none")
    chosen = np.linspace(0, len(tiles) - 1, min(limit, len(tiles))).round().astype(int)
    return np.stack([tiles[i] for i in chosen])


def check_pair(pair: Pair, stride: int, resizable: bool = True) -> None:
    """ConversionError unless types, latent scales and resizing are what the codec relies on."""
    encoder, decoder = TFLite(pair.encoder), TFLite(pair.decoder)
    types = [np.dtype(d["dtype"]) for d in (encoder.input, encoder.output, decoder.input, decoder.output)]
    if types != [np.dtype(np.int8)] * 4:
        raise ConversionError(f"the int8 models have tensors of types {', '.join(t.name for t in types)}")
    latent = [
        (np.float32(d["quantization"][0]), d["quantization"][1]) for d in (encoder.output, decoder.input)
    ]
    if latent != [(np.float32(pair.scale), pair.zero_point)] * 2:
        raise ConversionError(f"the halves disagree on the latent's scale and zero point: {latent}")
    if resizable:
        image = np.random.default_rng(0).integers(-128, 128, (1, stride * 3, stride * 5, 3), dtype=np.int8)
        codes = encoder.run(image)
        if codes.shape[:3] != (1, 3, 5) or decoder.run(codes).shape != image.shape:
            raise ConversionError(
                f"the int8 models cannot be resized: {image.shape} gave a latent of {codes.shape}"
            )


def _stride(encoder: Any) -> int:
    if side := _fixed_side(encoder):
        return side // encoder.outputs[0].shape[1]
    height = encoder.compute_output_shape((1, MULTIPLE, MULTIPLE, 3))[1]
    if not height or MULTIPLE % height:
        raise UnsupportedModelError(
            f"the encoder turns {MULTIPLE} rows into {height}; its stride is no integer"
        )
    return MULTIPLE // height


def _fixed_side(model: Any) -> int | None:
    from .graph import fixed_side  # loads Keras, which those who only handle pairs do not need

    return fixed_side(model)


def _side(job: Job, stride: int) -> int:
    return _fixed_side(job.encoder) or -(-SIDE // stride) * stride


def _work(
    jobs: Sequence[Job], strides: Sequence[int], images: Sequence[np.ndarray]
) -> list[tuple[dict[str, Any], bytes, bytes]]:
    """(result, encoder, decoder) of each job, from the worker process."""
    with tempfile.TemporaryDirectory(prefix="edgepress-") as name:
        folder = Path(name)
        plan = {}
        for i, (job, stride) in enumerate(zip(jobs, strides, strict=True)):
            (folder / str(i)).mkdir()
            job.encoder.save(folder / str(i) / "encoder.keras")
            job.decoder.save(folder / str(i) / "decoder.keras")
            plan[str(i)] = {
                "mode": job.mode,
                "latent_scale": job.latent_scale,
                "zero_point": job.zero_point,
                "fallback": job.fallback,
                "side": _side(job, stride),
            }
        for side in {_side(job, s) for job, s in zip(jobs, strides, strict=True) if job.mode in CALIBRATED}:
            np.save(folder / f"tiles{side}.npy", calibration_crops(images, side))
        (folder / "jobs.json").write_text(json.dumps(plan))
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(
            [sys.executable, "-m", "edgepress.optimize._convert_worker", name],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise ConversionError(f"TensorFlow's converter failed (exit {done.returncode}): {said[-1][:300]}")
        return [
            (
                json.loads((folder / i / "result.json").read_text()),
                (folder / i / "encoder.tflite").read_bytes(),
                (folder / i / "decoder.tflite").read_bytes(),
            )
            for i in plan
        ]
