"""A run of the optimizer as plain data: read from a commented TOML file, overridden by flags."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


from .errors import RecipeError

DEFAULT = Path(__file__).parent / "recipes" / "default.toml"


@dataclass(frozen=True)
class ModelPart:
    """latent: the layer whose output is coded; empty finds the narrowest tensor."""

    latent: str = ""


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
    """latent_unit: the unit of the latent steps in [codec]; 0 takes the int8 step of the widest latent channel."""

    latent_unit: float = 0.0


@dataclass(frozen=True)
class CodecPart:
    """Latent steps of qualities 100 and 1 in units, sets and bank of entropy tables, rounding in 1/256, thinning."""

    finest: float = 1.0
    coarsest: float = 32.0
    sets: int = 6
    bank: int = 48
    rounding: int = 112
    thinning: float = 0.5


@dataclass(frozen=True)
class MeasurePart:
    """Numbers of images held out and of others used, the largest side measured, repetitions of the timing."""

    images: int = 16
    training_images: int = 400
    side: int = 384
    repeats: int = 50


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a package, apart from model and images; the tables of the TOML file are its parts."""

    model: ModelPart = field(default_factory=ModelPart)
    prune: PrunePart = field(default_factory=PrunePart)
    loss: LossPart = field(default_factory=LossPart)
    quantize: QuantizePart = field(default_factory=QuantizePart)
    codec: CodecPart = field(default_factory=CodecPart)
    measure: MeasurePart = field(default_factory=MeasurePart)

    def __post_init__(self) -> None:
        limits: dict[tuple[str, str], tuple[float, float]] = {
            ("prune", "sparsity"): (0, 0.95),
            ("prune", "steps"): (0, 10**7),
            ("prune", "batch"): (1, 4096),
            ("prune", "crop"): (16, 4096),
            ("prune", "learning_rate"): (1e-9, 10),
            ("quantize", "latent_unit"): (0, 1e6),
            ("codec", "finest"): (1 / 16, 4095),
            ("codec", "coarsest"): (self.codec.finest, 4095),
            ("codec", "sets"): (1, 100),
            ("codec", "bank"): (1, 255),
            ("codec", "rounding"): (0, 255),
            ("codec", "thinning"): (0, 4),
            ("measure", "images"): (1, 10**6),
            ("measure", "training_images"): (1, 10**6),
            ("measure", "side"): (16, 1 << 14),
            ("measure", "repeats"): (1, 10**6),
        }
        for (part, key), (low, high) in limits.items():
            value = getattr(getattr(self, part), key)
            if not low <= value <= high:
                raise RecipeError(f"{part}.{key} must lie in {low:g}..{high:g}, not {value:g}")

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

    Raises: RecipeError for a file that is no TOML, unknown tables or keys, wrong types and values out of range;
        OSError when it cannot be read.
    """
    recipe = Recipe()
    if path is not None:
        try:
            recipe = recipe.with_values(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a TOML recipe: {error}") from None
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None
    return recipe.with_values(overrides or {})


def _typed(part: Any, name: str, key: str, value: Any) -> Any:
    known = [f.name for f in fields(part)]
    if key not in known:
        raise RecipeError(f"unknown key {name}.{key}; known are {', '.join(known)}")
    wanted = type(getattr(part, key))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise RecipeError(f"{name}.{key} must be of type {wanted.__name__}, not {value!r}")
    return value
