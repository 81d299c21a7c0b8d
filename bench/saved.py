"""A benchmark's JSON read back: what the HTML report is drawn from, and what `bench compare` compares."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn, TypeVar

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import read_limited

MAX_BYTES = 1 << 28

T = TypeVar("T")


@dataclass(frozen=True)
class SavedRow:
    """One image at one quality. psnr is None for an exact image, the others where the image is too small for them."""

    image: str
    bpp: float
    bytes: float
    ratio: float
    psnr: float | None = None
    ssim: float | None = None
    ms_ssim: float | None = None


@dataclass(frozen=True)
class SavedPoint:
    """One quality: means over the images, their rows, and milliseconds with their interquartile range."""

    quality: int
    bpp: float
    bytes: float
    ratio: float
    psnr: float | None = None
    ssim: float | None = None
    ms_ssim: float | None = None
    encode_ms: float | None = None
    decode_ms: float | None = None
    encode_spread_ms: float | None = None
    decode_spread_ms: float | None = None
    flip: float | None = None
    rows: tuple[SavedRow, ...] = ()

    @property
    def round_trip_ms(self) -> float | None:
        """Encode + decode; None when it was not timed."""
        timed = self.encode_ms is not None and self.decode_ms is not None
        return self.encode_ms + self.decode_ms if timed else None  # type: ignore[operator]


@dataclass(frozen=True)
class SavedCodec:
    """A contender with its points by ascending quality; `facts` is what networks say of themselves."""

    name: str
    spec: str
    description: str = ""
    points: tuple[SavedPoint, ...] = ()
    peak_memory_mb: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether every image came back as it was, at every quality."""
        return all(point.psnr is None for point in self.points)


@dataclass(frozen=True)
class SavedImage:
    """Name and size in pixels of a picture."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class SavedMatch:
    """A contender's quality beside the anchor's of the nearest mean SSIM; time_ratio as a multiple of the anchor's."""

    codec: str
    quality: int
    anchor_quality: int
    ssim: float
    anchor_ssim: float
    bytes: float
    anchor_bytes: float
    ratio: float
    anchor_ratio: float
    in_reach: bool = True
    psnr: float | None = None
    anchor_psnr: float | None = None
    time_ratio: float | None = None

    @property
    def byte_ratio(self) -> float:
        """The contender's bytes over the anchor's."""
        return self.bytes / self.anchor_bytes


@dataclass(frozen=True)
class Saved:
    """A whole benchmark, with the anchor's name; the other fields are those of the JSON."""

    anchor: str
    images: tuple[SavedImage, ...]
    codecs: tuple[SavedCodec, ...]
    matches: tuple[SavedMatch, ...] = ()
    missing: tuple[str, ...] = ()  # why each of them is
    repeats: int = 0
    timed_images: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Saved] = field(default_factory=dict)  # what other machines measured, by their names
    failed_devices: dict[str, str] = field(default_factory=dict)  # and why there is nothing of these

    @property
    def anchor_codec(self) -> SavedCodec:
        return next(codec for codec in self.codecs if codec.name == self.anchor)

    @property
    def others(self) -> tuple[SavedCodec, ...]:
        return tuple(codec for codec in self.codecs if codec.name != self.anchor)

    @property
    def timed_megapixels(self) -> float | None:
        """Of a timed image, on average; None when nothing was timed."""
        sizes = [i.width * i.height / 1e6 for i in self.images if i.name in self.timed_images]
        return fmean(sizes) if sizes else None


def read_saved(path: Path) -> Saved:
    """The benchmark in a file that `edgepress bench --json` wrote.

    Raises EdgepressError, in one line, when the file is no such JSON, and OSError when it cannot be read.
    """
    data = read_limited(path, MAX_BYTES)
    if data is None:
        raise EdgepressError(
            f"{path}: is larger than {MAX_BYTES >> 20} MB; is it the JSON of `edgepress bench`?"
        )
    try:
        found = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise EdgepressError(
            f"{path}: is not JSON ({reason}); write it with `edgepress bench --json`"
        ) from None
    return saved_of(found, str(path))


def saved_of(found: Any, where: str = "the benchmark") -> Saved:
    """The benchmark in what `report.to_dict` gives or its JSON holds. Raises EdgepressError for anything else."""
    top = _Reader(where).mapping(found, "the file")
    for key in ("codecs", "images"):
        if key not in top:
            raise EdgepressError(f"{where}: is not the JSON of `edgepress bench`: it has no {key!r}")
    read = _Reader(where)
    codecs = tuple(_codec(read, entry, f"codecs[{i}]") for i, entry in enumerate(read.items(top, "codecs")))
    names = [codec.name for codec in codecs]
    if not codecs or len(set(names)) != len(names):
        read.fail("codecs", "one or more contenders with names of their own")
    anchor = top.get("anchor", names[0])
    if anchor not in names:
        read.fail("anchor", "the name of a contender")
    timing = read.mapping(top.get("timing") or {}, "timing")
    devices = {
        name: read.mapping(of, f"devices.{name}")
        for name, of in read.mapping(top.get("devices") or {}, "devices").items()
    }
    return Saved(
        anchor,
        tuple(read.fill(SavedImage, i, f"images[{n}]") for n, i in enumerate(read.items(top, "images"))),
        codecs,
        tuple(read.fill(SavedMatch, m, f"matches[{n}]") for n, m in enumerate(read.items(top, "matches"))),
        tuple(str(read.mapping(m, "missing").get("reason")) for m in read.items(top, "missing")),
        _integer(timing.get("repeats", 0)) or 0,
        tuple(str(name) for name in read.items(timing, "images")),
        read.mapping(top.get("environment") or {}, "environment"),
        {name: saved_of(of, f"{where}: {name}") for name, of in devices.items() if "error" not in of},
        {name: str(of["error"]) for name, of in devices.items() if "error" in of},
    )


def _codec(read: _Reader, entry: Any, where: str) -> SavedCodec:
    entry = read.mapping(entry, where)
    points = []
    for p, point in enumerate(read.items(entry, "points")):
        at = f"{where}.points[{p}]"
        rows = read.items(read.mapping(point, at), "rows")
        filled = [read.fill(SavedRow, row, f"{at}.rows[{r}]") for r, row in enumerate(rows)]
        points.append(read.fill(SavedPoint, point, at, rows=tuple(filled)))
    if not points:
        read.fail(f"{where}.points", "one or more points")
    facts = read.mapping(entry.get("facts") or {}, f"{where}.facts")
    points.sort(key=lambda point: point.quality)
    return read.fill(SavedCodec, entry, where, points=tuple(points), facts=facts)


class _Reader:
    """Fills dataclasses from JSON values, and says in which file and where a value is not what it must be."""

    def __init__(self, file: str) -> None:
        self._file = file

    def fail(self, where: str, wanted: str) -> NoReturn:
        raise EdgepressError(f"{self._file}: is not the JSON of `edgepress bench`: {where} is not {wanted}")

    def mapping(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fail(where, "an object")
        return value

    def items(self, of: dict[str, Any], key: str) -> Sequence[Any]:
        value = of.get(key) or []
        if not isinstance(value, list):
            self.fail(key, "a list")
        return value

    def fill(self, cls: Callable[..., T], value: Any, where: str, **given: Any) -> T:
        """The dataclass from the values of its fields' names; `given` fields are taken as they are."""
        entry = self.mapping(value, where)
        values = dict(given)
        for f in fields(cls):  # type: ignore[arg-type]
            if f.name in values:
                continue
            if entry.get(f.name) is None:
                if f.default is MISSING:
                    self.fail(f"{where}.{f.name}", "there")
                continue
            convert, wanted = _KINDS[str(f.type).removesuffix(" | None")]
            values[f.name] = convert(entry[f.name])
            if values[f.name] is None:
                self.fail(f"{where}.{f.name}", wanted)
        return cls(**values)


def _number(value: Any) -> float | None:
    """A finite number as a float, else None; JSON's true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_KINDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "float": (_number, "a number"),
    "int": (_integer, "a whole number"),
    "str": (_text, "a text"),
    "bool": (_flag, "true or false"),
}
