"""Pillow reads and writes .epx once this module is imported.

import edgepress.runtime.pillow
image = Image.open("photo.epx")                     # size and mode at once, pixels when they are needed
image.save("copy.epx", quality=60, model="photo")   # also background=, exif=, icc_profile=, as for JPEG only if asked

Files made with a package that is not installed need it first: `use("mine.epm")`.
"""

from __future__ import annotations

import functools
import os
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from . import stream
from .errors import CorruptStreamError, EdgepressError, UnsupportedImageError

if TYPE_CHECKING:
    from .codec import Codec

FORMAT = "EPX"
_used: dict[bytes, Codec] = {}


class EpxImageFile(ImageFile.ImageFile):
    """An .epx file; lazy: opening it reads header and metadata, `load` decodes."""

    format = FORMAT
    format_description = "edgepress"

    def _open(self) -> None:
        try:
            header, metadata = stream.read_start(_file(self))
        except CorruptStreamError as error:
            raise SyntaxError(str(error)) from None
        self._size = (header.width, header.height)
        self._mode = header.mode
        self.info.update(metadata.as_info())
        self.tile = [(FORMAT, (0, 0, *self._size), 0, header.mode)]  # type: ignore[list-item]

    def verify(self) -> None:
        """Check the whole file's checksum and metadata; the image cannot be loaded afterwards, as in all of Pillow.

        Raises:
            OSError: the file is damaged or truncated.
        """
        try:
            stream.parse(_content(self))
        except CorruptStreamError as error:
            raise OSError(str(error)) from None
        finally:
            super().verify()

    def load(self) -> Any:
        """Decode, at the first call.

        Raises:
            OSError: the file is damaged, beyond the codec's limits, or made with a package that is not known.
        """
        if self.tile:
            # Not through Pillow's decoders: they make room for what the header says before its checksum is known.
            try:
                image = _decode(_content(self))
            except EdgepressError as error:
                raise OSError(str(error)) from None
            if (image.size, image.mode) != (self.size, self.mode):
                raise OSError("the file has changed since it was opened")
            self.im = image.im
            self.readonly = 0
            self.tile = []
            if self._exclusive_fp:
                _file(self).close()
            self.fp = None
        return super().load()


def use(model: Codec | str | os.PathLike[str]) -> None:
    """Decode files that were made with this package; installed packages need no such word.

    Args:
        model: a codec, the path of an .epm file, or the name of an installed package.

    Raises:
        EdgepressError: there is no such package, or it cannot be used.
    """
    codec = _codec(model)
    _used[codec.package.model_id] = codec


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(stream.MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options = image.encoderinfo  # Image.save puts it there
    exif = options.get("exif")
    codec = _codec(options.get("model"))
    try:
        data = codec.encode(
            image,
            options.get("quality", 75),
            background=options.get("background"),
            exif=exif.tobytes() if isinstance(exif, Image.Exif) else exif,
            icc_profile=options.get("icc_profile"),
        )
    except UnsupportedImageError as error:
        raise OSError(f"cannot write this image as {FORMAT}: {error}") from None
    file.write(data)


def _file(image: ImageFile.ImageFile) -> IO[bytes]:
    if image.fp is None:
        raise ValueError("the image is closed")
    return image.fp


def _content(image: ImageFile.ImageFile) -> bytes:
    file = _file(image)
    file.seek(0)
    return stream.read_open(file)


def _decode(data: bytes) -> Image.Image:
    from .codec import codec_for  # numpy and the interpreter, which opening alone does not need

    # The whole is parsed first: damage to the model id is damage, not a package that is missing.
    model_id = stream.parse(data)[0].model_id
    return (_used.get(model_id) or codec_for(model_id)).decode(data)


def _codec(model: Codec | str | os.PathLike[str] | None) -> Codec:
    from .codec import Codec

    if isinstance(model, Codec):
        return model
    # Installed packages stay as they are; a file at a path may be another one the next time.
    return _installed(model) if model is None or model in Codec.available() else Codec.load(model)


@functools.lru_cache(maxsize=4)
def _installed(name: str | None) -> Codec:
    from .codec import Codec

    return Codec.load(name)


Image.register_open(FORMAT, EpxImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".epx")
Image.register_mime(FORMAT, "image/x-edgepress")
