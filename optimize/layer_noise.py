"""Where int8 loses quality: the signal-to-noise ratio of every operation's output, int8 against float, on images.

Noise adds up on the way through a network, so the ratio at a layer says little of that layer. What it adds itself does, and
how much of that the rounding of its output explains. A channel whose values are small beside those of others in its tensor is
lost without a trace there and shows in the layer that reads it: keep both in float, so that nothing is rounded between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .convert import FloatPair, Pair
from .errors import ConversionError
from .tflite import TFLite, int8_pixels

CLEAN = 99.0  # dB, what stands for no noise at all
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class LayerNoise:
    """One operation of the int8 networks.

    Attributes:
        half: encoder or decoder.
        layer: Keras layer it comes from.
        operation: TFLite's name.
        sqnr: power of the float output over that of the difference of the int8 output, dB, all noise before it included.
        own: the same ratio with only the noise beyond that of its noisiest input: the lower, the more it adds; 99 for none.
        rounding: ratio in dB if the float output were merely rounded to the int8 values that this output has: what
            the range of the tensor costs, saturation included. The rest comes from the weights, or from before.
        saturated: share of the float output beyond the ends of the int8 range.
    """

    half: str
    layer: str
    operation: str
    sqnr: float
    own: float
    rounding: float
    saturated: float


def layer_noise(floated: FloatPair, pair: Pair, images: Sequence[RGB]) -> list[LayerNoise]:
    """A row for every operation that int8 and float networks have in common, in the order they run.

    Args:
        floated, pair: float32 and int8 conversions of the same halves.
        images: uint8 (H, W, 3), sides being multiples of the stride; each is run once.

    Raises: ConversionError when the two were not made of the same halves.
    """
    halves = [_Half(name, floated, pair, position) for position, name in enumerate(("encoder", "decoder"))]
    for image in images:
        clean: NDArray[Any] = image[None] / np.float32(255)
        noisy: NDArray[Any] = int8_pixels(image)
        for half in halves:
            clean, noisy = half.run(clean, noisy)
    return [row for half in halves for row in half.rows()]


def worst_layers(rows: Sequence[LayerNoise], count: int = 3) -> list[str]:
    """The names of the `count` layers whose operations add most noise, worst first; layers that add none are left out."""
    ordered = sorted((row for row in rows if row.own < CLEAN), key=lambda row: row.own)
    return list(dict.fromkeys(row.layer for row in ordered))[:count]


@dataclass
class _Power:
    """Sums over all values of a tensor, on all images."""

    signal: float = 0.0
    noise: float = 0.0
    rounding: float = 0.0
    saturated: int = 0
    count: int = 0

    def add(self, clean: NDArray[Any], levels: NDArray[Any], scale: float, zero_point: int) -> None:
        if scale == 0:  # stays float in the int8 model
            self.noise += float(np.square(levels - clean).sum(dtype=float))
        else:
            ends = np.iinfo(levels.dtype)
            steps = np.rint(clean / scale) + zero_point
            rounded = (np.clip(steps, ends.min, ends.max) - zero_point) * scale
            self.noise += float(
                np.square((levels.astype(np.float32) - zero_point) * scale - clean).sum(dtype=float)
            )
            self.rounding += float(np.square(rounded - clean).sum(dtype=float))
            self.saturated += int(((steps < ends.min) | (steps > ends.max)).sum())
        self.signal += float(np.square(clean).sum(dtype=float))
        self.count += clean.size


class _Half:
    """Encoder or decoder, float and int8, side by side."""

    def __init__(self, name: str, floated: FloatPair, pair: Pair, position: int) -> None:
        self._name = name
        self._clean, self._noisy = (
            TFLite((models.encoder, models.decoder)[position], delegates=False, preserve=True)
            for models in (floated, pair)
        )
        operations = _operations(self._clean, floated.layers[position])
        twins = _operations(self._noisy, pair.layers[position])
        if not operations or operations.keys() != twins.keys():
            raise ConversionError("the float and the int8 networks do not consist of the same operations")
        self._operations = operations
        # {operation: (its tensor in the float model, in the int8 model)}; the input is an operation of no name.
        self._outputs = {
            key: (int(op["outputs"][0]), int(twins[key]["outputs"][0])) for key, op in operations.items()
        }
        self._outputs[_INPUT] = (int(self._clean.input["index"]), int(self._noisy.input["index"]))
        self._powers = {key: _Power() for key in self._outputs}

    def run(self, clean: NDArray[Any], noisy: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        made = self._clean.run(clean), self._noisy.run(noisy)
        details = self._noisy.tensors()
        for key, (first, second) in self._outputs.items():
            scale, zero_point = details[second]["quantization"]
            self._powers[key].add(
                self._clean.constant(first), self._noisy.constant(second), float(scale), int(zero_point)
            )
        return made

    def rows(self) -> list[LayerNoise]:
        makers = {first: key for key, (first, _) in self._outputs.items()}
        sqnr = {key: _decibels(p.signal, p.noise) for key, p in self._powers.items()}
        rows = []
        for key, operation in self._operations.items():
            layer, kind, _ = key
            sources = [sqnr[makers[int(t)]] for t in operation["inputs"] if int(t) in makers]
            before = _noise(min(sources, default=CLEAN))
            power = self._powers[key]
            rows.append(
                LayerNoise(
                    self._name,
                    layer,
                    kind,
                    sqnr[key],
                    _decibels(1.0, _noise(sqnr[key]) - before),
                    _decibels(power.signal, power.rounding),
                    power.saturated / max(1, power.count),
                )
            )
        return rows


_Key = tuple[str, str, int]  # layer, operation, how many there were before
_INPUT: _Key = ("", "", 0)


def _operations(model: TFLite, layers: Sequence[str]) -> dict[_Key, dict[str, Any]]:
    """The operations of a model, without those that only change the number format."""
    model.allocate()
    found: dict[_Key, dict[str, Any]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for operation, layer in zip(model.operations(), layers, strict=True):
        kind = operation["op_name"]
        if kind not in CONVERSIONS:
            found[(layer, kind, seen[layer, kind])] = operation
            seen[layer, kind] += 1
    return found


def _noise(decibels: float) -> float:
    """Noise in relation to the signal."""
    return float(10 ** (-decibels / 10))


def _decibels(signal: float, noise: float) -> float:
    return min(CLEAN, 10 * float(np.log10(max(signal, 1e-30) / noise))) if noise > 0 else CLEAN
