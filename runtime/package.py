"""Codec packages (.epm): one zip file with the manifest, both networks and the entropy tables.

Nothing in a package is believed before it is checked: sizes, names, hashes and every value of the tables.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import archive
from .errors import BadPackageError
from .files import atomic_write, read_limited
from .manifest import FORMAT, MEMBERS, REFINED, dump_manifest, parse_manifest
from .tables import EntropyTables
from .tflitecheck import check_model

MAX_BYTES = 64 << 20  # of a package file, and of each member
MAX_MEMBERS = 64
_MANIFEST = "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same time for every member, so that equal contents give equal files


class Package:
    """A codec package that has passed all checks but whether its networks fit together (see `Codec`).

    Its encoder, unless asked for, has not. When several threads ask first at once, each reads it, and one result stays.

    Attributes:
        name: the package's name, e.g. "conv3".
        manifest: manifest.json, with provenance and measured figures.
        decoder: the TFLite flatbuffer of the network that makes pixels of latents.
        tables: the entropy tables, for `latent_channels` channels.
        stride: pixels per latent position, on both axes.
        tile: side in pixels of the only image that the networks take, a multiple of the stride; None: any size.
        smoothing: up to which size steps between blocks are smoothed, in 1/32 of a grey level for each unit of the latent
            step; 0: none is (see smoothing.py).
        zero_point: of the int8 latents.
        model_id: the 3 bytes by which an .epx file names the package that it needs.
        path: the file that the package was read from.

    Args:
        data: the content of an .epm file.
        path: for messages and for `path`.

    Raises:
        BadPackageError: damaged, inconsistent, oversized, or of a newer format.
    """

    def __init__(self, data: bytes, path: Path) -> None:
        self._data = data
        self._members = _directory(data)
        self.path = path
        self.manifest = manifest = _manifest(data, self._members)
        for name in MEMBERS:
            if name not in self._members:
                raise BadPackageError(f"the package has no {name}")
        self.decoder, entropy_bin = self._content("decoder.tflite"), self._content("entropy.bin")
        check_model(self.decoder, "decoder")
        self.name: str = manifest["name"]
        self.stride: int = manifest["stride"]
        self.tile: int | None = manifest.get("tile")
        self.latent_channels: int = manifest["latent_channels"]
        self.zero_point: int = manifest["zero_point"]
        self.smoothing: int = manifest.get("smoothing", 0)
        self.model_id = _model_id(entropy_bin, self.decoder, self.smoothing)
        if self.model_id.hex() != manifest["model_id"]:
            raise BadPackageError("the package is damaged: its model id does not match its contents")
        entropy = manifest["entropy"]
        self.tables = EntropyTables.from_bytes(
            entropy_bin,
            entropy["sets"],
            self.latent_channels,
            entropy["bank"],
            entropy["bank_values"],
            refined=manifest["format"] >= REFINED,
        )

    @functools.cached_property
    def encoder(self) -> bytes:
        """The TFLite flatbuffer of the network that makes latents of pixels; read and checked when it is first asked for.

        Raises:
            BadPackageError: it is damaged, or no network to trust.
        """
        with _named(self.path):
            encoder = self._content("encoder.tflite")
            check_model(encoder, "encoder")
            return encoder

    def _content(self, name: str) -> bytes:
        stated, content = self.manifest["members"][name], archive.content(self._data, self._members[name])
        if stated["bytes"] != len(content) or stated["sha256"] != hashlib.sha256(content).hexdigest():
            raise BadPackageError(f"the package is damaged: {name} does not match the manifest")
        return content


def read_package(path: str | os.PathLike[str], *, lazy: bool = False) -> Package:
    """Read and check a package.

    Args:
        path: the .epm file.
        lazy: leave the encoder until it is asked for; decoding does without, and starts the sooner.

    Raises:
        BadPackageError: damaged, inconsistent, oversized, or of a newer format.
        OSError: the file cannot be read.
    """
    with _named(path):
        package = Package(_read_file(path), Path(path))
    if not lazy:
        _ = package.encoder
    return package


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest alone, checked for itself; much cheaper than `read_package`, with the same errors."""
    with _named(path):
        data = _read_file(path)
        return _manifest(data, _directory(data))


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
    smoothing: int = 0,
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
        smoothing: 0..255, how large a step between blocks of stride x stride pixels may be for the decoder to smooth it, in
            1/32 of a grey level for each unit of the latent step; the stride must be a multiple of 16 then, without a tile.

    Raises:
        BadPackageError: arguments that `read_package` would not accept.
        OSError: the file cannot be written.
    """
    import io  # which, with zipfile, only those who make packages need
    import zipfile

    contents = dict(zip(MEMBERS, (encoder, decoder, tables.to_bytes()), strict=True))
    manifest = {
        "format": FORMAT,
        "name": name,
        "architecture": architecture,
        "description": description,
        "model_id": _model_id(contents["entropy.bin"], decoder, smoothing).hex(),
        "stride": stride,
        **({} if tile is None else {"tile": tile}),
        **({"smoothing": smoothing} if smoothing else {}),
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
    with zipfile.ZipFile(buffer, "w") as target:
        for member, content in {_MANIFEST: dump_manifest(manifest), **contents}.items():
            target.writestr(zipfile.ZipInfo(member, _EPOCH), content, zipfile.ZIP_DEFLATED, 9)
    package = Package(buffer.getvalue(), Path(path))
    _ = package.encoder  # which is checked here
    atomic_write(path, buffer.getvalue())
    return package


def shipped() -> dict[str, Path]:
    """Name -> path of the packages that come with edgepress."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "packages").glob("*.epm"))}


def _read_file(path: str | os.PathLike[str]) -> bytes:
    data = read_limited(path, MAX_BYTES)
    if data is None:
        raise BadPackageError(f"larger than {MAX_BYTES >> 20} MB, the limit for packages")
    return data


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Messages that say which file they are about."""
    try:
        yield
    except BadPackageError as error:
        raise BadPackageError(f"{path}: {error}") from None


def _directory(data: bytes) -> dict[str, archive.Member]:
    """The members by name; checked as a whole before any of them is read."""
    members = archive.directory(data, MAX_MEMBERS)
    for member in members:
        name = member.name
        known = name == _MANIFEST or name in MEMBERS or name.startswith("extra/")
        if not known or ".." in name.split("/") or "\\" in name:
            raise BadPackageError(f"the package has a member that does not belong there: {name!r}")
        if member.size > MAX_BYTES:
            raise BadPackageError(
                f"{name!r} has {member.size} bytes, more than the limit of {MAX_BYTES >> 20} MB"
            )
    found = {member.name: member for member in members}
    if len(found) != len(members):
        raise BadPackageError("the package has two members of one name")
    return found


def _manifest(data: bytes, members: dict[str, archive.Member]) -> dict[str, Any]:
    if _MANIFEST not in members:
        raise BadPackageError(f"the package has no {_MANIFEST}")
    return parse_manifest(archive.content(data, members[_MANIFEST]))


def _model_id(entropy: bytes, decoder: bytes, smoothing: int) -> bytes:
    """Of all that makes pixels of a stream."""
    settings = str(smoothing).encode() if smoothing else b""
    return hashlib.sha256(entropy + decoder + settings).digest()[:3]
