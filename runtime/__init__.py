"""The codec on the device: numpy, Pillow, click and a TFLite interpreter, nothing else.

from edgepress.runtime import Codec
codec = Codec.load()
data = codec.encode(image, quality=75)
image = codec.decode(data)
"""

from typing import TYPE_CHECKING, Any

from .errors import (
    BadPackageError,
    CorruptStreamError,
    EdgepressError,
    UnknownModelError,
    UnsupportedImageError,
)

if TYPE_CHECKING:
    from .codec import Codec, decode

__all__ = [
    "BadPackageError",
    "Codec",
    "CorruptStreamError",
    "EdgepressError",
    "UnknownModelError",
    "UnsupportedImageError",
    "decode",
]


def __getattr__(name: str) -> Any:
    # numpy and Pillow are imported when the codec is used, not when an error class is.
    if name in ("Codec", "decode"):
        from . import codec

        return getattr(codec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
