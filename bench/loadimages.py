"""The pictures of a benchmark: a folder in any format Pillow reads, or photographs that scikit-image carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from edgepress.runtime.errors import EdgepressError

from .contender import RGB

T = TypeVar("T")

BUILT_IN = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


@dataclass(frozen=True, eq=False)
class BenchImage:
    """One picture: from a file, whose pixels are read anew on every call so that large sets fit, or from an array."""

    name: str
    width: int
    height: int
    path: Path | None = None
    source_bytes: int | None = None  # of the file as it was found; None for an array
    array: RGB | None = None

    def pixels(self) -> RGB:
        """The image as uint8 HxWx3."""
        if self.array is not None:
            return self.array
        assert self.path is not None
        return read_rgb(self.path)

    @classmethod
    def from_array(cls, name: str, array: RGB) -> BenchImage:
        """A picture already in memory: uint8 HxWx3."""
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
            raise EdgepressError(
                f"{name}: needs a uint8 array HxWx3, got {array.dtype} of shape {array.shape}"
            )
        return cls(name, array.shape[1], array.shape[0], array=array)

    @classmethod
    def from_file(cls, path: Path, name: str | None = None) -> BenchImage:
        """A picture in a file, read once to see that it is whole. Raises EdgepressError when it cannot be used."""
        height, width = read_rgb(path).shape[:2]
        return cls(name or path.name, width, height, path, path.stat().st_size)


def read_rgb(path: Path) -> RGB:
    """The pixels of an image file as uint8 HxWx3, turned upright as EXIF says; transparency is dropped.

    Raises EdgepressError, in one line, for a file that is damaged, no image, or deeper than 8 bits a channel.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise EdgepressError(
                    f"{path}: has more than 8 bits a channel (mode {image.mode}); convert it first"
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except EdgepressError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise EdgepressError(f"{path}: cannot be read as an image ({error})") from None


def load_images(
    folder: Path | None, limit: int | None = None, skipped: Callable[[str], None] | None = None
) -> list[BenchImage]:
    """The pictures below a folder in the order of their names, or the built-in photographs for None.

    limit: at most so many, spread evenly over the set. skipped: is told, in one line, of every file that cannot
    be used; files with a suffix that no Pillow format has are passed over in silence.
    Raises EdgepressError when the folder does not exist or no image is left.
    """
    if folder is None:
        paths = built_in_paths()
        root = paths[0].parent
    elif folder.is_file():
        paths, root = [folder], folder.parent
    elif folder.is_dir():
        suffixes = Image.registered_extensions()
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        root = folder
    else:
        raise EdgepressError(f"{folder}: no such folder")
    found = (_usable(path, root, skipped) for path in pick_evenly(paths, limit))
    images = [image for image in found if image]
    if not images:
        raise EdgepressError(f"{folder}: holds no image that can be read")
    return images


def _usable(path: Path, root: Path, skipped: Callable[[str], None] | None) -> BenchImage | None:
    try:
        return BenchImage.from_file(path, path.relative_to(root).as_posix())
    except EdgepressError as error:
        if skipped:
            skipped(str(error))
        return None


def built_in_paths() -> list[Path]:
    """The photographs inside the scikit-image wheel (no network). Raises EdgepressError without scikit-image."""
    try:
        import skimage.data
    except ModuleNotFoundError:
        raise EdgepressError(
            "the built-in photographs come with scikit-image: pip install 'edgepress[bench]', or name a folder"
        ) from None
    folder = Path(skimage.data.__file__).parent
    return [folder / name for name in BUILT_IN]


def pick_evenly(items: list[T], limit: int | None) -> list[T]:
    """At most `limit` items, evenly spread from first to last; all of them for None."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]
