"""Encode and decode times of JPEG, WebP and the shipped packages: `make benchmark`.

Groups are operation and size, so that pytest-benchmark's tables set the contenders side by side. Packages code at `QUALITY`,
JPEG and WebP at the quality whose SSIM is nearest to the default package's there. What the codec made of the image, and what it
ran on, stands in extra_info.
"""

import functools
import io

import numpy as np
import pytest
import skimage.data
from PIL import Image

from edgepress.bench.codecs import make_codec
from edgepress.bench.metrics import bits_per_pixel, psnr, ssim
from edgepress.runtime import Codec
from edgepress.runtime.codec import default_name
from edgepress.runtime.package import shipped

SIZES = ((128, 128), (768, 512))
CONTENDERS = ("jpeg", "webp", *shipped())
QUALITY = 75
FOLDER = 300  # images of 128x128


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def photo(request):
    """The astronaut at the given width and height."""
    image = Image.fromarray(skimage.data.astronaut())
    return np.asarray(image.resize(request.param, Image.Resampling.LANCZOS))


@pytest.fixture(scope="module", params=CONTENDERS)
def contender(request):
    """A contender's name, and its codec, warm after its first call."""
    return request.param, make_codec(request.param)


def ssim_at(codec, photo, quality):
    return ssim(photo, codec.decode(codec.encode(photo, quality)))


@functools.cache
def quality_for(name, size):
    """The quality at which a contender codes the photograph of that size."""
    if name in shipped():
        return QUALITY
    image = Image.fromarray(skimage.data.astronaut()).resize(size, Image.Resampling.LANCZOS)
    pixels, codec = np.asarray(image), make_codec(name)
    wanted = ssim_at(make_codec(default_name()), pixels, QUALITY)
    low, high = 1, 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if ssim_at(codec, pixels, middle) <= wanted else (low, middle)
    return min((low, high), key=lambda quality: abs(ssim_at(codec, pixels, quality) - wanted))


@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_time(benchmark, context, contender, photo, operation):
    name, codec = contender
    height, width = photo.shape[:2]
    quality = quality_for(name, (width, height))
    data = codec.encode(photo, quality)
    decoded = codec.decode(data)
    found = psnr(photo, decoded)
    assert decoded.shape == photo.shape and found > 15
    benchmark.group = f"{operation} {width}x{height}"
    benchmark.extra_info.update(
        **context,
        codec=codec.description,
        quality=quality,
        bytes=len(data),
        bpp=round(bits_per_pixel(len(data), width, height), 4),
        psnr=round(found, 3),
        ssim=round(ssim(photo, decoded), 4),
    )
    if operation == "encode":
        assert benchmark(codec.encode, photo, quality) == data
    else:
        assert np.array_equal(benchmark(codec.decode, data), decoded)


@pytest.fixture(scope="module")
def folder():
    """Crops of a photograph, as the images of a folder."""
    image = skimage.data.astronaut()
    corners = [(7 * n % 384, 13 * n % 384) for n in range(FOLDER)]
    return [np.ascontiguousarray(image[y : y + 128, x : x + 128]) for y, x in corners]


def jpeg(pixels):
    """The bytes of a JPEG of the same SSIM, as a plain loop makes them."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality_for("jpeg", SIZES[0]), optimize=True)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["jpeg", *shipped()])
@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_a_folder_of_small_images(benchmark, context, folder, name, operation):
    """JPEG in a plain loop, edgepress with two workers; images per second are `FOLDER` over the time."""
    codec = None if name == "jpeg" else Codec.load(name)
    streams = (
        [jpeg(pixels) for pixels in folder] if codec is None else list(codec.encode_many(folder, QUALITY))
    )

    def encode():
        return (
            [jpeg(pixels) for pixels in folder]
            if codec is None
            else list(codec.encode_many(folder, QUALITY, 2))
        )

    def decode():
        if codec is None:
            return [np.asarray(Image.open(io.BytesIO(data))) for data in streams]
        return [np.asarray(image) for image in codec.decode_many(streams, 2)]

    benchmark.group = f"{operation} {FOLDER} images 128x128"
    benchmark.extra_info.update(**context, codec=name, images=FOLDER, bytes=sum(map(len, streams)))
    found = benchmark(encode if operation == "encode" else decode)
    assert len(found) == FOLDER
    assert found == streams if operation == "encode" else found[0].shape == folder[0].shape
