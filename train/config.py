"""A training run as plain data: one dataclass, read from a commented TOML recipe and overridden by flags."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


STRUCTURE_SIDE = 96  # the smallest image with all scales of `losses.structural_loss`
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines the weights, apart from the images.

    model: name in `train.models.MODELS`. loss: "hybrid" (a, b, c, vgg, vgg_blocks) or "rd" (trade, structure,
    fine, step_min, step_max). init: a `.keras` file to start from. klt: start `photo` as a block
    transform codec (`train.klt`).
    steps, batch, crop, seed; lr: peak Adam rate (`pace` of it for the transform of `photo`), warmup: steps to reach
    it, then cosine to lr / 100. ema: decay of the
    averaged weights, which are what is saved. epoch_steps: steps between validation and checkpoints;
    patience: epochs without a better validation score before stopping (0: never).
    """

    model: str = "conv3"
    loss: str = "hybrid"
    init: str = ""
    klt: bool = False
    a: float = 0.2
    b: float = 0.0
    c: float = 0.8
    vgg: str = ""
    vgg_blocks: int = 3
    trade: float = 0.4
    structure: float = 0.0
    fine: float = 0.0
    step_min: float = 1.0
    step_max: float = 20.0
    steps: int = 10_000
    batch: int = 16
    crop: int = 128
    seed: int = 1
    lr: float = 1e-3
    pace: float = 1.0
    warmup: int = 300
    ema: float = 0.999
    epoch_steps: int = 500
    patience: int = 0

    def __post_init__(self) -> None:
        if self.loss not in ("hybrid", "rd"):
            raise ValueError(f"loss is {self.loss!r}; choose hybrid or rd")
        for name in ("steps", "batch", "crop", "epoch_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.crop < 16 or self.crop % 16:
            raise ValueError(f"crop must be a multiple of 16, not {self.crop}")
        if not 1 <= self.vgg_blocks <= 3:
            raise ValueError(f"vgg_blocks must be 1, 2 or 3, not {self.vgg_blocks}")
        if not 0 < self.ema < 1:
            raise ValueError(f"ema must lie between 0 and 1, not {self.ema}")
        if (self.klt or self.loss == "rd") and self.model != "photo":
            raise ValueError(f"the rd loss and klt are made for the model photo, not {self.model}")
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, not {self.lr}")
        for name in ("structure", "fine"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.structure and self.crop < STRUCTURE_SIDE:
            raise ValueError(
                f"structure needs crops of at least {STRUCTURE_SIDE} pixels, not crop = {self.crop}"
            )
        if not 0 < self.step_min <= self.step_max:
            raise ValueError(f"0 < step_min <= step_max is needed, not {self.step_min}..{self.step_max}")


def load_config(source: str | Path | None, **overrides) -> TrainConfig:
    """The recipe `source` (a path, the name of a shipped recipe, or None for the defaults) with overrides that are not None.

    Raises ValueError for unknown keys or wrong types, FileNotFoundError when there is no such recipe.
    """
    values: dict = {}
    if source is not None:
        path = Path(source)
        if not path.is_file() and (RECIPES / f"{source}.toml").exists():
            path = RECIPES / f"{source}.toml"
        try:
            document = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not a TOML recipe: {error}") from None
        for key, value in document.items():
            values.update(value if isinstance(value, dict) else {key: value})
    values.update({k: v for k, v in overrides.items() if v is not None})
    types = {f.name: type(f.default) for f in fields(TrainConfig)}
    for key, value in values.items():
        if key not in types:
            raise ValueError(f"unknown key {key!r} in the recipe; known: {', '.join(types)}")
        if types[key] is float and isinstance(value, int) and not isinstance(value, bool):
            values[key] = float(value)
        elif not isinstance(value, types[key]) or (types[key] is int and isinstance(value, bool)):
            raise ValueError(f"{key} must be of type {types[key].__name__}, not {value!r}")
    return replace(TrainConfig(), **values)
