"""What a package or an .epx file is, as plain data for `edgepress info` and `models`."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from . import stream
from .errors import CorruptStreamError, EdgepressError
from .package import read_manifest, read_package, shipped


def describe_file(path: Path) -> dict[str, Any]:
    """Everything about an .epm or .epx file that can be said without running a network; told apart by content.

    Raises:
        EdgepressError: neither of the two, or damaged.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(b"PK"):
        return {**describe_package(path), **_contents(path)}
    if start.startswith(stream.MAGIC):
        return describe_stream(path)
    raise EdgepressError(f"{path}: neither a codec package (.epm) nor a compressed image (.epx)")


def describe_input(file: IO[bytes]) -> dict[str, Any]:
    """As `describe_file`, of standard input.

    Raises:
        EdgepressError: neither a package nor an image, or damaged.
    """
    import tempfile  # nothing else here needs it, and it takes its time to import

    # Both kinds are described by their paths, and standard input can be read only once.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(file.read())
        try:
            return describe_file(path)
        except EdgepressError as error:
            raise type(error)(str(error).replace(str(path), "standard input")) from None


def describe_package(path: Path) -> dict[str, Any]:
    """A package's manifest, briefly: kind, file size, name, architecture, model id, stride, latent channels, and tile and
    smoothing where it has them."""
    manifest = read_manifest(path)
    keys = (
        "name",
        "description",
        "architecture",
        "model_id",
        "stride",
        "latent_channels",
        "tile",
        "smoothing",
    )
    return {
        "kind": "package",
        "bytes": path.stat().st_size,
        **{key: manifest[key] for key in keys if key in manifest},
    }


def describe_stream(path: Path) -> dict[str, Any]:
    """An .epx file's header, parts and rates; `package` is the installed package that decodes it, or None."""
    try:
        data = stream.read_stream(path)
        header, payload = stream.parse(data)
        metadata = stream.parse_metadata(data)
    except CorruptStreamError as error:
        raise CorruptStreamError(f"{path}: {error}") from None
    model_id = header.model_id.hex()
    package = next(
        (name for name, file in shipped().items() if read_manifest(file)["model_id"] == model_id), None
    )
    pixels = header.width * header.height
    channels = 3 if header.mode == "RGB" else 1
    return {
        "kind": "image",
        "bytes": len(data),
        "mode": header.mode,
        "width": header.width,
        "height": header.height,
        "quality": header.quality,
        "model_id": model_id,
        "package": package,
        "payload_bytes": len(payload),
        "exif_bytes": len(metadata.exif),
        "icc_profile_bytes": len(metadata.icc_profile),
        "bits_per_pixel": round(len(data) * 8 / pixels, 4),
        "ratio": round(pixels * channels / len(data), 2),
    }


def as_text(description: dict[str, Any], indent: str = "") -> str:
    """The description in lines, nested objects indented."""
    lines = []
    for key, value in description.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            lines.append(f"{indent}{name}:")
            lines.append(as_text(value, indent + "  "))
        else:
            # Files come from anywhere: no control characters to the terminal.
            shown = "".join(c if c.isprintable() else " " for c in str(value))
            lines.append(f"{indent}{name}: {shown}")
    return "\n".join(lines)


def _contents(path: Path) -> dict[str, Any]:
    manifest = read_package(path).manifest
    return {
        "zero_point": manifest["zero_point"],
        "entropy": manifest["entropy"],
        "members": {name: manifest["members"][name]["bytes"] for name in manifest["members"]},
        "provenance": manifest["provenance"],
        "figures": manifest["figures"],
    }
