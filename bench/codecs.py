"""From a spec `name[:param=value,...]` to a contender, and the help text of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from edgepress.runtime.codec import Codec, default_name
from edgepress.runtime.errors import EdgepressError

from .contender import MissingCodecError, ReferenceCodec, describe_choices, parse_params
from .epmcodec import EpmCodec
from .pillowcodecs import PILLOW_CODECS

ANCHOR = "jpeg"


@dataclass(frozen=True)
class Missing:
    """A contender that was asked for and cannot run here, and why."""

    spec: str
    reason: str


def make_codec(spec: str) -> ReferenceCodec:
    """The contender that a spec describes: a Pillow format with parameters, a shipped package or an .epm file.

    Raises MissingCodecError when the contender is known but this machine lacks it, and another EdgepressError
    when the spec is wrong or the package is damaged.
    """
    spec = spec.strip()
    key, _, text = spec.partition(":")
    if key in PILLOW_CODECS:
        cls = PILLOW_CODECS[key]
        return cls(**parse_params(cls, key, text))
    if spec.endswith(".epm"):
        if not Path(spec).is_file():
            raise EdgepressError(f"{spec}: no such package file")
        return EpmCodec(spec)
    shipped = Codec.available()
    if key not in shipped:
        known = ", ".join([*PILLOW_CODECS, *shipped])
        raise EdgepressError(f"unknown codec {key!r}; known are {known}, or give the path of an .epm file")
    if text:
        raise EdgepressError(f"{key} is a codec package and takes no parameters, got {text!r}")
    return EpmCodec(key)


def make_codecs(specs: Iterable[str]) -> tuple[list[ReferenceCodec], list[Missing]]:
    """All contenders of a run, each once, with names made unique, and those that this machine lacks."""
    codecs: dict[str, ReferenceCodec] = {}
    missing: list[Missing] = []
    for spec in specs:
        try:
            codec = make_codec(spec)
        except MissingCodecError as error:
            missing.append(Missing(spec, str(error)))
            continue
        if any(codec.spec == other.spec for other in codecs.values()):
            continue
        if codec.name in codecs and isinstance(codec, EpmCodec):
            codec.name = codec.spec  # two packages may carry one name; their paths differ
        codecs[codec.name] = codec
    return list(codecs.values()), missing


def default_specs() -> list[str]:
    """What is compared when nothing is asked for: JPEG and the default package, where one is shipped."""
    package = default_name()
    return [ANCHOR, package] if package else [ANCHOR]


def describe_codecs() -> str:
    """Help: every contender with its parameters, one line each."""
    lines = []
    for key, cls in PILLOW_CODECS.items():
        lines.append(f"{key}: {(cls.__doc__ or '').splitlines()[0]}")
        for f in fields(cls):
            default = int(f.default) if isinstance(f.default, bool) else f.default
            allowed = "0 or 1" if isinstance(f.default, bool) else describe_choices(f.metadata["choices"])
            lines.append(f"  {f.name}={default}: {f.metadata['help']} ({allowed})")
    lines.append("a shipped package by name (`edgepress models` lists them), or the path of an .epm file")
    return "\n".join(lines)
