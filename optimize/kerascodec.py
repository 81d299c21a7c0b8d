"""A float Keras autoencoder as a contender of the benchmark: what optimization starts from.

It is stored in the simplest way there is, that of the study of 2024: the latent of an image is scaled to 8 bits between
its smallest and largest value, and deflated. There is no quality to set. Keras is loaded when the first image
comes, and kept to one thread like every contender.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import struct
import zlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.train.quiet import import_tensorflow_quietly

_HEADER = struct.Struct("<IIff")  # width, height, smallest and largest value of the latent
_NEEDED = ("keras", "tensorflow")


class KerasCodec:
    """An autoencoder in a .keras file, image values in [0, 1].

    Raises ModuleNotFoundError when Keras or TensorFlow is not installed, and, with the first image, UnsupportedModelError
    for a file that is no autoencoder.
    """

    qualities: tuple[int, ...] = (100,)

    def __init__(self, path: str) -> None:
        for module in _NEEDED:
            if find_spec(module) is None:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        self.name: str = Path(path).stem + ".keras"
        self.spec: str = path
        libraries = f"Keras {version('keras')}, TensorFlow {version('tensorflow')}"
        self.description = f"float Keras model {self.name} ({libraries}; 8-bit latents, deflated)"
        self.fingerprint = f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()} {libraries}"
        self._halves: FloatNetworks | None = None

    def __reduce__(self) -> tuple[type[KerasCodec], tuple[str]]:
        # Networks cannot travel to worker processes: load the file again there.
        return KerasCodec, (self.spec,)

    def encode(self, rgb: NDArray[np.uint8], quality: int) -> bytes:
        height, width = rgb.shape[:2]
        latent = self._networks.encode(rgb)
        low, high = float(latent.min()), float(latent.max())
        levels = np.rint((latent - low) * (255 / (high - low) if high > low else 0.0)).astype(np.uint8)
        return _HEADER.pack(width, height, low, high) + zlib.compress(levels.tobytes())

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        width, height, low, high = _HEADER.unpack_from(data)
        networks = self._networks
        rows, columns = networks.positions(height, width)
        levels = np.frombuffer(zlib.decompress(data[_HEADER.size :]), np.uint8)
        latent = low + levels.reshape(rows, columns, -1).astype(np.float32) * np.float32((high - low) / 255)
        return networks.decode(latent)[:height, :width]

    def facts(self) -> dict[str, Any]:
        """What reports say of the model beside its figures: bytes of the file, multiply-adds per image pixel."""
        return {"model_bytes": Path(self.spec).stat().st_size, **self._networks.facts()}

    @property
    def _networks(self) -> FloatNetworks:
        if self._halves is None:
            self._halves = FloatNetworks(self.spec)
        return self._halves


class FloatNetworks:
    """Encoder and decoder as TensorFlow functions, compiled anew for every image size that comes."""

    def __init__(self, path: str) -> None:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
        import_tensorflow_quietly()
        tf = importlib.import_module("tensorflow")
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            pass  # TensorFlow works already in this process, with the threads it has; timing has a process of its own
        from .graph import fixed_side, in_tiles
        from .load import load_model
        from .split import split

        halves = split(load_model(path))
        self._in_tiles = in_tiles
        self._sides = [fixed_side(half) for half in (halves.encoder, halves.decoder)]
        self.stride, self.unit = halves.latent.stride, halves.latent.unit
        self.channels = halves.latent.channels
        self._models = (halves.encoder, halves.decoder)
        self._encode, self._decode = (
            tf.function(lambda batch, model=model: model(batch, training=False)) for model in self._models
        )

    def encode(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The latent (*positions, C) of an image, whose last row and column are repeated up to whole positions."""
        padding = (*((0, -side % self.unit) for side in rgb.shape[:2]), (0, 0))
        image = np.pad(rgb, padding, mode="edge")[None].astype(np.float32) / 255
        return self._in_tiles(lambda part: self._encode(part).numpy(), image, self._sides[0])[0]

    def decode(self, latent: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The image of a latent."""
        pixels = self._in_tiles(lambda part: self._decode(part).numpy(), latent[None], self._sides[1])[0]
        return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """How many latent positions an image has, down and across: whole strides, or whole images of the model's own side."""
        rows, columns = (-(-side // self.unit) * (self.unit // self.stride) for side in (height, width))
        return rows, columns

    def facts(self) -> dict[str, float]:
        """What reports say of the networks: multiply-adds per image pixel, of convolutions and matrix products."""
        encoder, decoder = self._macs_per_pixel()
        return {
            "macs_per_pixel": encoder + decoder,
            "encoder_macs_per_pixel": encoder,
            "decoder_macs_per_pixel": decoder,
        }

    def _macs_per_pixel(self) -> list[float]:
        from .graph import trace
        from .layer_macs import layer_macs

        def total(model: Any, shape: tuple[int, int, int]) -> float:
            return sum(map(layer_macs, trace(model, shape))) / side**2

        positions = self._sides[1] or 16
        side = positions * self.stride
        encoder, decoder = self._models
        latent = (positions, positions, decoder.inputs[0].shape[-1])
        return [total(encoder, (side, side, 3)), total(decoder, latent)]
