"""The classical contenders: every format that Pillow writes, one small class each."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar

from PIL import Image, features

from .contender import RGB, MissingCodecError, PillowCodec, param

_SUBSAMPLING = ("420", "422", "444")


def _colons(subsampling: str) -> str:
    return ":".join(subsampling)


@dataclass(frozen=True)
class Jpeg(PillowCodec):
    """JPEG; quality is libjpeg's. With its defaults it is the anchor of every comparison."""

    key: ClassVar[str] = "jpeg"
    title: ClassVar[str] = "JPEG"
    format: ClassVar[str] = "JPEG"
    feature: ClassVar[str | None] = "jpg"
    library: ClassVar[str] = "libjpeg"

    subsampling: str = param("420", "chroma subsampling", _SUBSAMPLING)
    optimize: bool = param(True, "Huffman tables fitted to the image")
    progressive: bool = param(False, "progressive scans")

    @property
    def description(self) -> str:
        # Pillow reports the API level (6.2) as the version of "jpg" and the real version as another feature.
        turbo = features.version("libjpeg_turbo")
        plain = super().description
        return (
            plain.replace(f"libjpeg {features.version('jpg')}", f"libjpeg-turbo {turbo}") if turbo else plain
        )

    def options(self, quality: int) -> dict[str, Any]:
        return {
            "quality": quality,
            "subsampling": _colons(self.subsampling),
            "optimize": self.optimize,
            "progressive": self.progressive,
        }


@dataclass(frozen=True)
class Webp(PillowCodec):
    """Lossy WebP; quality is libwebp's."""

    key: ClassVar[str] = "webp"
    title: ClassVar[str] = "WebP"
    format: ClassVar[str] = "WEBP"
    feature: ClassVar[str | None] = "webp"
    library: ClassVar[str] = "libwebp"

    method: int = param(4, "effort, 0 is fastest and 6 smallest", range(7))

    def options(self, quality: int) -> dict[str, Any]:
        return {"quality": quality, "method": self.method}


@dataclass(frozen=True)
class Jpeg2000(PillowCodec):
    """JPEG 2000; quality 1..100 aims at a PSNR of 20.3 to 50 dB (by=psnr) or 0.04 to 4 bits a pixel (by=rate)."""

    key: ClassVar[str] = "jp2"
    title: ClassVar[str] = "JPEG 2000"
    format: ClassVar[str] = "JPEG2000"
    feature: ClassVar[str | None] = "jpg_2000"
    library: ClassVar[str] = "OpenJPEG"

    by: str = param("psnr", "what quality sets: the PSNR or the rate of each image", ("psnr", "rate"))
    irreversible: bool = param(True, "the lossy 9/7 wavelet rather than the reversible 5/3")

    def options(self, quality: int) -> dict[str, Any]:
        if self.by == "rate":
            mode, layer = "rates", 24 / (0.04 * 100 ** ((quality - 1) / 99))
        else:
            mode, layer = "dB", 20 + 0.3 * quality
        # mct=1 decorrelates the colours. Pillow leaves it off, which doubles the rate.
        return {"quality_mode": mode, "quality_layers": [layer], "irreversible": self.irreversible, "mct": 1}


@dataclass(frozen=True)
class Avif(PillowCodec):
    """AVIF (AV1); quality is libavif's."""

    key: ClassVar[str] = "avif"
    title: ClassVar[str] = "AVIF"
    format: ClassVar[str] = "AVIF"
    feature: ClassVar[str | None] = "avif"
    library: ClassVar[str] = "libavif"

    speed: int = param(8, "0 is smallest and 10 fastest", range(11))
    subsampling: str = param("420", "chroma subsampling", _SUBSAMPLING)

    def options(self, quality: int) -> dict[str, Any]:
        return {
            "quality": quality,
            "speed": self.speed,
            "subsampling": _colons(self.subsampling),
            "max_threads": 1,
        }

    def decode(self, data: bytes) -> RGB:
        # Only this module-wide setting keeps Pillow's AVIF decoder to the one thread that all contenders get.
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        return super().decode(data)


@dataclass(frozen=True)
class Png(PillowCodec):
    """PNG, lossless: there is no quality."""

    key: ClassVar[str] = "png"
    title: ClassVar[str] = "PNG"
    format: ClassVar[str] = "PNG"
    feature: ClassVar[str | None] = "zlib"
    library: ClassVar[str] = "zlib"
    qualities: ClassVar[tuple[int, ...]] = (100,)

    level: int = param(6, "effort of deflate, 1 is fastest and 9 smallest", range(1, 10))

    def options(self, quality: int) -> dict[str, Any]:
        return {"compress_level": self.level}


@dataclass(frozen=True)
class Gif(PillowCodec):
    """GIF: a palette of 256 colours or fewer, then lossless; there is no quality."""

    key: ClassVar[str] = "gif"
    title: ClassVar[str] = "GIF"
    format: ClassVar[str] = "GIF"
    feature: ClassVar[str | None] = None
    library: ClassVar[str] = ""
    qualities: ClassVar[tuple[int, ...]] = (100,)

    colors: int = param(256, "size of the palette, chosen by median cut", range(2, 257))
    dither: bool = param(False, "Floyd-Steinberg dithering, slow in Pillow, which leaves it off by itself")

    def encode(self, rgb: RGB, quality: int) -> bytes:
        picture = Image.fromarray(rgb)
        indexed = picture.quantize(self.colors, Image.Quantize.MEDIANCUT)
        if self.dither:  # Pillow dithers only towards a palette that it is given
            indexed = picture.quantize(palette=indexed, dither=Image.Dither.FLOYDSTEINBERG)
        file = io.BytesIO()
        indexed.save(file, self.format)
        return file.getvalue()


@dataclass(frozen=True)
class Tiff(PillowCodec):
    """TIFF with LZW or deflate, lossless: there is no quality."""

    key: ClassVar[str] = "tiff"
    title: ClassVar[str] = "TIFF"
    format: ClassVar[str] = "TIFF"
    feature: ClassVar[str | None] = "libtiff"
    library: ClassVar[str] = "libtiff"
    qualities: ClassVar[tuple[int, ...]] = (100,)

    compression: str = param("lzw", "method", ("lzw", "deflate"))
    predictor: bool = param(
        False, "store differences to the pixel on the left, which makes photographs smaller"
    )

    def options(self, quality: int) -> dict[str, Any]:
        names = {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}
        horizontal = {317: 2} if self.predictor else {}
        return {"compression": names[self.compression], "tiffinfo": horizontal}


@dataclass(frozen=True)
class JpegXl(PillowCodec):
    """JPEG XL through the Pillow plugin `pillow-jxl-plugin`; quality is libjxl's, like that of libjpeg."""

    key: ClassVar[str] = "jxl"
    title: ClassVar[str] = "JPEG XL"
    format: ClassVar[str] = "JXL"
    feature: ClassVar[str | None] = None
    library: ClassVar[str] = "pillow-jxl-plugin"

    effort: int = param(7, "1 is fastest and 9 smallest", range(1, 10))

    def __post_init__(self) -> None:
        if find_spec("pillow_jxl") is None:
            raise MissingCodecError("jxl: Pillow has no JPEG XL of its own: pip install pillow-jxl-plugin")

    @property
    def version(self) -> str:
        return version("pillow-jxl-plugin")

    def options(self, quality: int) -> dict[str, Any]:
        # num_threads 0: no threads beside the caller's
        return {"quality": quality, "effort": self.effort, "num_threads": 0}

    def encode(self, rgb: RGB, quality: int) -> bytes:
        importlib.import_module("pillow_jxl")  # registers itself with Pillow
        return super().encode(rgb, quality)

    def decode(self, data: bytes) -> RGB:
        plugin: Any = importlib.import_module("pillow_jxl.JpegXLImagePlugin")
        plugin.DECODE_THREADS = 0  # only this module-wide setting keeps the decoder to one thread
        return super().decode(data)


PILLOW_CODECS: dict[str, type[PillowCodec]] = {
    cls.key: cls for cls in (Jpeg, Webp, Jpeg2000, Avif, JpegXl, Png, Gif, Tiff)
}
