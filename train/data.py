"""Training crops from a folder of photographs, as a pure function of (seed, step)."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


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
        self.sizes = np.zeros((0, 2), int)  # height, width of every image
        self.min_side = min_side
        self._budget = cache_bytes
        self._cache: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._check()

    def _check(self) -> None:
        """Decode every image once, so that what cannot be used is named before training and `paths` never changes in it."""
        usable, sizes = [], []
        for path, pixels in self._decoded():
            if pixels is None:
                continue
            height, width = pixels.shape[:2]
            if min(height, width) < self.min_side:
                warnings.warn(
                    f"skipped {path}: {width}x{height} is under {self.min_side} pixels", stacklevel=3
                )
                continue
            usable.append(path)
            sizes.append((height, width))
            self._keep(path, pixels)
        self.paths, self.sizes = usable, np.array(sizes)
        if not usable:
            raise DataError(
                f"{self.folder}: no image of at least {self.min_side}x{self.min_side} pixels that Pillow reads"
            )

    def _decoded(self, together: int = 64) -> Iterator[tuple[Path, np.ndarray | None]]:
        """Every path with its pixels, decoded by all cores, some images ahead."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self.paths), together):
                group = self.paths[start : start + together]
                yield from zip(group, pool.map(self._decode, group), strict=True)

    @staticmethod
    def _decode(path: Path) -> np.ndarray | None:
        try:
            with Image.open(path) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception as error:  # Pillow's readers raise nearly anything on damaged files
            warnings.warn(f"skipped {path}: {error}", stacklevel=4)
            return None

    def _keep(self, path: Path, pixels: np.ndarray) -> None:
        self._budget -= pixels.nbytes
        while self._budget < 0 and self._cache:
            self._budget += self._cache.popitem(last=False)[1].nbytes
        self._cache[path] = pixels

    def __len__(self) -> int:
        return len(self.paths)

    def hold_out(self, every: int = 50, most: int = 40) -> list[np.ndarray]:
        """Take one image in `every` (one at least of two or more), at most `most`, out of the folder; gives their pixels."""
        every = min(every, len(self.paths))
        chosen = list(range(len(self.paths)))[every - 1 :: every][:most] if every > 1 else []
        images = [self.read(index) for index in chosen]
        self.paths = [path for index, path in enumerate(self.paths) if index not in chosen]
        self.sizes = np.delete(self.sizes, chosen, axis=0)
        return images

    def read(self, index: int) -> np.ndarray:
        """Image `index` modulo the number of images. DataError when the file changed since it was checked."""
        path = self.paths[index % len(self.paths)]
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        pixels = self._decode(path)
        if pixels is None or min(pixels.shape[:2]) < self.min_side:
            raise DataError(f"{path}: it could be read when training began and no longer can")
        self._keep(path, pixels)
        return pixels

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.read(index) for index in range(len(self.paths)))


def crop_places(images: ImageFolder, batch: int, crop: int, seed: int, step: int) -> tuple[np.ndarray, ...]:
    """Where the crops of step `step` lie: image, first row, first column, whether mirrored; each (batch,).

    Images are drawn without replacement per pass. The same arguments always give the same crops, which is what makes a
    resumed run exact.
    """
    rng = np.random.default_rng((seed, step))
    down, right, mirror = rng.random((3, batch))
    numbers = range(step * batch, (step + 1) * batch)
    drawn = [divmod(number, len(images)) for number in numbers]
    index = np.array([_permutation(seed, epoch, len(images))[place] for epoch, place in drawn])
    heights, widths = images.sizes[index].T
    return (
        index,
        (down * (heights - crop + 1)).astype(int),
        (right * (widths - crop + 1)).astype(int),
        mirror < 0.5,
    )


def crop_batch(images: ImageFolder, batch: int, crop: int, seed: int, step: int) -> np.ndarray:
    """The crops of step `step`: (batch, crop, crop, 3) uint8, at `crop_places`."""
    out = np.empty((batch, crop, crop, 3), np.uint8)
    for i, (index, y, x, mirrored) in enumerate(
        zip(*crop_places(images, batch, crop, seed, step), strict=True)
    ):
        piece = images.read(index)[y : y + crop, x : x + crop]
        out[i] = piece[:, ::-1] if mirrored else piece
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
