"""From a spec `name[:param=value,...]` to a contender, and the help text of all of them."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from edgepress.runtime.codec import Codec, default_name
from edgepress.runtime.errors import EdgepressError

from .contender import MissingCodecError, ReferenceCodec, describe_choices, parse_params
from .epmcodec import EpmCodec
from .pillowcodecs import PILLOW_CODECS

ANCHOR = "jpeg"
PLUGINS = "edgepress.contenders"  # the group of entry points under which other packages offer contenders


@dataclass(frozen=True)
class Missing:
    """A contender that was asked for and cannot run here, and why."""

    spec: str
    reason: str


def make_codec(spec: str) -> ReferenceCodec:
    """The contender that a spec describes: a Pillow format with parameters, a package by name or path, a .keras file.

    Raises MissingCodecError when the contender is known but this machine lacks it, and another EdgepressError
    when the spec is wrong or a file is damaged.
    """
    spec = spec.strip()
    key, _, text = spec.partition(":")
    if key in PILLOW_CODECS:
        cls = PILLOW_CODECS[key]
        return cls(**parse_params(cls, key, text))
    if key.endswith(".keras") and text:
        if not Path(key).is_file():
            raise EdgepressError(f"{key}: no such .keras file")
        return _keras("floatpackage", "FloatPackageCodec", key, text)
    for suffix, make in _FILES.items():
        if spec.endswith(suffix):
            if not Path(spec).is_file():
                raise EdgepressError(f"{spec}: no such {suffix} file")
            return make(spec)
    shipped = Codec.available()
    if key in shipped:
        if text:
            raise EdgepressError(f"{key} is a codec package and takes no parameters, got {text!r}")
        return EpmCodec(key)
    for plugin in entry_points(group=PLUGINS):
        if plugin.name == key:
            return plugin.load()(text)
    known = ", ".join([*PILLOW_CODECS, *shipped, *sorted(p.name for p in entry_points(group=PLUGINS))])
    raise EdgepressError(
        f"unknown codec {key!r}; known are {known}, or give the path of an .epm or .keras file"
    )


def _keras(module: str, cls: str, path: str, *text: str) -> ReferenceCodec:
    # By name: the optimizer's room is above this one, and its libraries may not be installed.
    try:
        return getattr(importlib.import_module(f"edgepress.optimize.{module}"), cls)(path, *text)
    except ModuleNotFoundError as error:
        raise MissingCodecError(
            f"{path}: float Keras models need {error.name}, which is not installed: pip install 'edgepress[train]'"
        ) from None


_FILES: dict[str, Callable[[str], ReferenceCodec]] = {
    ".epm": EpmCodec,
    ".keras": partial(_keras, "kerascodec", "KerasCodec"),
}


def make_codecs(specs: Iterable[str]) -> tuple[list[ReferenceCodec], list[Missing]]:
    """All contenders of a run, each once, with names made unique, and those that this machine lacks."""
    codecs: list[ReferenceCodec] = []
    missing: list[Missing] = []
    for spec in specs:
        try:
            codec = make_codec(spec)
        except MissingCodecError as error:
            missing.append(Missing(spec, str(error)))
            continue
        if not any(codec.spec == other.spec for other in codecs):
            codecs.append(codec)
    names = Counter(codec.name for codec in codecs)
    for codec in codecs:
        if names[codec.name] > 1 and codec.spec.endswith(tuple(_FILES)):
            vars(codec)["name"] = codec.spec  # files may carry one name, also that of a shipped package
    return codecs, missing


def default_specs() -> list[str]:
    """What is compared when nothing is asked for: JPEG and the default package, where one is shipped."""
    package = default_name()
    return [ANCHOR, package] if package else [ANCHOR]


def describe_codecs() -> str:
    """Help: every contender with its parameters, one line each."""
    lines = []
    for key, cls in PILLOW_CODECS.items():
        try:
            make_codec(key)
            lack = ""
        except MissingCodecError:
            lack = " [missing here]"
        lines.append(f"{key}: {(cls.__doc__ or '').splitlines()[0]}{lack}")
        for f in fields(cls):
            default = int(f.default) if isinstance(f.default, bool) else f.default
            allowed = "0 or 1" if isinstance(f.default, bool) else describe_choices(f.metadata["choices"])
            lines.append(f"  {f.name}={default}: {f.metadata['help']} ({allowed})")
    lines.append("a shipped package by name (`edgepress models` lists them), or the path of an .epm file")
    lines.append("MODEL.keras: a float autoencoder, 8-bit latents deflated (needs edgepress[train])")
    lines.append(
        "MODEL.keras:package=FILE.epm: the same with the entropy coder of the package made from it: what int8 costs"
    )
    lines += [f"{plugin.name}: from {plugin.value}" for plugin in sorted(entry_points(group=PLUGINS))]
    return "\n".join(lines)
