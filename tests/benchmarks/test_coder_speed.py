"""Speed of the entropy coder on the symbols of a photograph, 192 channels of 32x48 (768x512 pixels at 1/16)."""

import numpy as np
import pytest
import skimage.data
from scipy.fft import dctn

from edgepress.optimize.fit_tables import fit_tables, quality_steps, share_sets
from edgepress.runtime.coder import BACKEND, decode_symbols, dequantize, encode_symbols, quantize

STEPS = quality_steps(1, 12)


def block_transform(image: np.ndarray) -> np.ndarray:
    """Color DCT of 8x8 blocks on the int8 grid, int8[H/8,W/8,192]: about as sparse as learned latents."""
    red, green, blue = np.moveaxis(image.astype(np.float32), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = np.stack([luma - 128, (blue - luma) * 0.564, (red - luma) * 0.713], axis=2)
    height, width = planes.shape[0] // 8, planes.shape[1] // 8
    blocks = planes[: height * 8, : width * 8].reshape(height, 8, width, 8, 3).transpose(0, 2, 4, 1, 3)
    coefficients = dctn(blocks, axes=(3, 4), norm="ortho").reshape(height, width, 192) / 8
    return np.clip(np.round(coefficients), -128, 127).astype(np.int8)


@pytest.fixture(scope="module")
def coffee():
    latent = np.ascontiguousarray(block_transform(skimage.data.coffee())[:32, :48])
    return latent, fit_tables([latent], 0, step16=STEPS, set_of=share_sets(STEPS, 2), bank=32)


@pytest.mark.parametrize("quality", [20, 90])
@pytest.mark.parametrize("way", ["encode", "decode", "quantize", "dequantize"])
def test_coder_speed(benchmark, coffee, way, quality):
    latent, tables = coffee
    symbols = quantize(latent, 0, tables, quality)
    data = encode_symbols(symbols, tables, quality)
    work = {
        "encode": lambda: encode_symbols(symbols, tables, quality),
        "decode": lambda: decode_symbols(data, symbols.shape, tables, quality),
        "quantize": lambda: quantize(latent, 0, tables, quality),
        "dequantize": lambda: dequantize(symbols, 0, tables, quality),
    }[way]
    result = benchmark(work)
    benchmark.extra_info.update(
        backend=BACKEND, coded_symbols=int(symbols[symbols.any(axis=(1, 2))].size), bytes=len(data)
    )
    expected = {"encode": data, "decode": symbols, "quantize": symbols}.get(way)
    assert expected is None or np.array_equal(result, expected)
