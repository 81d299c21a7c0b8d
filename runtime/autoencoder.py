"""The two networks of a package at work on whole images of any size: pixels to latents and latents to pixels."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .errors import BadPackageError
from .images import to_gray
from .interpreter import Network, Result, Tensor
from .package import Package
from .parts import Source, bands
from .smoothing import smooth
from .tensors import Move, pixel_reader, pixel_writer
from .tiles import Piece, Tile, pieces

# Larger images go through the networks in tiles, with the same result: memory stays bounded, as activations take 16 to 35 bytes
# for each pixel, and those of a tile have more of the processor's caches to themselves.
TILE_PIXELS = 1 << 20

Write = Callable[[Tile, NDArray[np.int8]], None]  # writes what a tile covers of a latent, int8[h,w,C]


class Autoencoder:
    """The encoder and decoder networks of a package. Thread-safe, as `Network` is.

    Args:
        package: from `read_package`.
        threads: threads for each run of a network.
        lazy: make and check the encoder when it is first used.

    Raises:
        BadPackageError: the interpreter refuses a network, or its tensors do not fit the manifest.
    """

    def __init__(self, package: Package, threads: int, lazy: bool = False) -> None:
        self._package = package
        self._threads = threads
        self._halos: dict[str, int | None] = {}
        self._decoder = Network(package.decoder, threads, "decoder")
        _check_latent(self._decoder.input, package, "decoder's input")
        _check_channels(self._decoder.output, 3, "decoder's output")
        if package.tile:
            _check_side(self._decoder.input, package.tile // package.stride, "decoder's input")
        self._read_pixels = pixel_reader(self._decoder.output, "decoder's output")
        if not lazy:
            _ = self._write_pixels

    @functools.cached_property
    def _encoder(self) -> Network:
        package = self._package
        encoder = Network(package.encoder, self._threads, "encoder")
        _check_channels(encoder.input, 3, "encoder's input")
        _check_latent(encoder.output, package, "encoder's output")
        if package.tile:
            _check_side(encoder.input, package.tile, "encoder's input")
        # One latent step must mean the same to both networks; 1% allows for rounding in converters.
        made, taken = encoder.output.scale, self._decoder.input.scale
        if not abs(made - taken) <= 0.01 * made:
            raise BadPackageError(f"the encoder's latent scale {made:g} is not the decoder's, {taken:g}")
        return encoder

    @functools.cached_property
    def _write_pixels(self) -> Move:
        return pixel_writer(self._encoder.input, "encoder's input")

    def latent(self, pixels: Source) -> NDArray[np.int8]:
        """The encoder's output int8[H',W',C] for an image uint8 HxWx3 or HxW."""
        package = self._package
        rows, columns = positions(pixels.shape, package)
        latent = np.empty((rows, columns, package.latent_channels), np.int8)
        for piece in self.encoder_pieces(rows, columns):

            def keep(made: NDArray[np.int8], tile: Tile = piece.tile) -> None:
                latent[tile.kept] = made[tile.inner]

            self.analyse(pixels, piece, keep)
        return latent

    def encoder_pieces(self, rows: int, columns: int) -> tuple[Piece, ...]:
        """The tiles in which an image of so many latent positions is encoded."""
        return self._pieces(rows, columns, "encoder")

    def analyse(self, pixels: Source, piece: Piece, use: Callable[[NDArray[np.int8]], Result]) -> Result:
        """What `use` makes of the encoder's output for a tile, int8[h,w,C]: the interpreter's array, which it must not keep."""
        package = self._package
        tile, there = piece

        def fill(stored: np.ndarray) -> None:
            canvas = stored[0]
            for top, band in bands(pixels, there.rows.covered, there.columns.covered):
                height, width = top + band.shape[0], band.shape[1]
                self._write_pixels(
                    band if band.ndim == 3 else band[..., np.newaxis], canvas[top:height, :width]
                )
            # Sides become multiples of the stride, or of the tile, by repeating the last row and column.
            if width < canvas.shape[1]:
                canvas[:height, width:] = canvas[:height, width - 1 : width]
            if height < canvas.shape[0]:
                canvas[height:] = canvas[height - 1]

        def read(stored: np.ndarray) -> Result:
            _check_output(stored, (1, *tile.size, package.latent_channels), "encoder")
            return use(stored[0])

        return self._encoder.run((1, *there.size, 3), fill, read)

    def _pieces(self, rows: int, columns: int, label: str) -> tuple[Piece, ...]:
        """The tiles of an image of rows x columns latent positions."""
        package = self._package
        limit = TILE_PIXELS // package.stride**2
        halo = None if package.tile or rows * columns <= limit else self._halo(label)
        if halo is not None and label == "decoder" and package.smoothing:
            # Smoothing looks half a block beyond a border, at what has to be as it would be in one piece.
            halo += 1
        return pieces(rows, columns, halo, limit, package.stride, package.tile)

    def _halo(self, label: str) -> int | None:
        from .reach import halo  # which small images do without

        if label not in self._halos:
            package = self._package
            model = package.encoder if label == "encoder" else package.decoder
            self._halos[label] = halo(model, package.stride, label)
        return self._halos[label]

    def pixels(
        self, write: Write, tiles: tuple[Piece, ...], image: NDArray[np.uint8], limit: int = 0
    ) -> NDArray[np.uint8]:
        """Decode tiles into `image` (uint8 HxWx3 or HxW), which need not have all of the last rows and columns, and return it.

        write: writes the latent of a tile.
        tiles: from `decoder_pieces`.
        limit: see `synthesise`.
        """
        for piece in tiles:

            def keep(pixels: NDArray[np.uint8], part: NDArray[np.uint8] = image[piece.there.kept]) -> None:
                height, width = part.shape[:2]
                seen = pixels[:height, :width]
                part[...] = seen if part.ndim == 3 else to_gray(seen)

            self.synthesise(write, piece, keep, limit)
        return image

    def decoder_pieces(self, rows: int, columns: int) -> tuple[Piece, ...]:
        """The tiles in which an image of so many latent positions is decoded."""
        return self._pieces(rows, columns, "decoder")

    def synthesise(
        self, write: Write, piece: Piece, use: Callable[[NDArray[np.uint8]], Result], limit: int = 0
    ) -> Result:
        """What `use` makes of the pixels uint8 [h,w,3] of what is kept of a tile: often the interpreter's array, which it may
        change, but must not keep.

        limit: of steps between blocks that are smoothed, see `smoothing.limit_of`; 0: none is.
        """
        tile, there = piece

        def fill(stored: np.ndarray) -> None:
            write(tile, stored[0])

        def read(stored: np.ndarray) -> Result:
            _check_output(stored, (1, *there.size, 3), "decoder")
            pixels = self._pixels(stored[0])
            if limit:
                smooth(pixels, self._package.stride, limit)
            return use(pixels[there.inner])

        return self._decoder.run((1, *tile.size, self._package.latent_channels), fill, read)

    def _pixels(self, stored: np.ndarray) -> NDArray[np.uint8]:
        """A decoder's output as pixels. Bytes become pixels where they are."""
        pixels = stored.view(np.uint8) if stored.itemsize == 1 else np.empty(stored.shape, np.uint8)
        self._read_pixels(stored, pixels)
        return pixels


def writer(latent: NDArray[np.int8]) -> Write:
    """What writes the tiles of a latent int8[H',W',C]."""

    def write(tile: Tile, stored: NDArray[np.int8]) -> None:
        stored[...] = latent[tile.rows.covered, tile.columns.covered]

    return write


def positions(size: tuple[int, ...], package: Package) -> tuple[int, int]:
    """How many latent positions an image of `size` (height, width, ...) has, down and across."""
    unit = package.tile or package.stride
    each = unit // package.stride
    return -(-size[0] // unit) * each, -(-size[1] // unit) * each


def _check_channels(tensor: Tensor, channels: int, label: str) -> None:
    if tensor.shape[0] not in (1, -1) or tensor.shape[3] != channels:
        raise BadPackageError(f"the {label} must be of shape (1, H, W, {channels}), not {tensor.shape}")


def _check_side(tensor: Tensor, side: int, label: str) -> None:
    if tensor.shape[1:3] != (side, side):
        raise BadPackageError(
            f"the {label} must be {side}x{side} for the manifest's tile, not {tensor.shape}"
        )


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
