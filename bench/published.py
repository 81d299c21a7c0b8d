"""What the study of 2024 found, as its tables and text have it.

I. Marchenko, O. Balalaieva, H. Korotenko, M. Tarazanov, "Research of image compression algorithms using neural
networks", Reporter of the Priazovskyi State Technical University, Technical sciences, 2024, issue 49, vol. 1.
"""

from __future__ import annotations

from dataclasses import dataclass

SIDE = 128  # of its images, in pixels
SET_SECONDS = (1519.46, 92.07)  # for its whole set: the model of 3 layers, JPEG
TIME_RATIO = SET_SECONDS[0] / SET_SECONDS[1]


@dataclass(frozen=True)
class Published:
    """A model of the study beside JPEG at about equal SSIM; None where it gives no number. PSNR in dB.

    jpeg_quality: the setting whose SSIM is about the model's. ratio: compression ratios.
    """

    layers: int
    ssim: float
    jpeg_quality: int
    psnr: float | None = None
    jpeg_psnr: float | None = None
    ratio: float | None = None
    jpeg_ratio: float | None = None
    time_ratio: float | None = None


PUBLISHED = {
    "conv3": Published(3, 0.97, 95, 27.09, 41.11, 1.11, 4.58, TIME_RATIO),
    "conv5": Published(5, 0.93, 75, 25.78, 36.37, 1.18),
    "conv7": Published(7, 0.85, 20),
    "conv10": Published(10, 0.80, 13),
}
