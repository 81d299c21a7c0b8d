"""Codec packages (.epm) as contenders, by shipped name or by path."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

from edgepress import runtime
from edgepress.runtime.codec import Codec
from edgepress.runtime.coder import BACKEND
from edgepress.runtime.interpreter import choose_interpreter

from .contender import RGB
from .macs import macs_per_pixel


class EpmCodec:
    """An edgepress codec package on one thread, by the name of a shipped one or the path of an .epm file.

    Raises UnknownModelError or BadPackageError when there is no such package or it is damaged.
    """

    qualities: tuple[int, ...] = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)

    def __init__(self, name_or_path: str) -> None:
        self._codec = Codec.load(name_or_path)
        self.name: str = self._codec.package.name
        self.spec: str = name_or_path
        self.description = f"edgepress package {self.name} ({self._codec.package.model_id.hex()})"
        library, package = choose_interpreter(), self._codec.package
        digest = hashlib.sha256(package.encoder + package.decoder + package.tables.to_bytes()).hexdigest()
        # int8 networks differ by a step or so between interpreters and processors
        self.fingerprint = f"{digest} {library.name} {library.version} {platform.machine()} {runtime_hash()}"

    def __reduce__(self) -> tuple[type[EpmCodec], tuple[str]]:
        # Interpreters cannot travel to worker processes: load the package again there.
        return EpmCodec, (self.spec,)

    @property
    def path(self) -> Path:
        """The package's file."""
        return self._codec.package.path

    def encode(self, rgb: RGB, quality: int) -> bytes:
        return self._codec.encode(rgb, quality=quality)

    def decode(self, data: bytes) -> RGB:
        return self._codec.decode_array(data)

    def facts(self) -> dict[str, Any]:
        """What reports say of the package beside its figures: sizes in bytes, multiply-adds per image pixel."""
        package = self._codec.package
        encoder, decoder = macs_per_pixel(package.encoder), macs_per_pixel(package.decoder)
        return {
            "model_id": package.model_id.hex(),
            "model_bytes": package.path.stat().st_size,
            "package_bytes": package.path.stat().st_size,
            "encoder_bytes": len(package.encoder),
            "decoder_bytes": len(package.decoder),
            "macs_per_pixel": encoder + decoder,
            "encoder_macs_per_pixel": encoder,
            "decoder_macs_per_pixel": decoder,
            "entropy_coder": BACKEND,
        }


@functools.cache
def runtime_hash() -> str:
    """A hash of the runtime's own code, so that figures of another version are never taken for this one's."""
    folder = Path(runtime.__file__).parent
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.py"), *folder.glob("*.so")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
