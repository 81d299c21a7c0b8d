"""What stages hand on, and how it is kept in the cache: Keras models, converted networks, entropy tables."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.tables import EntropyTables

from .convert import FloatPair, Pair
from .step import Kind

if TYPE_CHECKING:
    from .latent_range import LatentRange


class Made:
    """A Keras 3 model in the optimizer's form, and what a report says of its making (JSON).

    Out of the cache it is a file's content at first: Keras is loaded when the model itself is asked for.
    """

    def __init__(self, model: Any, facts: dict[str, Any] | None = None, content: bytes = b""):
        self.facts = facts or {}
        self._model, self._content = model, content

    @property
    def model(self) -> Any:
        """The model; every stage leaves it as it is."""
        if self._model is None:
            self._model = read_keras(self._content)
        return self._model


@dataclass(frozen=True)
class LatentScale:
    """`LatentRange` without its models."""

    scale: NDArray[np.float32]
    gain: NDArray[np.uint16]
    unit: float
    zero_point: int

    @classmethod
    def of(cls, filled: LatentRange) -> LatentScale:
        return cls(filled.scale, filled.gain, filled.unit, filled.zero_point)

    def coarser(self, factors: NDArray[np.float32]) -> LatentScale:
        """That of a latent whose channels were multiplied by factors of at most 1."""
        gain = np.clip(np.round(self.gain * factors), 1, 0xFFFF).astype(np.uint16)
        return replace(self, scale=self.scale / factors, gain=gain)

    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        scale = [float(f"{value:.6g}") for value in self.scale]
        return {"unit": self.unit, "scale": scale, "zero_point": self.zero_point}


@dataclass(frozen=True)
class Int8:
    """The networks of a package, how their latent fills int8, and the same halves as float32 TFLite and (encoder, decoder) as
    .keras files."""

    pair: Pair
    latent: LatentScale
    twin: FloatPair
    halves: tuple[bytes, bytes]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """Halves that were trained under simulated int8, in the latent of a `LatentRange`."""

    filled: LatentRange
    facts: dict[str, Any] = field(default_factory=dict)


def _pack_model(made: Made) -> dict[str, bytes]:
    return {"model.keras": write_keras(made.model), "facts.json": json.dumps(made.facts).encode()}


def _unpack_model(members: dict[str, bytes]) -> Made:
    return Made(None, json.loads(members["facts.json"]), members["model.keras"])


def write_keras(model: Any) -> bytes:
    """The content of a .keras file."""
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def read_keras(content: bytes) -> Any:
    """The model in it."""
    import keras

    import edgepress.train.layers  # noqa: F401  registers the custom layers

    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return keras.saving.load_model(path, compile=False)


def _pack_int8(made: Int8) -> dict[str, bytes]:
    figures = {
        "scale": made.pair.scale,
        "zero_point": made.pair.zero_point,
        "layers": [made.pair.layers, made.twin.layers],
        "unit": made.latent.unit,
        "latent_zero_point": made.latent.zero_point,
        "facts": made.facts,
    }
    return {
        **_members("int8", made.pair),
        **_members("twin", made.twin),
        "encoder.keras": made.halves[0],
        "decoder.keras": made.halves[1],
        "latent.npz": _arrays(made.latent.scale, made.latent.gain),
        "int8.json": json.dumps(figures).encode(),
    }


def _unpack_int8(members: dict[str, bytes]) -> Int8:
    figures = json.loads(members["int8.json"])
    with np.load(io.BytesIO(members["latent.npz"]), allow_pickle=False) as arrays:
        latent = LatentScale(arrays["scale"], arrays["gain"], figures["unit"], figures["latent_zero_point"])
    layers = [(tuple(encoder), tuple(decoder)) for encoder, decoder in figures["layers"]]
    pair = Pair(*_halves(members, "int8"), figures["scale"], figures["zero_point"], layers[0])
    twin = FloatPair(*_halves(members, "twin"), layers=layers[1])
    halves = members["encoder.keras"], members["decoder.keras"]
    return Int8(pair, latent, twin, halves, figures["facts"])


def _pack_trained(made: Trained) -> dict[str, bytes]:
    filled = made.filled
    figures = {
        "latent": asdict(filled.halves.latent),
        "int8_scale": filled.int8_scale,
        "zero_point": filled.zero_point,
        "unit": filled.unit,
        "facts": made.facts,
    }
    return {
        "encoder.keras": write_keras(filled.halves.encoder),
        "decoder.keras": write_keras(filled.halves.decoder),
        "latent.npz": _arrays(filled.scale, filled.gain),
        "trained.json": json.dumps(figures).encode(),
    }


def _unpack_trained(members: dict[str, bytes]) -> Trained:
    from .latent_range import LatentRange  # loads Keras
    from .split import Halves, Latent

    figures = json.loads(members["trained.json"])
    encoder, decoder = (read_keras(members[f"{half}.keras"]) for half in ("encoder", "decoder"))
    with np.load(io.BytesIO(members["latent.npz"]), allow_pickle=False) as arrays:
        filled = LatentRange(
            halves=Halves(encoder, decoder, Latent(**figures["latent"])),
            scale=arrays["scale"],
            int8_scale=figures["int8_scale"],
            zero_point=figures["zero_point"],
            gain=arrays["gain"],
            unit=figures["unit"],
        )
    return Trained(filled, figures["facts"])


def _arrays(scale: NDArray[np.float32], gain: NDArray[np.uint16]) -> bytes:
    file = io.BytesIO()
    np.savez(file, scale=scale, gain=gain)
    return file.getvalue()


def _members(name: str, pair: FloatPair | Pair) -> dict[str, bytes]:
    return {f"{name}/encoder.tflite": pair.encoder, f"{name}/decoder.tflite": pair.decoder}


def _halves(members: dict[str, bytes], name: str) -> tuple[bytes, bytes]:
    return members[f"{name}/encoder.tflite"], members[f"{name}/decoder.tflite"]


def _pack_floats(pairs: dict[str, FloatPair]) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for name, pair in pairs.items():
        members |= _members(name, pair)
    return members


def _unpack_floats(members: dict[str, bytes]) -> dict[str, FloatPair]:
    names = dict.fromkeys(member.split("/")[0] for member in members)
    return {name: FloatPair(*_halves(members, name)) for name in names}


def _pack_tables(tables: EntropyTables) -> dict[str, bytes]:
    sizes = [tables.sets, tables.channels, tables.bank, int(tables.bank_freq.size)]
    return {"tables.bin": tables.to_bytes(), "sizes.json": json.dumps(sizes).encode()}


def _unpack_tables(members: dict[str, bytes]) -> EntropyTables:
    return EntropyTables.from_bytes(members["tables.bin"], *json.loads(members["sizes.json"]))


MODEL: Kind[Made] = Kind(_pack_model, _unpack_model)
TRAINED: Kind[Trained] = Kind(_pack_trained, _unpack_trained)
INT8: Kind[Int8] = Kind(_pack_int8, _unpack_int8)
FLOATS: Kind[dict[str, FloatPair]] = Kind(_pack_floats, _unpack_floats)
TABLES: Kind[EntropyTables] = Kind(_pack_tables, _unpack_tables)
