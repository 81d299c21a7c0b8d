"""Image files of the formats that Pillow knows: reading them upright, and writing them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

from PIL import Image

from .errors import EdgepressError, UnsupportedImageError
from .files import atomic_file, is_special
from .images import READ_ERRORS, check_size
from .stdio import STDIO, write_output


def read_image(source: Path | IO[bytes], max_pixels: int) -> tuple[Image.Image, list[str]]:
    """The image in a file, loaded and turned upright as its EXIF orientation says; of several frames the first.

    Returns:
        The image, whose `info` has EXIF without the orientation, and notes on what was passed over.

    Raises:
        UnsupportedImageError: Pillow does not know the format, or the file is damaged or beyond `max_pixels`.
        OSError: the file cannot be read.
    """
    notes = []
    try:
        with Image.open(source) as image:
            check_size(*image.size, max_pixels)
            # Phones save photographs as MPO, with previews or depth maps as further frames that nobody misses.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                notes.append("only the first of its images is encoded")
            image.load()
            if not _upright(image):
                notes.append("its EXIF data is damaged and left out")
            return image, notes
    except Image.UnidentifiedImageError:
        raise UnsupportedImageError("not an image that Pillow can read") from None
    except UnsupportedImageError:
        raise
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnsupportedImageError(f"the image cannot be read: {error}") from None


def carried(image: Image.Image) -> dict[str, bytes]:
    """EXIF and ICC profile of an image, those that it has, as `Codec.encode` and `Image.save` take them."""
    found = {name: image.info.get(name) for name in ("exif", "icc_profile")}
    return {name: value for name, value in found.items() if value and isinstance(value, bytes)}


def is_srgb(icc_profile: bytes) -> bool:
    """Whether an ICC profile calls itself sRGB, which is what images without a profile are taken for."""
    return b"sRGB" in icc_profile or "sRGB".encode("utf-16-be") in icc_profile


def write_image(target: Path, image: Image.Image, suffix: str, metadata: dict[str, Any]) -> None:
    """Write an image in the format of a suffix to a file, complete or not at all, or to standard output.

    Raises:
        EdgepressError: the format does not take this image or its metadata.
        BrokenPipeError: nobody reads standard output any more.
        OSError: it cannot be written.
    """
    image.info.pop("icc_profile", None)  # PNG and TIFF would write it unasked
    if target == STDIO or is_special(target) or target.suffix != suffix:
        buffer = io.BytesIO()
        buffer.name = "image" + suffix
        _save(image, buffer, suffix, metadata)
        write_output(target, buffer.getvalue())
        return
    with atomic_file(target) as file:  # large ones never are in memory as a whole
        _save(image, file, suffix, metadata)


def _save(image: Image.Image, file: IO[bytes], suffix: str, metadata: dict[str, Any]) -> None:
    """Save to an open file, from whose name Pillow finds the format without importing the common ones."""
    try:
        image.save(file, **metadata)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        remedy = "; --no-metadata leaves EXIF and profile out" if metadata else ""
        raise EdgepressError(f"it cannot be written as {suffix}: {error}{remedy}") from None


def is_readable_image(path: Path) -> bool:
    """Whether the file's name has the suffix of a format that Pillow reads."""
    return format_of(path.suffix) in Image.OPEN


def is_writable_image(path: Path) -> bool:
    """Whether the file's name has the suffix of a format that Pillow writes."""
    return format_of(path.suffix) in Image.SAVE


def format_of(suffix: str) -> str | None:
    """Pillow's name for the format of a suffix (".png"), or None."""
    suffix = suffix.lower()
    if suffix == ".png":  # what decoding writes; the other common formats take 10 ms more to import
        from PIL import PngImagePlugin

        return PngImagePlugin.PngImageFile.format
    Image.preinit()  # the common formats; all the others take 50 ms to import
    return Image.EXTENSION.get(suffix) or Image.registered_extensions().get(suffix)


def _upright(image: Image.Image) -> bool:
    """Turn the image as its EXIF orientation says; False, and no EXIF, when that is damaged."""
    from PIL import ImageOps  # decoding does without

    try:
        ImageOps.exif_transpose(image, in_place=True)
        return True
    # Whatever Pillow meets in broken EXIF, the picture is not to be lost for it.
    except Exception:
        image.info.pop("exif", None)
        return False
