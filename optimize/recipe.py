"""A run of the optimizer as plain data: read from a commented TOML file, overridden by flags."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


from edgepress.runtime.manifest import MAX_SMOOTHING

from .errors import RecipeError

SHIPPED = Path(__file__).parent / "recipes"
DEFAULT = SHIPPED / "default.toml"


CRITERIA = ("taylor", "activation", "magnitude", "bn_scale")
MODES = (
    "ptq",
    "qat",
    "mixed",
)  # data alone; training under simulated int8; layers that lose most left in float
RANGES = ("0..1", "-1..1", "0..255")
METRICS = ("psnr", "ssim", "bd-rate")


@dataclass(frozen=True)
class ModelPart:
    """latent: the layer whose output is coded; empty finds the narrowest tensor.

    input_range: what the model takes for black and white, one of RANGES; empty finds it out.
    """

    latent: str = ""
    input_range: str = ""


@dataclass(frozen=True)
class ChannelsPart:
    """Removing whole channels, and the fine-tuning by distillation after it; keep_macs = 1 removes none by importance.

    dead: first remove, exactly, channels that are never active on the training images.
    joined: one convolution for each transposed one, whose zeros the fine-tuning may use, see `rewrite.rewrite`.
    """

    dead: bool = False
    keep_macs: float = 1.0
    criterion: str = "taylor"
    group: int = 8
    joined: bool = False
    match: float = 0.5
    steps: int = 2000
    batch: int = 8
    crop: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class PrunePart:
    """Magnitude pruning and its fine-tuning, see `prune.prune`; steps = 0 skips it."""

    sparsity: float = 0.3
    steps: int = 300
    batch: int = 8
    crop: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class LossPart:
    """Weights of the hybrid loss used in fine-tuning, and VGG16 weights if b > 0."""

    a: float = 0.1
    b: float = 0.0
    c: float = 0.9
    vgg: str = ""


@dataclass(frozen=True)
class QuantizePart:
    """mode: one of MODES. latent_unit: the unit of the latent steps in [codec]; 0 takes the int8 step of the widest
    latent channel. fallback: how many layers stay float in mode mixed. The others are those of the training in mode
    qat; its batches and crops are those of [channels]. weight_noise: what coarser weights of one layer may add to the noise of
    int8 weights, as a share of it, for a smaller package (`weight_levels.coarse_levels`); 0 leaves all weights as fine as int8.
    compose: the encoder's transforms of two levels become one, which costs multiply-adds and saves a rounding (`compose`)."""

    mode: str = "ptq"
    latent_unit: float = 0.0
    qat_steps: int = 500
    qat_learning_rate: float = 2e-4
    fallback: int = 3
    weight_noise: float = 0.0
    compose: bool = False


@dataclass(frozen=True)
class RdPart:
    """The training of both networks for rate and distortion under int8's rounding, see `tune_both`; steps = 0 skips it, and
    so does mode qat. trade: lambda times the squared latent step in units; 0: as high-rate theory has it, measured.
    structure, fine: as in `DecoderPart`."""

    steps: int = 0
    batch: int = 16
    crop: int = 128
    learning_rate: float = 2e-3
    trade: float = 0.0
    structure: float = 0.3
    fine: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class DecoderPart:
    """The training of the decoder behind the int8 encoder and the quantizer, see `tune_decoder`; steps = 0 skips it, and so
    does mode qat, whose halves have been trained for int8 already. structure: share of 1 - MS-SSIM in its loss; the rest
    is MSE. fine: share of that which is 1 - SSIM at the finest scale instead."""

    steps: int = 0
    batch: int = 4
    crop: int = 256
    learning_rate: float = 1e-3
    structure: float = 0.3
    fine: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class SearchPart:
    """The search for the fastest package inside a budget, see `search.search`; max_drop = 0 skips it.

    max_drop: of `metric` (one of METRICS): dB of PSNR, SSIM, or percent of bytes at equal PSNR.
    keep_macs, modes: the grid: shares of the multiply-adds that stay, and modes of [quantize].
    confidence: with which the bound on the mean drop, over the half of the held-out images that choose, is inside.
    """

    max_drop: float = 0.0
    metric: str = "psnr"
    keep_macs: tuple[float, ...] = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)
    modes: tuple[str, ...] = ("ptq", "qat", "mixed")
    confidence: float = 0.95


@dataclass(frozen=True)
class CodecPart:
    """Latent steps of qualities 100 and 1 in units, sets and bank of entropy tables, rounding in 1/256, thinning.

    smoothing: up to which size steps between blocks are smoothed in decoding, in 1/32 of a grey level for each unit of the
    latent step (see `runtime.smoothing`); 0: none is, for networks without seams, and strides that are no multiples of 16.
    """

    finest: float = 1.0
    coarsest: float = 32.0
    sets: int = 6
    bank: int = 48
    rounding: int = 112
    thinning: float = 0.5
    smoothing: int = 0


@dataclass(frozen=True)
class MeasurePart:
    """Numbers of images held out and of others used, the largest side measured, repetitions of the timing.

    compare: also convert to float16, dynamic-range and int16x8, and give each a row.
    pictures: images shown in the HTML report.
    """

    images: int = 16
    training_images: int = 400
    side: int = 384
    repeats: int = 50
    compare: bool = False
    pictures: int = 3


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a package, apart from model and images; the tables of the TOML file are its parts."""

    model: ModelPart = field(default_factory=ModelPart)
    channels: ChannelsPart = field(default_factory=ChannelsPart)
    prune: PrunePart = field(default_factory=PrunePart)
    loss: LossPart = field(default_factory=LossPart)
    quantize: QuantizePart = field(default_factory=QuantizePart)
    search: SearchPart = field(default_factory=SearchPart)
    codec: CodecPart = field(default_factory=CodecPart)
    rd: RdPart = field(default_factory=RdPart)
    decoder: DecoderPart = field(default_factory=DecoderPart)
    measure: MeasurePart = field(default_factory=MeasurePart)

    def __post_init__(self) -> None:
        limits: dict[tuple[str, str], tuple[float, float]] = {
            ("channels", "keep_macs"): (0.05, 1),
            ("channels", "group"): (1, 256),
            ("channels", "match"): (0, 1),
            ("channels", "steps"): (0, 10**7),
            ("channels", "batch"): (1, 4096),
            ("channels", "crop"): (16, 4096),
            ("channels", "learning_rate"): (1e-9, 10),
            ("prune", "sparsity"): (0, 0.95),
            ("prune", "steps"): (0, 10**7),
            ("prune", "batch"): (1, 4096),
            ("prune", "crop"): (16, 4096),
            ("prune", "learning_rate"): (1e-9, 10),
            ("quantize", "latent_unit"): (0, 1e6),
            ("quantize", "weight_noise"): (0, 1),
            ("quantize", "qat_steps"): (1, 10**7),
            ("quantize", "qat_learning_rate"): (1e-9, 10),
            ("quantize", "fallback"): (1, 1000),
            ("search", "max_drop"): (0, 100),
            ("search", "confidence"): (0.5, 0.999),
            ("codec", "finest"): (1 / 16, 4095),
            ("codec", "coarsest"): (self.codec.finest, 4095),
            ("codec", "sets"): (1, 100),
            ("codec", "bank"): (1, 255),
            ("codec", "rounding"): (0, 255),
            ("codec", "thinning"): (0, 4),
            ("codec", "smoothing"): (0, MAX_SMOOTHING),
            ("rd", "steps"): (0, 10**7),
            ("rd", "batch"): (1, 4096),
            ("rd", "crop"): (16, 4096),
            ("rd", "learning_rate"): (1e-9, 10),
            ("rd", "trade"): (0, 1e6),
            ("rd", "structure"): (0, 1),
            ("rd", "fine"): (0, 1),
            ("decoder", "steps"): (0, 10**7),
            ("decoder", "batch"): (1, 4096),
            ("decoder", "crop"): (16, 4096),
            ("decoder", "learning_rate"): (1e-9, 10),
            ("decoder", "structure"): (0, 1),
            ("decoder", "fine"): (0, 1),
            ("measure", "images"): (1, 10**6),
            ("measure", "training_images"): (1, 10**6),
            ("measure", "side"): (16, 1 << 14),
            ("measure", "repeats"): (1, 10**6),
            ("measure", "pictures"): (0, 100),
        }
        for (part, key), (low, high) in limits.items():
            value = getattr(getattr(self, part), key)
            if not low <= value <= high:
                raise RecipeError(f"{part}.{key} must lie in {low:g}..{high:g}, not {value:g}")
        if not self.search.keep_macs or not all(0.05 <= keep <= 1 for keep in self.search.keep_macs):
            raise RecipeError("search.keep_macs must hold shares of 0.05..1")
        if not self.search.modes:
            raise RecipeError("search.modes must hold at least one mode")
        for name, value, known in (
            ("model.input_range", self.model.input_range, ("", *RANGES)),
            ("channels.criterion", self.channels.criterion, CRITERIA),
            ("quantize.mode", self.quantize.mode, MODES),
            ("search.metric", self.search.metric, METRICS),
            *(("search.modes", mode, MODES) for mode in self.search.modes),
        ):
            if value not in known:
                raise RecipeError(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")

    def with_values(self, document: dict[str, Any]) -> Recipe:
        """A copy with the values of a nested dict {part: {key: value}}; RecipeError for unknown keys or wrong types."""
        parts: dict[str, Any] = {}
        for name, values in document.items():
            part = getattr(self, name, None)
            if not is_dataclass(part) or isinstance(part, type):
                raise RecipeError(
                    f"unknown table [{name}]; known are {', '.join(f.name for f in fields(self))}"
                )
            if not isinstance(values, dict):
                raise RecipeError(f"{name} must be a table, [{name}], not the value {values!r}")
            parts[name] = replace(part, **{key: _typed(part, name, key, v) for key, v in values.items()})
        return replace(self, **parts)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The recipe as {part: {key: value}}, as `with_values` takes it."""
        return asdict(self)


def load_recipe(path: str | Path | None, overrides: dict[str, dict[str, Any]] | None = None) -> Recipe:
    """Read a recipe (None: the defaults) and apply overrides {part: {key: value}}.

    path: a file, or the name of a shipped recipe (see `shipped_recipes`).

    Raises: RecipeError for a file that is no TOML, unknown tables or keys, wrong types and values out of range;
        OSError when it cannot be read.
    """
    recipe = Recipe()
    if path is not None:
        try:
            file = shipped_recipes().get(str(path), Path(path))
            recipe = recipe.with_values(tomllib.loads(file.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a TOML recipe: {error}") from None
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None
    return recipe.with_values(overrides or {})


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with edgepress."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def recipe_text(recipe: Recipe) -> str:
    """The recipe as a TOML file with all keys and their comments, which `load_recipe` reads back as the same."""
    values, part = recipe.as_dict(), ""
    lines = []
    for line in DEFAULT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            part = line[1 : line.index("]")]
        key, _, rest = line.partition(" = ")
        if key in values.get(part, {}):
            comment = rest[rest.index("#") :] if "#" in rest else ""
            line = f"{f'{key} = {_toml(values[part][key])}':<23} {comment}".rstrip()
        lines.append(line)
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (str, bool)):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _typed(part: Any, name: str, key: str, value: Any) -> Any:
    known = [f.name for f in fields(part)]
    if key not in known:
        raise RecipeError(f"unknown key {name}.{key}; known are {', '.join(known)}")
    wanted = type(getattr(part, key))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is tuple and isinstance(value, (list, tuple)):
        return tuple(_element(name, key, getattr(part, key)[0], v) for v in value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise RecipeError(f"{name}.{key} must be of type {wanted.__name__}, not {value!r}")
    return value


def _element(name: str, key: str, example: Any, value: Any) -> Any:
    wanted = type(example)
    if isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else wanted):
        raise RecipeError(f"{name}.{key} must hold values of type {wanted.__name__}, not {value!r}")
    return wanted(value)
