"""One row per stage: what a pair of networks weighs, computes and achieves."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.bench.macs import macs_per_pixel
from edgepress.bench.metrics import mean_psnr, measure
from edgepress.runtime import coder
from edgepress.runtime.codec import Codec
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.tables import EntropyTables

from .convert import FloatPair, Pair
from .tflite import TFLite, parameters, undelegated

FINEST = (
    100  # the quality at which stages are compared: one step of the symbols is one int8 step of the latent
)

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Stage:
    """One row of the stage table; None where a figure has no meaning.

    Attributes:
        name: float, rewritten, pruned, int8, package (at the finest quality) or `quality N`.
        raw_bytes, gzip_bytes: of both TFLite models together, as they are and each with gzip -9; of the package file.
        parameters, nonzero: weights and biases of both models, and those of them that are not zero.
        macs_per_pixel: multiply-adds of both models per image pixel.
        latency_ms: encoder + decoder network on a 128x128 image, one thread, median; for packages encoding and
            decoding of the file, entropy coder included.
        undelegated: operations that XNNPACK does not run.
        psnr, ssim: mean over the held-out images, after rounding to 8 bits.
        bpp: bits per pixel: of whole files for packages; before, the code length of the latents at the finest step
            under the package's tables.
    """

    name: str
    raw_bytes: int
    gzip_bytes: int
    parameters: int | None
    nonzero: int | None
    macs_per_pixel: float | None
    latency_ms: float | None
    undelegated: int | None
    psnr: float
    ssim: float | None
    bpp: float | None


@dataclass(frozen=True)
class Networks:
    """What `weigh` found of two TFLite models."""

    raw_bytes: int
    gzip_bytes: int
    parameters: int
    nonzero: int
    macs_per_pixel: float
    undelegated: int


@dataclass(frozen=True)
class ImageScore:
    """One image: PSNR in dB, SSIM (None under 11 pixels), bits per pixel."""

    psnr: float
    ssim: float | None
    bpp: float


@dataclass(frozen=True)
class Scores:
    """Means over images: PSNR in dB, SSIM (None when an image is under 11 pixels), bits per pixel if known."""

    psnr: float
    ssim: float | None
    bpp: float | None


def middle(image: NDArray[Any], unit: int, side: int) -> NDArray[Any]:
    """The middle of an image, at most `side` pixels a side and whole multiples of `unit`, the stride or the tile's side.

    Raises: EdgepressError for an image smaller than the unit.
    """
    height, width = (min(n, side) // unit * unit for n in image.shape[:2])
    if not height or not width:
        raise EdgepressError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels is smaller than the {unit}x{unit} that the model takes"
        )
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def weigh(encoder: bytes, decoder: bytes) -> Networks:
    """Bytes, parameters, multiply-adds and undelegated operations of two TFLite models with a static shape."""
    counts = [parameters(model) for model in (encoder, decoder)]
    return Networks(
        raw_bytes=len(encoder) + len(decoder),
        gzip_bytes=sum(len(gzip.compress(model, 9, mtime=0)) for model in (encoder, decoder)),
        parameters=sum(total for total, _ in counts),
        nonzero=sum(nonzero for _, nonzero in counts),
        macs_per_pixel=sum(map(macs_per_pixel, (encoder, decoder))),
        undelegated=sum(sum(undelegated(m).values()) for m in (encoder, decoder)),
    )


def undelegated_of(pair: FloatPair | Pair) -> dict[str, int]:
    """The operations of both models that XNNPACK does not run, by type."""
    return dict(undelegated(pair.encoder) + undelegated(pair.decoder))


def score_float(
    encoder: Any,
    decoder: Any,
    images: Sequence[RGB],
    tables: EntropyTables,
    scale: NDArray[np.float32],
    zero_point: int,
) -> list[ImageScore]:
    """Keras 3 halves, their latent unquantized between them; the rate is that on the int8 grid of `scale`, float32[C]."""
    from .graph import run  # loads Keras, which a run that is in the cache does not need

    outputs, sizes = [], []
    for image in images:
        z = run(encoder, image[None] / np.float32(255))
        outputs.append(_pixels(run(decoder, z)[0]))
        sizes.append(len(coder.encode_latent(on_grid(z[0], scale, zero_point), zero_point, tables, FINEST)))
    return _scores(images, outputs, sizes)


def score_float_files(
    encoder: Any,
    decoder: Any,
    images: Sequence[RGB],
    tables: EntropyTables,
    scale: NDArray[np.float32],
    zero_point: int,
    quality: int,
) -> list[ImageScore]:
    """Keras 3 halves as the networks of a package would be at one quality: latents on the int8 grid, coded, decoded."""
    from .graph import run

    outputs, sizes = [], []
    for image in images:
        grid = on_grid(run(encoder, image[None] / np.float32(255))[0], scale, zero_point)
        data = coder.encode_latent(grid, zero_point, tables, quality)
        rows, columns, channels = grid.shape
        decoded = coder.decode_latent(data, (channels, rows, columns), zero_point, tables, quality)
        z = (decoded.astype(np.float32) - zero_point) * scale
        outputs.append(_pixels(run(decoder, z[None])[0]))
        sizes.append(len(data))
    return _scores(images, outputs, sizes)


def score_pair(pair: FloatPair, images: Sequence[RGB], tile: int = 0) -> Scores:
    """TFLite models with float ends, in whatever mode; there is no rate, since their latents are not integers.

    tile: side of the only image that the model takes; 0: it takes any size.
    """
    from .graph import in_tiles  # loads Keras

    encoder, decoder = TFLite(pair.encoder), TFLite(pair.decoder)

    def once(part: NDArray[np.float32]) -> NDArray[np.float32]:
        return decoder.run(encoder.run(part))

    outputs = [
        _pixels(in_tiles(once, image[None] / np.float32(255), tile or None, at_once=1)[0]) for image in images
    ]
    return replace(means(_scores(images, outputs, [0] * len(images))), bpp=None)


def score_int8(codec: Codec, images: Sequence[RGB]) -> list[ImageScore]:
    """The networks of a package alone: every int8 latent goes from one to the other as it is."""
    package = codec.package
    latents = [codec.latent(image) for image in images]
    sizes = [len(coder.encode_latent(z, package.zero_point, package.tables, FINEST)) for z in latents]
    return _scores(images, [codec.reconstruct(z) for z in latents], sizes)


def score_files(codec: Codec, images: Sequence[RGB], quality: int) -> list[ImageScore]:
    """Real files, encoded and decoded."""
    files = [codec.encode(image, quality) for image in images]
    return _scores(images, [codec.decode_array(file) for file in files], [len(file) for file in files])


def means(found: Sequence[ImageScore]) -> Scores:
    """The means over images."""
    similar = [score.ssim for score in found if score.ssim is not None]
    return Scores(
        psnr=mean_psnr([score.psnr for score in found]),
        ssim=fmean(similar) if len(similar) == len(found) else None,
        bpp=fmean(score.bpp for score in found),
    )


def on_grid(latent: NDArray[np.float32], scale: NDArray[np.float32], zero_point: int) -> NDArray[np.int8]:
    """A float latent (H, W, C) in int8 steps."""
    return np.clip(np.rint(latent / scale) + zero_point, -128, 127).astype(np.int8)


def _pixels(output: NDArray[np.float32]) -> RGB:
    return np.rint(np.clip(output, 0, 1) * 255).astype(np.uint8)


def _scores(images: Sequence[RGB], outputs: Sequence[RGB], file_bytes: Sequence[int]) -> list[ImageScore]:
    scores = []
    for image, output, size in zip(images, outputs, file_bytes, strict=True):
        found = measure(image, output, multiscale=False)
        scores.append(ImageScore(found.psnr, found.ssim, 8 * size / (image.shape[0] * image.shape[1])))
    return scores
