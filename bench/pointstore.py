"""Measurements kept on disk while a benchmark runs, so that an interrupted one goes on where it was.

A line of JSON for each contender, quality and image. Its key is a hash of all that decides the figures: the pixels, the
contender's fingerprint (settings, library versions, networks), the quality and the code of the measures. What
was measured of another image or with another version is therefore not found, rather than taken for this one's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from pathlib import Path

from . import metrics
from .contender import ReferenceCodec, fingerprint
from .loadimages import BenchImage

Figures = tuple[int, float, float | None, float | None]  # bytes, PSNR, SSIM, MS-SSIM


class PointStore:
    """The measurements in one file, which grows line by line.

    A line that is cut short or damaged, as a power failure leaves it, is passed over and measured again. Raises OSError
    when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Figures] = {}
        self._hashes: dict[BenchImage, str] = {}
        content = path.read_bytes() if path.exists() else b""
        for line in content.split(b"\n"):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                entry = json.loads(line)
                psnr = float("inf") if entry["psnr"] is None else float(entry["psnr"])
                self._known[entry["key"]] = (int(entry["bytes"]), psnr, entry["ssim"], entry["ms_ssim"])
        self._file = path.open("ab")
        if content and not content.endswith(b"\n"):
            self._file.write(b"\n")

    def key(self, codec: ReferenceCodec, image: BenchImage, quality: int, multiscale: bool) -> str:
        """The key of a measurement."""
        if image not in self._hashes:
            pixels = image.pixels()
            self._hashes[image] = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        text = [_measures(), self._hashes[image], fingerprint(codec), str(quality), str(multiscale)]
        return hashlib.sha256("\n".join(text).encode()).hexdigest()

    def get(self, key: str) -> Figures | None:
        """The figures kept under a key."""
        return self._known.get(key)

    def put(self, key: str, figures: Figures) -> None:
        """Keep figures; they are in the file when this returns."""
        self._known[key] = figures
        size, psnr, ssim, ms_ssim = figures
        entry = {
            "key": key,
            "bytes": size,
            "psnr": None if psnr == float("inf") else psnr,
            "ssim": ssim,
            "ms_ssim": ms_ssim,
        }
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def close(self, delete: bool = False) -> None:
        """Close the file, and delete it when it has served its purpose."""
        self._file.close()
        if delete:
            self.path.unlink(missing_ok=True)


@functools.cache
def _measures() -> str:
    return hashlib.sha256(Path(metrics.__file__).read_bytes()).hexdigest()
