"""Image quality: PSNR, SSIM and MS-SSIM of 8-bit images, and the rate of a file.

SSIM (Wang, Bovik, Sheikh, Simoncelli 2004) is the one of scikit-image with gaussian_weights=True, sigma=1.5,
use_sample_covariance=False: an 11x11 Gaussian window, only where it lies fully inside the image, averaged over the
channels. MS-SSIM (Wang, Simoncelli, Bovik 2003) has the published five weights and averages 2x2 pixels between
scales; like `tf.image.ssim_multiscale` it is formed per channel and then averaged. Only numpy is needed.

The statistics are taken of the sum s and the difference d of the two images, since with them
    luminance            l  = 1 - mean(d)^2 / ((mean(s)^2 + mean(d)^2) / 2 + C1)
    contrast, structure  cs = 1 - var(d)    / ((var(s) + var(d)) / 2 + C2)
hold exactly, need four filtered planes instead of five, and lose no digits to cancellation in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.errors import UnsupportedImageError

MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
MIN_MS_SIDE = WINDOW * 2 ** (len(MS_WEIGHTS) - 1)  # 176: the smallest side whose fifth scale holds the window
EXACT_PSNR = 100.0  # what an exactly equal image counts for in a mean of PSNRs, dB

_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
_STRIP_VALUES = (
    1 << 15
)  # values of one plane set worked on at a time, so that all temporaries stay in the cache

_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """What `measure` found: PSNR in dB (inf for equal images), SSIM and MS-SSIM up to 1 (None: image too small)."""

    psnr: float
    ssim: float | None
    ms_ssim: float | None


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels, peak 255; `inf` for equal images.

    a, b: uint8, HxWx3 or HxW, of one shape. Raises UnsupportedImageError for anything else.
    """
    _check(a, b)
    d = a.astype(np.int32)
    d -= b
    error = float(np.einsum("i,i->", d.ravel(), d.ravel(), dtype=np.int64, casting="safe")) / d.size
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean structural similarity, up to 1 for equal images.

    a, b: uint8, HxWx3 or HxW, of one shape, at least 11 pixels on each side. Raises UnsupportedImageError otherwise.
    """
    _check(a, b)
    if min(a.shape[:2]) < WINDOW:
        raise UnsupportedImageError(f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, got {_size(a)}")
    return float(_similarity(*_sum_and_difference(a, b))[0].mean())


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float | None:
    """Multi-scale structural similarity, up to 1 for equal images; None when a side is under 176 pixels.

    a, b: uint8, HxWx3 or HxW, of one shape. Raises UnsupportedImageError otherwise.
    """
    return measure(a, b).ms_ssim


def measure(a: NDArray[np.uint8], b: NDArray[np.uint8], multiscale: bool = True) -> Quality:
    """All three measures at once, which saves work: SSIM is the first scale of MS-SSIM.

    a, b: uint8, HxWx3 or HxW, of one shape. `multiscale=False` leaves MS-SSIM out (None). SSIM is None for images
    with a side under 11 pixels. Raises UnsupportedImageError for other arrays.
    """
    distortion = psnr(a, b)
    if min(a.shape[:2]) < WINDOW:
        return Quality(distortion, None, None)
    s, d = _sum_and_difference(a, b)
    similarity, structure = _similarity(s, d)
    single = float(similarity.mean())
    if not multiscale or min(a.shape[:2]) < MIN_MS_SIDE:
        return Quality(distortion, single, None)
    product = np.maximum(structure, 0) ** MS_WEIGHTS[0]
    for scale, weight in enumerate(MS_WEIGHTS[1:], start=2):
        s, d = _halve(s), _halve(d)
        similarity, structure = _similarity(s, d)
        factor = similarity if scale == len(MS_WEIGHTS) else structure
        product *= np.maximum(factor, 0) ** weight
    return Quality(distortion, single, float(product.mean()))


def mean_psnr(values: list[float]) -> float:
    """The mean of PSNRs in dB. An exact image (inf) counts as 100 dB, unless all are exact: then inf."""
    if all(math.isinf(v) for v in values):
        return math.inf
    return float(np.mean([min(v, EXACT_PSNR) for v in values]))


def bits_per_pixel(file_bytes: int, width: int, height: int) -> float:
    """Bits of the whole file over the pixels of the image."""
    return 8 * file_bytes / (width * height)


def compression_ratio(file_bytes: int, width: int, height: int) -> float:
    """Bytes of the raw 8-bit RGB image over the bytes of the whole file."""
    return 3 * width * height / file_bytes


def _check(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
    for image in (a, b):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
            raise UnsupportedImageError(
                f"metrics take uint8 arrays HxWx3 or HxW, got {image.dtype} of shape {image.shape}"
            )
    if a.shape != b.shape:
        raise UnsupportedImageError(f"metrics compare images of one shape, got {a.shape} and {b.shape}")


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _gaussian() -> _Floats:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    return (weights / weights.sum()).astype(np.float32)


_KERNEL = _gaussian()


def _sum_and_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[_Floats, _Floats]:
    """s = a + b - 255 (centred: keeps its square small) and d = a - b as float32 planes CxHxW."""
    x, y = (np.moveaxis(np.atleast_3d(image), 2, 0).astype(np.float32) for image in (a, b))
    d = x - y
    x += y
    x -= 255
    return x, d


def _similarity(s: _Floats, d: _Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per channel: the means of l * cs and of cs over all positions of the window. s, d: CxHxW, sides >= 11."""
    channels, height, width = s.shape
    positions = height - WINDOW + 1
    both = np.zeros(channels)
    structure = np.zeros(channels)
    strip = max(WINDOW, _STRIP_VALUES // (channels * width))
    for top in range(0, positions, strip):
        rows = slice(top, min(top + strip, positions) + WINDOW - 1)
        s_mean, d_mean = _blur(s[:, rows]), _blur(d[:, rows])
        s_var = _blur(np.square(s[:, rows])) - np.square(s_mean)
        d_var = _blur(np.square(d[:, rows])) - np.square(d_mean)
        cs = 1 - d_var / (0.5 * (s_var + d_var) + np.float32(_C2))
        d_mean *= d_mean
        l = 1 - d_mean / (0.5 * (np.square(s_mean + 255) + d_mean) + np.float32(_C1))  # noqa: E741
        structure += cs.sum(axis=(1, 2), dtype=np.float64)
        both += np.einsum("cyx,cyx->c", l, cs, dtype=np.float64)
    count = positions * (width - WINDOW + 1)
    return both / count, structure / count


def _blur(planes: _Floats) -> _Floats:
    """The Gaussian-weighted means of every full 11x11 window: CxHxW -> Cx(H-10)x(W-10)."""
    return _blur_axis(_blur_axis(planes, 1), 2)


def _blur_axis(planes: _Floats, axis: int) -> _Floats:
    length = planes.shape[axis] - WINDOW + 1

    def shifted(by: int) -> _Floats:
        return planes[:, by : by + length] if axis == 1 else planes[:, :, by : by + length]

    middle = WINDOW // 2
    total = shifted(middle) * _KERNEL[middle]
    pair = np.empty_like(total)
    for i in range(middle):  # the kernel is symmetric: one product serves two taps
        np.add(shifted(i), shifted(WINDOW - 1 - i), out=pair)
        pair *= _KERNEL[i]
        total += pair
    return total


def _halve(planes: _Floats) -> _Floats:
    """Means of 2x2 pixels; an odd last row or column is repeated."""
    _, height, width = planes.shape
    if height % 2 or width % 2:
        planes = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    return 0.25 * (planes[:, ::2, ::2] + planes[:, 1::2, ::2] + planes[:, ::2, 1::2] + planes[:, 1::2, 1::2])
