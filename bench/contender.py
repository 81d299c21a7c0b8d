"""What a contender is: anything that turns an RGB image into bytes and back, at qualities from 1 to 100.

Adding one is one small class. For a format that Pillow writes, subclass `PillowCodec` in pillowcodecs.py (the format's
name, its library, and `options`: what `Image.save` is given for a quality) and append it to `PILLOW_CODECS`. For anything
else, write the members of `ReferenceCodec` below in a class of any package, with one string argument, and name it among
that package's entry points; its name is then a spec, and the text after a colon is the argument:

    [project.entry-points."edgepress.contenders"]
    mycodec = "mypackage.module:MyCodec"
"""

from __future__ import annotations

import io
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Protocol

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from edgepress.runtime.errors import EdgepressError

RGB = NDArray[np.uint8]


class MissingCodecError(EdgepressError):
    """A contender is known, but what it needs (a Pillow feature, a shipped package) is not there."""


class ReferenceCodec(Protocol):
    """The contender's side of the benchmark. Instances must be picklable: measuring may use worker processes."""

    @property
    def name(self) -> str:
        """Short and unique among the contenders of a run, such as `jpeg` or `jpeg:subsampling=444`."""

    @property
    def spec(self) -> str:
        """The full spec with every parameter, which `make_codec` turns into the same contender again."""

    @property
    def description(self) -> str:
        """One line for reports: format, library and version, parameters."""

    @property
    def qualities(self) -> tuple[int, ...]:
        """The default quality grid, ascending within 1..100; a single value when there is no quality to set."""

    def encode(self, rgb: RGB, quality: int) -> bytes:
        """Compress a uint8 HxWx3 image at a quality of 1..100; the bytes are the whole file."""

    def decode(self, data: bytes) -> RGB:
        """Decompress to a uint8 HxWx3 image."""

    # A contender may also have
    #   fingerprint: str, all that decides its bytes and pixels (default: spec and description); measurements of a
    #       contender with another fingerprint are not taken over when a run goes on;
    #   facts() -> dict: what reports say of it beside its figures, such as `model_bytes` and `macs_per_pixel`.


def fingerprint(codec: ReferenceCodec) -> str:
    """What decides a contender's bytes and pixels: settings, libraries and networks."""
    return getattr(codec, "fingerprint", None) or f"{codec.spec} {codec.description}"


def param(default: Any, text: str, choices: tuple[Any, ...] | range | None = None) -> Any:
    """A parameter of a contender: a dataclass field with the help text and the values it may take."""
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class PillowCodec:
    """Base of the contenders that Pillow writes and reads: one small subclass per format."""

    key: ClassVar[str]  # the name in specs
    title: ClassVar[str]
    format: ClassVar[str]  # Pillow's name of the format
    feature: ClassVar[str | None]  # Pillow's name of the library, as in PIL.features; None: Pillow itself
    library: ClassVar[str]  # the library's own name, for reports; empty: Pillow itself
    qualities: ClassVar[tuple[int, ...]] = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95)

    def __post_init__(self) -> None:
        if self.feature and self.feature not in features.get_supported():
            raise MissingCodecError(
                f"{self.key}: this Pillow ({PIL.__version__}) was built without {self.library}; "
                "install a Pillow wheel from PyPI that has it"
            )

    def options(self, quality: int) -> dict[str, Any]:
        """The keyword arguments of `Image.save` for a quality of 1..100."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return format_spec(self.key, changed)

    @property
    def spec(self) -> str:
        return format_spec(self.key, {f.name: getattr(self, f.name) for f in fields(self)})

    @property
    def version(self) -> str | None:
        """The version of the library; None when it does not tell."""
        return features.version(self.feature) if self.feature else None

    @property
    def description(self) -> str:
        setting = self.spec.partition(":")[2].replace(",", ", ")
        library = f"Pillow {PIL.__version__}" + (f", {self.library} {self.version}" if self.library else "")
        return f"{self.title} ({library}; {setting})" if setting else f"{self.title} ({library})"

    def encode(self, rgb: RGB, quality: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, self.format, **self.options(quality))
        return file.getvalue()

    def decode(self, data: bytes) -> RGB:
        image = Image.open(io.BytesIO(data), formats=[self.format])
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def format_spec(key: str, values: dict[str, Any]) -> str:
    """`name:param=value,...`, or the bare name without parameters; booleans become 1 and 0."""
    if not values:
        return key
    text = ",".join(f"{name}={int(v) if isinstance(v, bool) else v}" for name, v in values.items())
    return f"{key}:{text}"


def parse_params(cls: type, key: str, text: str) -> dict[str, Any]:
    """The `param=value,...` part of a spec as keyword arguments of the contender class; errors say what is allowed."""
    known = {f.name: f for f in fields(cls) if f.default is not MISSING}
    values: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        name, separator, value = (part.strip() for part in item.partition("="))
        if name not in known:
            allowed = f"it has {', '.join(known)}" if known else "it has none"
            raise EdgepressError(f"{key} has no parameter {name!r}; {allowed}")
        if not separator or not value:
            raise EdgepressError(
                f"{key}: parameter {name} needs a value, as in {key}:{name}={known[name].default}"
            )
        if name in values:
            raise EdgepressError(f"{key}: parameter {name} is given twice")
        values[name] = _convert(f"{key}: {name}", value, known[name].default, known[name].metadata["choices"])
    return values


def _convert(where: str, text: str, default: Any, choices: tuple[Any, ...] | range | None) -> Any:
    if isinstance(default, bool):
        words = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
        if text.lower() not in words:
            raise EdgepressError(f"{where} is 0 or 1, not {text!r}")
        return words[text.lower()]
    try:
        value = type(default)(text)
    except ValueError:
        value = None
    if value is None or (choices is not None and value not in choices):
        raise EdgepressError(f"{where} is {describe_choices(choices)}, not {text!r}")
    return value


def describe_choices(choices: tuple[Any, ...] | range | None) -> str:
    """The values that a parameter may take, in words."""
    if isinstance(choices, range):
        return f"{choices[0]} to {choices[-1]}"
    return " or ".join(str(c) for c in choices) if choices else "a number"
