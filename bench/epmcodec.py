"""Codec packages (.epm) as contenders, by shipped name or by path."""

from __future__ import annotations

from typing import Any

from edgepress.runtime.codec import Codec

from .contender import RGB


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

    def __reduce__(self) -> tuple[type[EpmCodec], tuple[str]]:
        # Interpreters cannot travel to worker processes: load the package again there.
        return EpmCodec, (self.spec,)

    def encode(self, rgb: RGB, quality: int) -> bytes:
        return self._codec.encode(rgb, quality=quality)

    def decode(self, data: bytes) -> RGB:
        return self._codec.decode_array(data)

    def facts(self) -> dict[str, Any]:
        """What reports say of the package beside its figures; sizes in bytes."""
        package = self._codec.package
        return {
            "model_id": package.model_id.hex(),
            "package_bytes": package.path.stat().st_size if package.path else None,
            "encoder_bytes": len(package.encoder),
            "decoder_bytes": len(package.decoder),
        }
