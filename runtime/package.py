"""Codec packages (.epm): one zip file with the manifest, both networks and the entropy tables.

Nothing in a package is believed before it is checked: sizes, names, hashes and every value of the tables.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BadPackageError
from .files import atomic_write, read_limited
from .manifest import FORMAT, MEMBERS, dump_manifest, parse_manifest
from .tables import EntropyTables
from .tflitecheck import check_model

MAX_BYTES = 64 << 20  # of a package file, and of each member
MAX_MEMBERS = 64
_MANIFEST = "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same time for every member, so that equal contents give equal files


@dataclass(frozen=True)
class Package:
    """A codec package that has passed all checks but whether its networks fit together (see `Codec`).

    Attributes:
        name: the package's name, e.g. "conv3".
        manifest: manifest.json, with provenance and measured figures.
        encoder, decoder: the TFLite flatbuffers.
        tables: the entropy tables, for `latent_channels` channels.
        stride: pixels per latent position, on both axes.
        tile: side in pixels of the only image that the networks take, a multiple of the stride; None: any size.
        zero_point: of the int8 latents.
        model_id: the 3 bytes by which an .epx file names the package that it needs.
        path: the file that the package was read from.
    """

    name: str
    manifest: dict[str, Any]
    encoder: bytes
    decoder: bytes
    tables: EntropyTables
    stride: int
    latent_channels: int
    zero_point: int
    model_id: bytes
    path: Path
    tile: int | None = None


def read_package(path: str | os.PathLike[str]) -> Package:
    """Read and check a package.

    Raises:
        BadPackageError: damaged, inconsistent, oversized, or of a newer format.
        OSError: the file cannot be read.
    """
    try:
        return _parse(_read_file(path), Path(path))
    except BadPackageError as error:
        raise BadPackageError(f"{path}: {error}") from None


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest alone, checked for itself; much cheaper than `read_package`, with the same errors."""
    try:
        return _manifest(_members(_read_file(path), {_MANIFEST}))
    except BadPackageError as error:
        raise BadPackageError(f"{path}: {error}") from None


def write_package(
    path: str | os.PathLike[str],
    *,
    name: str,
    architecture: str,
    stride: int,
    zero_point: int,
    encoder: bytes,
    decoder: bytes,
    tables: EntropyTables,
    provenance: dict[str, Any],
    figures: dict[str, Any],
    description: str,
    tile: int | None = None,
) -> Package:
    """Write a package, atomically, and return it as `read_package` would; equal arguments give equal bytes.

    Args:
        path: the .epm file to write.
        name: letters, digits, '.', '_' and '-', at most 64.
        architecture: what the networks are, for people.
        stride: pixels per latent position (1..256), on both axes.
        zero_point: of the int8 latents (-128..127), the same in the encoder's output and the decoder's input.
        encoder, decoder: TFLite flatbuffers (see `Codec` for what their tensors must be).
        tables: the entropy tables, which also say how many latent channels there are.
        provenance, figures: anything that JSON can hold, for people and reports.
        description: one line for lists.
        tile: side in pixels of the only image that the networks take (a multiple of the stride, at most 4096), when they
            are of fixed size; images are then coded in tiles of it.

    Raises:
        BadPackageError: arguments that `read_package` would not accept.
        OSError: the file cannot be written.
    """
    contents = dict(zip(MEMBERS, (encoder, decoder, tables.to_bytes()), strict=True))
    manifest = {
        "format": FORMAT,
        "name": name,
        "architecture": architecture,
        "description": description,
        "model_id": _model_id(contents).hex(),
        "stride": stride,
        **({} if tile is None else {"tile": tile}),
        "latent_channels": tables.channels,
        "zero_point": zero_point,
        "entropy": {"sets": tables.sets, "bank": tables.bank, "bank_values": int(tables.bank_freq.size)},
        "members": {
            member: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for member, content in contents.items()
        },
        "provenance": provenance,
        "figures": figures,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in {_MANIFEST: dump_manifest(manifest), **contents}.items():
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), content, zipfile.ZIP_DEFLATED, 9)
    data = buffer.getvalue()
    package = _parse(data, Path(path))
    atomic_write(path, data)
    return package


def shipped() -> dict[str, Path]:
    """Name -> path of the packages that come with edgepress."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "packages").glob("*.epm"))}


def _read_file(path: str | os.PathLike[str]) -> bytes:
    data = read_limited(path, MAX_BYTES)
    if data is None:
        raise BadPackageError(f"larger than {MAX_BYTES >> 20} MB, the limit for packages")
    return data


def _parse(data: bytes, path: Path) -> Package:
    contents = _members(data, {_MANIFEST, *MEMBERS})
    manifest = _manifest(contents)
    for name in MEMBERS:
        if name not in contents:
            raise BadPackageError(f"the package has no {name}")
        stated, content = manifest["members"][name], contents[name]
        if stated["bytes"] != len(content) or stated["sha256"] != hashlib.sha256(content).hexdigest():
            raise BadPackageError(f"the package is damaged: {name} does not match the manifest")
    check_model(contents["encoder.tflite"], "encoder")
    check_model(contents["decoder.tflite"], "decoder")
    model_id = _model_id(contents)
    if model_id.hex() != manifest["model_id"]:
        raise BadPackageError("the package is damaged: its model id does not match its contents")
    entropy, channels = manifest["entropy"], manifest["latent_channels"]
    return Package(
        name=manifest["name"],
        manifest=manifest,
        encoder=contents["encoder.tflite"],
        decoder=contents["decoder.tflite"],
        tables=EntropyTables.from_bytes(
            contents["entropy.bin"], entropy["sets"], channels, entropy["bank"], entropy["bank_values"]
        ),
        stride=manifest["stride"],
        latent_channels=channels,
        zero_point=manifest["zero_point"],
        model_id=model_id,
        path=path,
        tile=manifest.get("tile"),
    )


def _manifest(contents: dict[str, bytes]) -> dict[str, Any]:
    if _MANIFEST not in contents:
        raise BadPackageError(f"the package has no {_MANIFEST}")
    return parse_manifest(contents[_MANIFEST])


def _members(data: bytes, wanted: set[str]) -> dict[str, bytes]:
    """The wanted members that are there; the directory is checked as a whole before any of them is read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_directory(entries)
            return {entry.filename: archive.read(entry) for entry in entries if entry.filename in wanted}
    except BadPackageError:
        raise
    # zipfile raises all of these on damaged files; a declared size is never exceeded when reading.
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise BadPackageError(f"not a codec package, or a damaged one ({error})") from None


def _check_directory(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_MEMBERS:
        raise BadPackageError(f"the package has {len(entries)} members, and {MAX_MEMBERS} is the limit")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise BadPackageError("the package has two members of one name")
    for entry in entries:
        name = entry.filename
        known = name == _MANIFEST or name in MEMBERS or name.startswith("extra/")
        if not known or ".." in name.split("/") or "\\" in name:
            raise BadPackageError(f"the package has a member that does not belong there: {name!r}")
        if entry.file_size > MAX_BYTES:
            raise BadPackageError(
                f"{name} has {entry.file_size} bytes, more than the limit of {MAX_BYTES >> 20} MB"
            )
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadPackageError(f"{name} is compressed by a method other than deflate")


def _model_id(contents: dict[str, bytes]) -> bytes:
    return hashlib.sha256(contents["entropy.bin"] + contents["decoder.tflite"]).digest()[:3]
