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
from .errors import BadPackageError, UnknownModelError
from .images import check_size, pad, to_gray, to_pixels
from .interpreter import Network, Tensor
from .package import Package, read_manifest, read_package, shipped
from .parallel import ordered_map
from .tables import check_quality
from .tensors import pixel_reader, pixel_writer

MAX_PIXELS = 1 << 26


class Codec:
    """Encodes and decodes images with one package. Thread-safe; calls in different threads run side by side.

    The encoder network takes (1,H,W,3) pixels (uint8, int8 or float32; real value p/255) and gives int8 latents
    (1,H/stride,W/stride,C); the decoder network takes those and gives (1,H,W,3) pixels.

    Args:
        package: from `read_package` (or use `Codec.load`).
        threads: threads for each run of a network.
        max_pixels: the largest image (height * width) that is encoded or decoded.

    Raises:
        BadPackageError: the interpreter refuses a network, or its tensors do not fit the manifest.
    """

    def __init__(self, package: Package, threads: int = 1, max_pixels: int = MAX_PIXELS) -> None:
        self.package = package
        self.max_pixels = max_pixels
        self._encoder = Network(package.encoder, threads, "encoder")
        self._decoder = Network(package.decoder, threads, "decoder")
        _check_channels(self._encoder.input, 3, "encoder's input")
        _check_latent(self._encoder.output, package, "encoder's output")
        _check_latent(self._decoder.input, package, "decoder's input")
        _check_channels(self._decoder.output, 3, "decoder's output")
        # One latent step must mean the same to both networks; 1% allows for rounding in converters.
        made, taken = self._encoder.output.scale, self._decoder.input.scale
        if not abs(made - taken) <= 0.01 * made:
            raise BadPackageError(f"the encoder's latent scale {made:g} is not the decoder's, {taken:g}")
        self._write_pixels = pixel_writer(self._encoder.input, "encoder's input")
        self._read_pixels = pixel_reader(self._decoder.output, "decoder's output")

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] | None = None,
        threads: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> Codec:
        """The codec of an installed package (see `available`), of an .epm file, or (None) of the default package.

        Raises:
            UnknownModelError: there is no such package or file.
            BadPackageError: the package cannot be used.
        """
        return cls(read_package(_find(name_or_path)), threads, max_pixels)

    @staticmethod
    def available() -> list[str]:
        """The names of the installed packages, the default one first."""
        names = list(shipped())
        default = default_name()
        return sorted(names, key=lambda name: (name != default, name))

    def encode(self, image: Image.Image | NDArray[np.uint8], quality: int = 75) -> bytes:
        """Compress an image to the bytes of an .epx file.

        Args:
            image: a PIL.Image (RGB, L, or what becomes one of them without loss), or a uint8 array HxWx3 or HxW.
            quality: 1 (smallest) to 100 (best).

        Raises:
            UnsupportedImageError: the image has a mode, shape, dtype or size that cannot be encoded.
            EdgepressError: the quality is not an integer from 1 to 100.
        """
        quality = check_quality(quality)
        pixels = to_pixels(image, self.max_pixels)
        package = self.package
        symbols = coder.quantize(self._latent(pixels), package.zero_point, package.tables, quality)
        payload = coder.encode_symbols(symbols, package.tables, quality)
        mode = "RGB" if pixels.ndim == 3 else "L"
        height, width = pixels.shape[:2]
        return stream.pack(stream.Header(mode, package.model_id, quality, width, height), payload)

    def decode(self, data: bytes) -> Image.Image:
        """The image in an .epx file, of the size and mode (RGB or L) that was encoded.

        Raises:
            CorruptStreamError: not an .epx stream, or a damaged one.
            UnknownModelError: it was made with another package.
            UnsupportedImageError: it has more than `max_pixels` pixels.
        """
        return Image.fromarray(self.decode_array(data))

    def decode_array(self, data: bytes) -> NDArray[np.uint8]:
        """As `decode`, but the pixels as an array: uint8 HxWx3, or HxW for a gray image."""
        header, symbols = self._symbols(data)
        package = self.package
        latent = coder.dequantize(symbols, package.zero_point, package.tables, header.quality)
        rgb = self._read_pixels(self._decoded(latent)[: header.height, : header.width])
        return rgb if header.mode == "RGB" else to_gray(rgb)

    def symbols(self, data: bytes) -> NDArray[np.int16]:
        """The symbols int16[C,H/stride,W/stride] in an .epx file: the same on every machine. Raises as `decode`."""
        return self._symbols(data)[1]

    def latent(self, image: Image.Image | NDArray[np.uint8]) -> NDArray[np.int8]:
        """The encoder network's output int8[H',W',C] for an image, H' and W' being its sides / stride, rounded up.

        Raises:
            UnsupportedImageError: as for `encode`.
        """
        return self._latent(to_pixels(image, self.max_pixels))

    def reconstruct(self, latent: NDArray[np.int8]) -> NDArray[np.uint8]:
        """The decoder network's pixels uint8[H'*stride,W'*stride,3] for a latent int8[H',W',C]."""
        return self._read_pixels(self._decoded(latent))

    def encode_many(
        self, images: Iterable[Image.Image | NDArray[np.uint8]], quality: int = 75, workers: int | None = None
    ) -> Iterator[bytes]:
        """`encode` for every image, in order, by `workers` threads (None: one per core); see `ordered_map`."""
        return ordered_map(functools.partial(self.encode, quality=quality), images, workers)

    def decode_many(self, streams: Iterable[bytes], workers: int | None = None) -> Iterator[Image.Image]:
        """`decode` for every stream, in order, by `workers` threads (None: one per core); see `ordered_map`."""
        return ordered_map(self.decode, streams, workers)

    def _latent(self, pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
        stride = self.package.stride
        batch = pad(pixels, stride)
        _, height, width, _ = batch.shape
        latent = self._encoder.run(self._write_pixels(batch))
        expected = (1, height // stride, width // stride, self.package.latent_channels)
        _check_output(latent, expected, "encoder")
        return latent[0]

    def _symbols(self, data: bytes) -> tuple[stream.Header, NDArray[np.int16]]:
        header, payload = stream.parse(data)
        package = self.package
        if header.model_id != package.model_id:
            raise UnknownModelError(
                f"the stream needs the model {header.model_id.hex()}, and {package.name} is {package.model_id.hex()}"
            )
        check_size(header.width, header.height, self.max_pixels)
        rows, columns = -(-header.height // package.stride), -(-header.width // package.stride)
        shape = (package.latent_channels, rows, columns)
        return header, coder.decode_symbols(payload, shape, package.tables, header.quality)

    def _decoded(self, latent: NDArray[np.int8]) -> np.ndarray:
        """The decoder's output [H,W,3], in its own dtype."""
        rows, columns, _ = latent.shape
        stride = self.package.stride
        output = self._decoder.run(latent[np.newaxis])
        _check_output(output, (1, rows * stride, columns * stride, 3), "decoder")
        return output[0]


def decode(data: bytes) -> Image.Image:
    """The image in an .epx file that was made with any of the installed packages.

    Raises:
        CorruptStreamError: not an .epx stream, or a damaged one.
        UnknownModelError: no installed package has the stream's model id.
    """
    return codec_for(stream.parse_header(data).model_id).decode(data)


@functools.lru_cache(maxsize=4)
def codec_for(model_id: bytes, threads: int = 1) -> Codec:
    """The codec of the installed package with this model id; kept for the next call.

    Raises:
        UnknownModelError: there is none.
    """
    for path in shipped().values():
        if read_manifest(path)["model_id"] == model_id.hex():
            return Codec.load(path, threads)
    raise UnknownModelError(
        f"the stream needs the model {model_id.hex()}, which is not installed: "
        "give the .epm that made it (-m FILE, or Codec.load)"
    )


def default_name() -> str | None:
    """The name of the package that `Codec.load()` takes, or None when no package is installed."""
    names = shipped()
    return next((name for name in ("photo", "conv3", *names) if name in names), None)


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


def _check_channels(tensor: Tensor, channels: int, label: str) -> None:
    if tensor.shape[0] not in (1, -1) or tensor.shape[3] != channels:
        raise BadPackageError(f"the {label} must be of shape (1, H, W, {channels}), not {tensor.shape}")


def _check_latent(tensor: Tensor, package: Package, label: str) -> None:
    _check_channels(tensor, package.latent_channels, label)
    if tensor.dtype != np.int8 or not tensor.scale > 0:
        raise BadPackageError(f"the {label} must be quantized int8, not {tensor.dtype}")
    if tensor.zero_point != package.zero_point:
        raise BadPackageError(
            f"the {label} has zero point {tensor.zero_point}, the manifest {package.zero_point}"
        )


def _check_output(output: np.ndarray, expected: tuple[int, ...], label: str) -> None:
    if output.shape != expected:
        raise BadPackageError(f"the {label} gave an output of shape {output.shape} instead of {expected}")
