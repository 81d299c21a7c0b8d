"""The manifest of a codec package: what it must say, checked before anything else of the package is believed."""

from __future__ import annotations

import json
import re
from typing import Any

from .errors import BadPackageError

# 4 has no refinement, 3 no smoothing either; 1 and 2, of development versions, had one latent step for all channels, and planes
# coded row by row.
FORMAT, OLDEST = 5, 3
REFINED = 5  # from this format on tables say how values are refined
MEMBERS = ("encoder.tflite", "decoder.tflite", "entropy.bin")
MAX_STRIDE = 256
MAX_TILE = 4096
MAX_SMOOTHING = 255
REACH = 8  # pixels on either side of a block's border that smoothing changes, see smoothing.py
# Latent values per pixel: keeps what a stream can make the decoder allocate in proportion to its pixels.
MAX_LATENT_DENSITY = 4


def parse_manifest(data: bytes) -> dict[str, Any]:
    """The manifest in manifest.json's bytes, with every field that the runtime relies on checked.

    Raises:
        BadPackageError: not JSON, a newer format, or a field that is missing or out of range.
    """
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        raise BadPackageError("the package's manifest.json is not JSON") from None
    if not isinstance(manifest, dict):
        raise BadPackageError("the package's manifest.json is not a JSON object")
    version = _integer(manifest, "format", 1, 1 << 31)
    if version > FORMAT:
        raise BadPackageError(
            f"the package has format {version}, and this edgepress reads up to {FORMAT}: upgrade edgepress"
        )
    if version < OLDEST:
        raise BadPackageError(
            f"the package has the old format {version}: make it anew from its model with `edgepress optimize`"
        )
    _text(manifest, "name", r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
    _text(manifest, "architecture")
    _text(manifest, "description")
    _text(manifest, "model_id", "[0-9a-f]{6}")
    stride = _integer(manifest, "stride", 1, MAX_STRIDE)
    if "tile" in manifest and _integer(manifest, "tile", stride, MAX_TILE) % stride:
        raise BadPackageError("the manifest's tile must be a multiple of its stride")
    smoothing = _integer(manifest, "smoothing", 0, MAX_SMOOTHING) if "smoothing" in manifest else 0
    if smoothing and not smoothable(stride, manifest.get("tile")):
        raise BadPackageError(
            f"the manifest's smoothing needs a stride that is a multiple of {2 * REACH}, and no tile"
        )
    _integer(manifest, "latent_channels", 1, min(4096, MAX_LATENT_DENSITY * stride * stride))
    _integer(manifest, "zero_point", -128, 127)
    _object(manifest, "provenance")
    _object(manifest, "figures")
    entropy = _object(manifest, "entropy")
    for key in ("sets", "bank", "bank_values"):
        _integer(entropy, key, 1, 1 << 31, "entropy.")  # the tables have limits of their own
    members = _object(manifest, "members")
    for name in MEMBERS:
        member = _object(members, name, "members.")
        _integer(member, "bytes", 0, 1 << 31, f"members.{name}.")
        _text(member, "sha256", "[0-9a-f]{64}", f"members.{name}.")
    return manifest


def smoothable(stride: int, tile: int | None) -> bool:
    """Whether there can be smoothing: of blocks that have two halves, in images with nothing but blocks to cut them."""
    return stride % (2 * REACH) == 0 and not tile


def dump_manifest(manifest: dict[str, Any]) -> bytes:
    """The bytes of manifest.json.

    Raises:
        BadPackageError: the provenance or the figures hold something that JSON cannot.
    """
    try:
        return json.dumps(manifest, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadPackageError(f"the manifest cannot be written as JSON: {error}") from None


def _integer(parent: dict[str, Any], key: str, low: int, high: int, path: str = "") -> int:
    value = parent.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadPackageError(f"the manifest's {path}{key} must be an integer from {low} to {high}")
    return value


def _text(parent: dict[str, Any], key: str, pattern: str = r"(?s).*", path: str = "") -> str:
    value = parent.get(key)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise BadPackageError(f"the manifest's {path}{key} is missing or not as it should be")
    return value


def _object(parent: dict[str, Any], key: str, path: str = "") -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise BadPackageError(f"the manifest's {path}{key} must be an object")
    return value
