"""The codec: images to .epx bytes and back, with the networks and tables of one package."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import coder, stream
from .autoencoder import Autoencoder, Write, positions, writer
from .errors import UnknownModelError
from .images import check_size, to_image, to_pixels
from .metadata import Metadata
from .package import Package, read_manifest, read_package, shipped
from .parallel import ordered_map
from .smoothing import limit_of
from .tables import check_quality
from .tiles import Piece, Tile

MAX_PIXELS = 1 << 26


class Codec:
    """Encodes and decodes images with one package. Thread-safe; calls in different threads run side by side.

    The encoder network takes (1,H,W,3) pixels (uint8, int8 or float32; real value p/255) and gives int8 latents
    (1,H/stride,W/stride,C); the decoder network takes those and gives (1,H,W,3) pixels. Images of more than
    `TILE_PIXELS` go through them in overlapping tiles, with the same result as in one piece, where the networks'
    operators allow it (see `reach.halo`). Networks of fixed size (`Package.tile`) code every image in tiles of it.

    Args:
        package: from `read_package` (or use `Codec.load`).
        threads: threads for each run of a network.
        max_pixels: the largest image (height * width) that is encoded or decoded.
        lazy: make and check the encoder network when it is first used; what only decodes starts the sooner.

    Raises:
        BadPackageError: the interpreter refuses a network, or its tensors do not fit the manifest.
    """

    def __init__(
        self, package: Package, threads: int = 1, max_pixels: int = MAX_PIXELS, *, lazy: bool = False
    ) -> None:
        self.package = package
        self.max_pixels = max_pixels
        self._networks = Autoencoder(package, threads, lazy)

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] | None = None,
        threads: int = 1,
        max_pixels: int = MAX_PIXELS,
        *,
        lazy: bool = False,
    ) -> Codec:
        """The codec of an installed package (see `available`), of an .epm file, or (None) of the default package.

        Raises:
            UnknownModelError: there is no such package or file.
            BadPackageError: the package cannot be used; when `lazy`, its encoder is seen to by the first that encodes.
        """
        return cls(read_package(_find(name_or_path), lazy=lazy), threads, max_pixels, lazy=lazy)

    @staticmethod
    def available() -> list[str]:
        """The names of the installed packages, the default one first."""
        names = list(shipped())
        default = default_name()
        return sorted(names, key=lambda name: (name != default, name))

    def encode(
        self,
        image: Image.Image | NDArray[np.uint8],
        quality: int = 75,
        *,
        background: tuple[int, int, int] | None = None,
        exif: bytes | None = None,
        icc_profile: bytes | None = None,
        consume: bool = False,
    ) -> bytes:
        """Compress an image to the bytes of an .epx file.

        Args:
            image: a PIL.Image (RGB, L, or what becomes one of them without loss), or a uint8 array HxWx3 or HxW.
            quality: 1 (smallest) to 100 (best).
            background: the colour (red, green, blue), 0..255, to put behind transparent pixels.
            exif, icc_profile: to be carried along; nothing is taken from `image.info` unasked.
            consume: close a PIL.Image, a large one as soon as the network has seen it, which is half of the memory.

        Raises:
            UnsupportedImageError: the image has a mode, shape, dtype or size that cannot be encoded.
            EdgepressError: the quality is not an integer from 1 to 100, the background no colour, or EXIF and profile
                are not bytes or too large.
        """
        quality = check_quality(quality)
        metadata = Metadata.of(exif, icc_profile)
        pixels = to_pixels(image, self.max_pixels, background)
        package = self.package
        rows, columns = self._positions(pixels.shape)
        mode = "RGB" if pixels.ndim == 3 else "L"
        height, width = pixels.shape[:2]
        networks = self._networks

        def code(latent: NDArray[np.int8]) -> bytes:
            return coder.encode_latent(latent, package.zero_point, package.tables, quality)

        pieces = networks.encoder_pieces(rows, columns)
        if len(pieces) == 1:  # then the latent is coded where it is
            payload = networks.analyse(pixels, pieces[0], code)
            _close(image, consume)
        else:
            latent = networks.latent(pixels)
            del pixels
            _close(image, consume)
            payload = code(latent)
        return stream.pack(stream.Header(mode, package.model_id, quality, width, height), payload, metadata)

    def decode(self, data: bytes) -> Image.Image:
        """The image in an .epx file, of the size and mode (RGB or L) that was encoded.

        EXIF and ICC profile, where the file has them, are in its `info` under "exif" and "icc_profile".

        Raises:
            CorruptStreamError: not an .epx stream, or a damaged one.
            UnknownModelError: it was made with another package.
            UnsupportedImageError: it has more than `max_pixels` pixels.
        """
        header, metadata, payload = self._parsed(data)
        image = self._image(header, *self._tiles(header, payload))
        image.info.update(metadata.as_info())
        return image

    def decode_array(self, data: bytes) -> NDArray[np.uint8]:
        """As `decode`, but the pixels as an array: uint8 HxWx3, or HxW for a gray image. Raises as `decode`."""
        header, _, payload = self._parsed(data)
        write, tiles = self._tiles(header, payload)
        shape = (header.height, header.width)
        image = np.empty(shape if header.mode == "L" else (*shape, 3), np.uint8)
        return self._networks.pixels(write, tiles, image, self._limit(header))

    def symbols(self, data: bytes) -> NDArray[np.int16]:
        """The symbols int16[C,H/stride,W/stride] in an .epx file: the same on every machine. Raises as `decode`."""
        header, _, payload = self._parsed(data)
        return coder.decode_symbols(payload, self._shape(header), self.package.tables, header.quality)

    def latent(self, image: Image.Image | NDArray[np.uint8]) -> NDArray[np.int8]:
        """The encoder network's output int8[H',W',C] for an image, H' and W' being its sides / stride, rounded up.

        Raises:
            UnsupportedImageError: as for `encode`.
        """
        pixels = to_pixels(image, self.max_pixels)
        self._positions(pixels.shape)
        return self._networks.latent(pixels)

    def reconstruct(self, latent: NDArray[np.int8]) -> NDArray[np.uint8]:
        """The decoder network's pixels uint8[H'*stride,W'*stride,3] for a latent int8[H',W',C], not smoothed."""
        rows, columns, _ = latent.shape
        stride = self.package.stride
        tiles = self._networks.decoder_pieces(rows, columns)
        image = np.empty((rows * stride, columns * stride, 3), np.uint8)
        return self._networks.pixels(writer(latent), tiles, image)

    def encode_many(
        self, images: Iterable[Image.Image | NDArray[np.uint8]], quality: int = 75, workers: int | None = None
    ) -> Iterator[bytes]:
        """`encode` for every image, in order, by `workers` threads (None: one per core); see `ordered_map`."""
        return ordered_map(functools.partial(self.encode, quality=quality), images, workers)

    def decode_many(self, streams: Iterable[bytes], workers: int | None = None) -> Iterator[Image.Image]:
        """`decode` for every stream, in order, by `workers` threads (None: one per core); see `ordered_map`."""
        return ordered_map(self.decode, streams, workers)

    def _parsed(self, data: bytes) -> tuple[stream.Header, Metadata, bytes]:
        """The header, the metadata and the payload of a stream that is one of this package's."""
        header, metadata, payload = stream.parse_whole(data)
        package = self.package
        if header.model_id != package.model_id:
            raise UnknownModelError(
                f"the stream needs the model {header.model_id.hex()}, and {package.name} is {package.model_id.hex()}"
            )
        check_size(header.width, header.height, self.max_pixels)
        return header, metadata, payload

    def _shape(self, header: stream.Header) -> tuple[int, int, int]:
        """The shape of the symbols (C, H', W')."""
        rows, columns = self._positions((header.height, header.width))
        return self.package.latent_channels, rows, columns

    def _tiles(self, header: stream.Header, payload: bytes) -> tuple[Write, tuple[Piece, ...]]:
        """What writes the decoder's input, and the tiles that it is for. That of a single one is decoded where it is needed."""
        package = self.package
        shape = self._shape(header)
        tiles = self._networks.decoder_pieces(*shape[1:])

        def decode(into: NDArray[np.int8] | None = None) -> NDArray[np.int8]:
            return coder.decode_latent(
                payload, shape, package.zero_point, package.tables, header.quality, into
            )

        if len(tiles) > 1:
            return writer(decode()), tiles

        def write(_: Tile, stored: NDArray[np.int8]) -> None:
            decode(stored)

        return write, tiles

    def _positions(self, size: tuple[int, ...]) -> tuple[int, int]:
        """`positions`, once it is sure that whole tiles do not make a narrow image too large."""
        rows, columns = positions(size, self.package)
        if self.package.tile:
            stride, least = self.package.stride, self.package.tile**2
            check_size(columns * stride, rows * stride, max(self.max_pixels, least))
        return rows, columns

    def _image(self, header: stream.Header, write: Write, tiles: tuple[Piece, ...]) -> Image.Image:
        """The decoded image, without ever having a large one twice."""
        if len(tiles) == 1:
            return self._part(header, write, tiles[0])
        image = Image.new(header.mode, (header.width, header.height))
        for piece in tiles:
            there = piece.there
            image.paste(self._part(header, write, piece), (there.columns.keep, there.rows.keep))
        return image

    def _part(self, header: stream.Header, write: Write, piece: Piece) -> Image.Image:
        """What a tile shows of a decoded image, made of the network's output where that is."""
        rows, columns = piece.there.rows, piece.there.columns
        height = min(rows.keep_stop, header.height) - rows.keep
        width = min(columns.keep_stop, header.width) - columns.keep

        def made(pixels: NDArray[np.uint8]) -> Image.Image:
            return to_image(pixels[:height, :width], header.mode)

        return self._networks.synthesise(write, piece, made, self._limit(header))

    def _limit(self, header: stream.Header) -> int:
        """Of steps between blocks that are smoothed."""
        package = self.package
        return limit_of(package.tables, package.smoothing, header.quality)


def decode(data: bytes) -> Image.Image:
    """The image in an .epx file that was made with any of the installed packages.

    Raises:
        CorruptStreamError: not an .epx stream, or a damaged one.
        UnknownModelError: no installed package has the stream's model id.
    """
    return codec_for(stream.parse_header(data).model_id).decode(data)


@functools.lru_cache(maxsize=4)
def codec_for(model_id: bytes, threads: int = 1) -> Codec:
    """The codec of the installed package with this model id, for decoding (see `lazy`); kept for the next call.

    Raises:
        UnknownModelError: there is none.
    """
    packages = shipped()
    for name in Codec.available():  # the default one first, which most streams need
        if read_manifest(packages[name])["model_id"] == model_id.hex():
            return Codec.load(name, threads, lazy=True)
    raise UnknownModelError(
        f"the stream needs the model {model_id.hex()}, which is not installed: "
        "give the .epm that made it (-m FILE, or Codec.load)"
    )


def default_name() -> str | None:
    """The name of the package that `Codec.load()` takes, or None when no package is installed."""
    names = shipped()
    return next((name for name in ("photo", "conv3", *names) if name in names), None)


def _close(image: Image.Image | NDArray[np.uint8], consume: bool) -> None:
    if consume and isinstance(image, Image.Image):
        image.close()


def _find(name_or_path: str | os.PathLike[str] | None) -> Path:
    if name_or_path is None:
        name_or_path = default_name()
        if name_or_path is None:
            raise UnknownModelError("no codec package is installed: give the path of an .epm file")
    packages = shipped()
    if isinstance(name_or_path, str) and name_or_path in packages:
        return packages[name_or_path]
    path = Path(name_or_path)
    if not path.exists():
        installed = ", ".join(packages) or "none"
        raise UnknownModelError(f"{str(path)!r} is neither an installed package ({installed}) nor a file")
    return path
