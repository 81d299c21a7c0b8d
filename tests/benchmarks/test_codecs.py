"""Encode and decode times of JPEG, WebP and the shipped packages: `make benchmark`.

Groups are operation and size, so that pytest-benchmark's tables set the contenders side by side; what the codec made
of the image stands in extra_info.
"""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from edgepress.bench.codecs import make_codec
from edgepress.bench.metrics import bits_per_pixel, psnr
from edgepress.runtime.package import shipped

SIZES = ((128, 128), (768, 512))
CONTENDERS = ("jpeg", "webp", *shipped())
QUALITY = 75


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def photo(request):
    """The astronaut at the given width and height."""
    image = Image.fromarray(skimage.data.astronaut())
    return np.asarray(image.resize(request.param, Image.Resampling.LANCZOS))


@pytest.fixture(scope="module", params=CONTENDERS)
def codec(request):
    """A contender, warm after its first call."""
    return make_codec(request.param)


@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_time(benchmark, codec, photo, operation):
    height, width = photo.shape[:2]
    data = codec.encode(photo, QUALITY)
    decoded = codec.decode(data)
    quality = psnr(photo, decoded)
    assert decoded.shape == photo.shape and quality > 15
    benchmark.group = f"{operation} {width}x{height}"
    benchmark.extra_info.update(
        codec=codec.description,
        quality=QUALITY,
        bytes=len(data),
        bpp=round(bits_per_pixel(len(data), width, height), 4),
        psnr=round(quality, 3),
    )
    if operation == "encode":
        assert benchmark(codec.encode, photo, QUALITY) == data
    else:
        assert np.array_equal(benchmark(codec.decode, data), decoded)
