"""What only the HTML page shows: the layers of the model that became the package, and images before and after."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.bench.loadimages import pick_evenly
from edgepress.bench.metrics import bits_per_pixel, measure
from edgepress.bench.pictures import crop, data_uri
from edgepress.runtime.codec import Codec

from .cache import Cache
from .keys import Images
from .layer_noise import layer_noise
from .measure import FINEST
from .package_step import Packed, crops
from .plan import Begin, Plan
from .recipe import Recipe
from .step import FIGURES, Step

SHOWN = (FINEST, 50)  # qualities of the package
NOISE_IMAGES = 16  # of those held out, for the noise of the layers


@dataclass(frozen=True)
class Layer:
    """A layer of the final model, on an image of SIDE pixels.

    Attributes:
        half: encoder or decoder.
        shape: of its output, without batch.
        parameters, macs: weights, and multiply-adds per image pixel.
        sqnr: of its last operation in the int8 networks, dB (see `layer_noise`); None where it is part of another one.
        own: the same with the noise alone that its operations add, the worst of them: the lower, the more a layer adds.
    """

    half: str
    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: float
    sqnr: float | None = None
    own: float | None = None


@dataclass(frozen=True)
class Sample:
    """A part of a held-out image, as it was and as it came back; `uri` is a picture inside the page.

    psnr, ssim: of the whole image; None for the original. bpp: None where there is no file.
    """

    image: int
    label: str
    uri: str
    psnr: float | None = None
    ssim: float | None = None
    bpp: float | None = None


@dataclass(frozen=True)
class Details:
    layers: list[Layer]
    samples: list[Sample]


def details(
    plan: Plan,
    packed: Step[Packed],
    held_out: Images,
    recipe: Recipe,
    cache: Cache,
    begin: Begin,
    pictures: bool = True,
) -> Details:
    """The details of a run, found in the cache or made; without `pictures` there are no samples."""

    def layers() -> list[dict[str, Any]]:
        begin("look at the layers", None)
        return [asdict(layer) for layer in _layers(plan, held_out, recipe)]

    def samples() -> list[dict[str, Any]]:
        begin("pictures", None)
        return [asdict(sample) for sample in _samples(plan, packed, held_out, recipe)]

    last = list(plan.models.values())[-1]
    looked_at = [last, plan.int8, held_out, recipe.measure.side]
    listed = Step(cache, "layers", FIGURES, ("details", "layer_macs", "layer_noise"), looked_at, layers).get()
    inputs = [packed, held_out, recipe.measure.pictures]
    step = Step(cache, "pictures", FIGURES, ("details", "graph"), inputs, samples)
    shown = step.get() if pictures else []
    return Details(
        [Layer(**{**layer, "shape": tuple(layer["shape"])}) for layer in listed],
        [Sample(**sample) for sample in shown],
    )


def _layers(plan: Plan, held_out: Images, recipe: Recipe) -> list[Layer]:
    from .graph import trace  # loads Keras
    from .layer_macs import layer_macs
    from .split import split

    model, latent = list(plan.models.values())[-1].get().model, plan.latent
    halves = split(model, latent["layer"])
    places = latent["tile"] // latent["stride"] or 16
    side = places * latent["stride"]
    ends = (
        ("encoder", halves.encoder, (side, side, 3)),
        ("decoder", halves.decoder, (places, places, latent["channels"])),
    )
    noise = _noise(plan, held_out, recipe)
    found = []
    for half, part, shape in ends:
        for step in trace(part, shape):
            weights = getattr(step.operation, "weights", [])
            found.append(
                Layer(
                    half,
                    step.name,
                    type(step.operation).__name__,
                    tuple(int(n) for n in step.output.shape[1:]),
                    sum(int(np.prod(w.shape)) for w in weights),
                    layer_macs(step) / side**2,
                    *noise.get((half, step.name), (None, None)),
                )
            )
    return found


def _noise(plan: Plan, held_out: Images, recipe: Recipe) -> dict[tuple[str, str], tuple[float, float]]:
    """(SQNR of the last operation, the lowest own one) of the layers that have operations of their own, by half and name."""
    made = plan.int8.get()
    images = pick_evenly(crops(held_out, plan.latent["unit"], recipe), NOISE_IMAGES)
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for row in layer_noise(made.twin, made.pair, images):
        place = row.half, row.layer
        found[place] = row.sqnr, min(row.own, found.get(place, (0.0, row.own))[1])
    return found


def _samples(plan: Plan, packed: Step[Packed], held_out: Images, recipe: Recipe) -> list[Sample]:
    from .graph import run  # loads Keras
    from .split import split

    halves = split(plan.models["float"].get().model, plan.layer())
    images = crops(held_out, plan.latent["unit"], recipe)
    numbers = (
        pick_evenly(list(range(len(images))), recipe.measure.pictures) if recipe.measure.pictures else []
    )
    found = []
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "shown.epm"
        path.write_bytes(packed.get().content)
        codec = Codec.load(path)
        for n in numbers:
            image = images[n]
            found.append(Sample(n, "original", data_uri(crop(image))))
            output = run(halves.decoder, run(halves.encoder, image[None] / np.float32(255)))[0]
            found.append(
                _sample(n, "float model", image, np.rint(np.clip(output, 0, 1) * 255).astype(np.uint8))
            )
            for quality in SHOWN:
                data = codec.encode(image, quality)
                decoded = codec.decode_array(data)
                found.append(_sample(n, f"package, quality {quality}", image, decoded, len(data)))
    return found


def _sample(n: int, label: str, image: Any, decoded: Any, size: int | None = None) -> Sample:
    quality = measure(image, decoded, multiscale=False)
    bpp = None if size is None else bits_per_pixel(size, image.shape[1], image.shape[0])
    return Sample(n, label, data_uri(crop(decoded)), quality.psnr, quality.ssim, bpp)
