"""A float Keras autoencoder with the entropy coder of the package made from it, as a contender: what int8 costs.

Steps, tables, thinning and file format are the package's, and so is the grid of the latents; only the two networks run in
float32. The BD-rate of the package against this contender is therefore the price of its int8 networks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime import coder, stream
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.package import read_package
from edgepress.runtime.smoothing import limit_of, smooth

from .kerascodec import FloatNetworks, KerasCodec
from .measure import on_grid


class FloatPackageCodec:
    """The autoencoder of a .keras file between the quantizer and the coder of a package.

    Args:
        path: the .keras file, image values in [0, 1].
        text: `package=FILE.epm`, a package that `edgepress optimize` made from that file without pruning it.

    Raises ModuleNotFoundError when Keras or TensorFlow is not installed; EdgepressError for another `text` or a package
    that cannot be used, and with the first image for a model with other latents.
    """

    qualities: tuple[int, ...] = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)

    def __init__(self, path: str, text: str) -> None:
        key, _, package = text.partition("=")
        if key != "package" or not package:
            raise EdgepressError(f"{path}: the one parameter is package=FILE.epm, not {text!r}")
        plain = KerasCodec(path)
        self._path, self._text = path, text
        self._package = read_package(package)
        channels = self._package.latent_channels
        try:
            scale = self._package.manifest["provenance"]["latent"]["scale"]
            self._scale = np.broadcast_to(np.asarray(scale, np.float32), (channels,))
        except (KeyError, TypeError, ValueError):
            raise EdgepressError(
                f"{package}: it does not say the scales of its {channels} latent channels"
            ) from None
        self.name: str = f"{self._package.name}-float"
        self.spec: str = f"{path}:{text}"
        self.description = f"float networks of {plain.name} with the coder of {Path(package).name}"
        digest = hashlib.sha256(Path(package).read_bytes()).hexdigest()
        self.fingerprint = f"{plain.fingerprint} {digest}"
        self._networks: FloatNetworks | None = None

    def __reduce__(self) -> tuple[type[FloatPackageCodec], tuple[str, str]]:
        # Networks cannot travel to worker processes: load the file again there.
        return FloatPackageCodec, (self._path, self._text)

    def encode(self, rgb: NDArray[np.uint8], quality: int) -> bytes:
        package = self._package
        height, width = rgb.shape[:2]
        grid = on_grid(self._halves().encode(rgb), self._scale, package.zero_point)
        payload = coder.encode_latent(grid, package.zero_point, package.tables, quality)
        return stream.pack(stream.Header("RGB", package.model_id, quality, width, height), payload)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        package = self._package
        header, payload = stream.parse(data)
        shape = (package.latent_channels, *self._halves().positions(header.height, header.width))
        grid = coder.decode_latent(payload, shape, package.zero_point, package.tables, header.quality)
        latent = (grid.astype(np.float32) - package.zero_point) * self._scale
        pixels = np.ascontiguousarray(self._halves().decode(latent))
        limit = limit_of(package.tables, package.smoothing, header.quality)
        if limit:
            smooth(pixels, package.stride, limit)
        return pixels[: header.height, : header.width]

    def facts(self) -> dict[str, Any]:
        """What reports say of the model beside its figures: multiply-adds per image pixel."""
        return self._halves().facts()

    def _halves(self) -> FloatNetworks:
        if self._networks is None:
            networks = FloatNetworks(self._path)
            stride, channels = networks.stride, networks.channels
            if (stride, channels) != (self._package.stride, self._package.latent_channels):
                raise EdgepressError(
                    f"{self._path}: it has {channels} latent channels at 1/{stride}, the package "
                    f"{self._package.latent_channels} at 1/{self._package.stride}: it was made from another model"
                )
            self._networks = networks
        return self._networks
