"""Training crops from a folder of photographs, as a pure function of (seed, step)."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


class DataError(ValueError):
    """The folder holds no usable image; the message says which folder and why."""


class ImageFolder:
    """All images below a folder that Pillow reads, decoded on demand to RGB uint8 (H, W, 3) and kept up to `cache_bytes`.

    A damaged image is named in a warning and skipped. Raises DataError when the folder is missing or nothing is left.
    """

    def __init__(self, folder: str | Path, min_side: int = 1, cache_bytes: int = 4 << 30):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"{folder}: no such folder of images")
        Image.init()
        known = set(Image.registered_extensions())
        self.paths = sorted(p for p in self.folder.rglob("*") if p.suffix.lower() in known and p.is_file())
        self.min_side = min_side
        self._budget = cache_bytes
        self._cache: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._check()

    def _check(self) -> None:
        """Read every header once, so that what cannot be used is said before training and never met in it."""
        usable = []
        for path in self.paths:
            try:
                with Image.open(path) as image:
                    size = image.size
            except (UnidentifiedImageError, OSError, SyntaxError) as error:
                warnings.warn(f"skipped {path}: {error}", stacklevel=3)
                continue
            if min(size) < self.min_side:
                warnings.warn(
                    f"skipped {path}: {size[0]}x{size[1]} is under {self.min_side} pixels", stacklevel=3
                )
                continue
            usable.append(path)
        self.paths = usable
        if not usable:
            raise DataError(
                f"{self.folder}: no image of at least {self.min_side}x{self.min_side} pixels that Pillow reads"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def hold_out(self, every: int = 50, most: int = 40) -> list[np.ndarray]:
        """Take one image in `every`, at most `most`, out of the folder for validation, and give their pixels."""
        paths = self.paths[every - 1 :: every][:most]
        images = [self.read(self.paths.index(path)) for path in paths]
        self.paths = [path for path in self.paths if path not in set(paths)]
        return [pixels for pixels in images if pixels is not None]

    def read(self, index: int) -> np.ndarray | None:
        """Image `index` modulo the number of images, or None when its pixels turn out to be damaged."""
        path = self.paths[index % len(self.paths)]
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        try:
            with Image.open(path) as image:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            warnings.warn(f"skipped {path}: {error}", stacklevel=2)
            self.paths.remove(path)
            if not self.paths:
                raise DataError(f"{self.folder}: every image in it is damaged") from None
            return None
        self._budget -= pixels.nbytes
        while self._budget < 0 and self._cache:
            self._budget += self._cache.popitem(last=False)[1].nbytes
        self._cache[path] = pixels
        return pixels

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in list(self.paths):
            pixels = self.read(self.paths.index(path))
            if pixels is not None:
                yield pixels


def crop_batch(images: ImageFolder, batch: int, crop: int, seed: int, step: int) -> np.ndarray:
    """Crops of step `step`: (batch, crop, crop, 3) uint8, images drawn without replacement per pass, half of them flipped.

    The same arguments always give the same crops, which is what makes a resumed run exact.
    """
    out = np.empty((batch, crop, crop, 3), np.uint8)
    for i in range(batch):
        number = step * batch + i
        rng = np.random.default_rng((seed, number))
        pixels = None
        while pixels is None:
            epoch, place = divmod(number, len(images))
            pixels = images.read(_permutation(seed, epoch, len(images))[place])
        y = rng.integers(pixels.shape[0] - crop + 1)
        x = rng.integers(pixels.shape[1] - crop + 1)
        piece = pixels[y : y + crop, x : x + crop]
        out[i] = piece[:, ::-1] if rng.random() < 0.5 else piece
    return out


_permutations: dict[tuple[int, int, int], np.ndarray] = {}


def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    key = (seed, epoch, n)
    if key not in _permutations:
        _permutations.clear()  # only the current pass is ever needed
        _permutations[key] = np.random.default_rng((seed, 1 << 40, epoch)).permutation(n)
    return _permutations[key]


def batches(images: ImageFolder, batch: int, crop: int, seed: int, start: int) -> Iterator[tuple[np.ndarray]]:
    """Endless batches from step `start` on, in the form that `keras.Model.fit` takes."""
    step = start
    while True:
        yield (crop_batch(images, batch, crop, seed, step),)
        step += 1
