"""A small codec package for every room's tests: real int8 networks, made in a moment and without TensorFlow.

The encoder is an 8x8 DCT of luma and colour differences, written as one strided convolution; the decoder is its inverse,
a 1x1 convolution and depth_to_space. So images come back as themselves, and quality means something.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

STRIDE = 8
ZERO_POINT = 3  # unlike 0, it shows when somebody forgets it
LATENT_SCALE = 1 / 18  # of a latent step: the largest coefficient is sqrt(192) / 2
LUMA, CHROMA = 28, 6  # coefficients kept, from the lowest frequency on
CHANNELS = LUMA + 2 * CHROMA


def _basis() -> np.ndarray:
    """float[C, 8, 8, 3]: orthonormal rows; a block of pixels (0..1, less 0.5) times these gives its latents."""
    n = np.arange(STRIDE)
    dct = np.cos((2 * n[None] + 1) * n[:, None] * np.pi / 16) * 0.5
    dct[0] /= np.sqrt(2)
    planes = [np.outer(dct[u], dct[v]) for u, v in sorted(np.ndindex(8, 8), key=lambda uv: (sum(uv), uv))]
    colours = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])
    kept = [(plane, colours[0]) for plane in planes[:LUMA]]
    kept += [(plane, colour) for plane in planes[:CHROMA] for colour in colours[1:]]
    return np.array([plane[..., None] * colour for plane, colour in kept])


class ModelBuilder:
    """Writes a TFLite model of one int8 convolution between casts, through LiteRT's own schema."""

    def __init__(self) -> None:
        self.schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
        self.buffers = [self.schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[Any] = []

    def tensor(self, shape: tuple[int, ...], dtype: str, scale: Any, zero: int = 0, data: Any = None) -> int:
        tensor = self.schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = (
            list(shape),
            getattr(self.schema.TensorType, dtype.upper()),
            0,
        )
        tensor.name = f"t{len(self.tensors)}"
        if dtype != "float32":
            quantization = self.schema.QuantizationParametersT()
            quantization.scale = [float(value) for value in np.atleast_1d(scale)]
            quantization.zeroPoint = [zero] * len(quantization.scale)
            tensor.quantization = quantization
        if data is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, kind: str, inputs: list[int], output: int, **options: Any) -> None:
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, kind)
        code.version = {"CONV_2D": 3, "DEPTH_TO_SPACE": 2}.get(kind, 1)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes), inputs, [output]
        if options:
            name = {
                "CONV_2D": "Conv2DOptions",
                "DEPTH_TO_SPACE": "DepthToSpaceOptions",
                "STRIDED_SLICE": "StridedSliceOptions",
            }[kind]
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(self.schema, name + "T")()
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        self.codes.append(code)
        self.operators.append(operator)

    def convolution(
        self, source: int, source_scale: float, weights: np.ndarray, bias: np.ndarray, out: int
    ) -> None:
        """`weights` OHWI, per-channel int8; a stride as large as the kernel."""
        scales = np.abs(weights).reshape(len(weights), -1).max(axis=1) / 127
        stored = np.rint(weights / scales[:, None, None, None])
        kernel = self.tensor(weights.shape, "int8", scales, data=stored)
        offsets = self.tensor(
            bias.shape, "int32", scales * source_scale, data=np.rint(bias / (scales * source_scale))
        )
        size = weights.shape[1]
        self.operator(
            "CONV_2D",
            [source, kernel, offsets],
            out,
            strideH=size,
            strideW=size,
            padding=self.schema.Padding.VALID,
        )

    def finish(self, source: int, sink: int) -> bytes:
        import flatbuffers

        graph = self.schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = (
            self.tensors,
            self.operators,
            [source],
            [sink],
        )
        model = self.schema.ModelT()
        model.version, model.subgraphs, model.buffers, model.operatorCodes = (
            3,
            [graph],
            self.buffers,
            self.codes,
        )
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def build_encoder(pixels: str = "uint8", zero_point: int = ZERO_POINT, scale: float = LATENT_SCALE) -> bytes:
    """The DCT encoder as a TFLite model; `pixels` is the dtype of its input."""
    basis = _basis()
    model = ModelBuilder()
    source = model.tensor((1, 16, 16, 3), pixels, 1 / 255, -128 if pixels == "int8" else 0)
    image = source if pixels == "int8" else model.tensor((1, 16, 16, 3), "int8", 1 / 255, -128)
    latent = model.tensor((1, 2, 2, CHANNELS), "int8", scale, zero_point)
    if pixels != "int8":
        model.operator("QUANTIZE", [source], image)
    model.convolution(image, 1 / 255, basis, -0.5 * basis.sum(axis=(1, 2, 3)), latent)
    return model.finish(source, latent)


def build_decoder(
    pixels: str = "uint8", zero_point: int = ZERO_POINT, scale: float = LATENT_SCALE, block: int = STRIDE
) -> bytes:
    """The inverse of `build_encoder`, likewise; another `block` than 8 gives images of a wrong size."""
    weights = _basis().reshape(CHANNELS, -1).T[:, None, None, :]
    model = ModelBuilder()
    latent = model.tensor((1, 2, 2, CHANNELS), "int8", scale, zero_point)
    blocks = model.tensor((1, 2, 2, 192), "int8", 1 / 255, -128)
    image = model.tensor((1, 2 * block, 2 * block, 192 // block**2), "int8", 1 / 255, -128)
    model.convolution(latent, scale, weights, np.full(192, 0.5), blocks)
    model.operator("DEPTH_TO_SPACE", [blocks], image, blockSize=block)
    if pixels == "int8":
        return model.finish(latent, image)
    sink = model.tensor((1, 2 * block, 2 * block, 192 // block**2), pixels, 1 / 255)
    model.operator("DEQUANTIZE" if pixels == "float32" else "QUANTIZE", [image], sink)
    return model.finish(latent, sink)


def build_tables(channels: int = CHANNELS, bank: int = 12) -> Any:
    """Entropy tables made by hand: two sets, a bank of Laplacians of growing width, contexts from the neighbours."""
    from edgepress.runtime.tables import CONTEXTS, PROB_SCALE, QUALITIES, EntropyTables

    radii, frequencies = [], []
    for width in np.geomspace(0.1, 60, bank):
        radius = int(min(127, np.ceil(4 * width)))
        density = np.exp(-np.abs(np.arange(-radius, radius + 1)) / width)
        density = np.append(density, density[-1]) / (density.sum() + density[-1])
        counts = np.maximum(1, np.floor(density * (PROB_SCALE - density.size))).astype(np.uint16)
        counts[radius] += PROB_SCALE - counts.sum(dtype=int)
        radii.append(radius)
        frequencies.append(counts)
    shape = (2, channels)
    quality = np.arange(1, QUALITIES + 1)
    entry = np.minimum(np.arange(CONTEXTS) * bank // CONTEXTS, bank - 1)
    return EntropyTables(
        step16=np.rint(16 * 32 ** ((100 - quality) / 99)).astype(np.uint16),
        gain=np.full(channels, 256, np.uint16),
        round256=np.full(QUALITIES, 110, np.uint16),
        set_of=(quality > 50).astype(np.uint8),
        recon=np.full((*shape, 2), 8, np.int8),
        order=np.stack([np.arange(channels), np.arange(channels)[::-1]]).astype(np.uint16),
        mean_w=np.array([24, 24, -8, 0], np.int8)
        * (np.arange(channels, dtype=np.int8) % 2).reshape(1, -1, 1).repeat(2, 0),
        ctx_w=np.tile(np.array([2, 1, 1, 1, 1, 0], np.uint8), (*shape, 3, 1)),
        table_of=np.tile(entry.astype(np.uint8), (*shape, 1)),
        bank_radius=np.array(radii, np.uint8),
        bank_dead=np.zeros(bank, np.uint8),
        bank_freq=np.concatenate(frequencies),
        refine_w=np.zeros((*shape, 4), np.uint8),
    )


def write_tiny(path: Path, **changes: Any) -> Any:
    """Write the tiny package to `path`, with other arguments of `write_package` where `changes` has them."""
    from edgepress.runtime.package import write_package

    arguments: dict[str, Any] = {
        "name": "tiny",
        "architecture": "8x8 DCT",
        "stride": STRIDE,
        "zero_point": ZERO_POINT,
        "encoder": build_encoder(),
        "decoder": build_decoder(),
        "tables": build_tables(),
        "provenance": {"made by": "tests/conftest.py"},
        "figures": {"note": "none"},
        "description": "an 8x8 DCT for tests",
    }
    return write_package(path, **{**arguments, **changes})


@pytest.fixture(scope="session")
def tiny_writer() -> Callable[..., Any]:
    """`tiny_writer(path, **changes) -> Package`: see `write_tiny`; its `encoder`/`decoder`/`tables` build the parts."""
    write_tiny.encoder, write_tiny.decoder, write_tiny.tables = build_encoder, build_decoder, build_tables
    write_tiny.builder = ModelBuilder
    return write_tiny


@pytest.fixture(scope="session")
def tiny_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the tiny package."""
    path = tmp_path_factory.mktemp("package") / "tiny.epm"
    write_tiny(path)
    return path


@pytest.fixture(scope="session")
def tiny_codec(tiny_package: Path) -> Any:
    """The codec of the tiny package."""
    from edgepress.runtime import Codec

    return Codec.load(tiny_package)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A photograph, uint8 512x512x3, read from scikit-image's wheel."""
    skimage = pytest.importorskip("skimage")
    return np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB"))


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., None]:
    """`started(*arguments)` runs Python in a process of its own, for the time that it takes; it must succeed.

    edgepress lies there as in an installation, not behind an editable one's finder, and compiled modules are kept. numpy
    gets one thread for linear algebra, as the command sees to itself: the others would only wait, at full speed,
    and the shorter a process, the more of its time they would be.
    """
    from edgepress import runtime

    (tmp_path / "site" / "edgepress").mkdir(parents=True)
    (tmp_path / "site" / "edgepress" / "runtime").symlink_to(Path(runtime.__file__).parent)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "PYTHONPYCACHEPREFIX": str(tmp_path / "cache"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def start(*arguments: object) -> None:
        command = [sys.executable, *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr

    return start
