"""Specs become contenders, wrong ones become one clear line, and contenders really compress."""

import pickle

import numpy as np
import pytest
import skimage.data
from PIL import features

from edgepress.bench.codecs import default_specs, describe_codecs, make_codec, make_codecs
from edgepress.bench.contender import MissingCodecError
from edgepress.bench.metrics import psnr
from edgepress.bench.pillowcodecs import PILLOW_CODECS, Jpeg
from edgepress.runtime import Codec, EdgepressError


def is_here(key):
    try:
        make_codec(key)
    except MissingCodecError:
        return False
    return True


HERE = [key for key in PILLOW_CODECS if is_here(key)]


@pytest.mark.parametrize("key", HERE)
def test_every_format_gives_the_image_back_and_more_of_it_at_higher_quality(key):
    codec = make_codec(key)
    photo = skimage.data.astronaut()[:128, :160]
    low, high = codec.qualities[0], codec.qualities[-1]
    files = {q: codec.encode(photo, q) for q in (low, high)}
    images = {q: codec.decode(data) for q, data in files.items()}
    assert images[high].shape == photo.shape and images[high].dtype == np.uint8
    assert psnr(photo, images[high]) > (25 if key == "gif" else 35)
    if low != high:
        assert len(files[low]) < len(files[high]) / 4
        assert psnr(photo, images[low]) < psnr(photo, images[high]) - 5


@pytest.mark.parametrize("spec", ["png", "tiff", "tiff:predictor=1", "tiff:compression=deflate"])
def test_lossless_is_exact(spec):
    codec = make_codec(spec)
    photo = skimage.data.chelsea()
    assert np.array_equal(codec.decode(codec.encode(photo, 100)), photo)


@pytest.mark.parametrize("key", HERE)
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 31)])
def test_odd_and_tiny_sizes_survive(key, size):
    codec = make_codec(key)
    photo = skimage.data.coffee()[: size[0], : size[1]]
    assert codec.decode(codec.encode(photo, 50)).shape == photo.shape


def test_the_default_jpeg_is_the_anchor_of_the_design():
    assert Jpeg() == make_codec("jpeg") == make_codec("jpeg:subsampling=420,optimize=1,progressive=0")
    assert Jpeg().options(75) == {
        "quality": 75,
        "subsampling": "4:2:0",
        "optimize": True,
        "progressive": False,
    }
    assert "libjpeg-turbo" in Jpeg().description and "420" in Jpeg().description


def test_parameters_reach_the_encoder():
    photo = skimage.data.astronaut()

    def size(spec: str) -> int:
        return len(make_codec(spec).encode(photo, 75))

    assert size("jpeg:subsampling=444") > size("jpeg:subsampling=422") > size("jpeg")
    assert size("jpeg:optimize=no") > size("jpeg")
    assert size("jpeg:progressive=yes") != size("jpeg")
    assert size("webp:method=0") > size("webp:method=6")
    assert size("tiff:compression=lzw") > size("tiff:compression=deflate")
    assert size("tiff") > size("tiff:predictor=1")
    assert size("gif") > size("gif:colors=16")
    assert size("gif:dither=1") != size("gif")
    assert size("jp2:by=rate") == pytest.approx(
        photo.shape[0] * photo.shape[1] * 0.04 * 100 ** (74 / 99) / 8, rel=0.02
    )


def test_a_spec_names_its_contender_and_makes_it_again():
    codec = make_codec(" jpeg:subsampling=444 ")
    assert codec.name == "jpeg:subsampling=444"
    assert codec.spec == "jpeg:subsampling=444,optimize=1,progressive=0"
    assert make_codec(codec.spec) == codec == pickle.loads(pickle.dumps(codec))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("jpg", "unknown codec 'jpg'; known are jpeg, webp, jp2, avif, jxl, png, gif, tiff"),
        ("", "unknown codec"),
        ("jpeg:quality=3", "no parameter 'quality'; it has subsampling, optimize, progressive"),
        ("jpeg:subsampling=411", "subsampling is 420 or 422 or 444, not '411'"),
        ("jpeg:optimize=maybe", "optimize is 0 or 1"),
        ("jpeg:optimize", "needs a value"),
        ("jpeg:optimize=1,optimize=0", "given twice"),
        ("webp:method=7", "method is 0 to 6, not '7'"),
        ("webp:method=x", "method is 0 to 6, not 'x'"),
        ("nowhere/model.epm", "no such .epm file"),
    ],
)
def test_a_wrong_spec_is_one_clear_line(spec, words):
    with pytest.raises(EdgepressError) as caught:
        make_codec(spec)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not isinstance(caught.value, MissingCodecError)


def test_a_damaged_package_is_an_error(tmp_path):
    path = tmp_path / "bad.epm"
    path.write_bytes(b"not a zip")
    with pytest.raises(EdgepressError):
        make_codec(str(path))


def test_a_contender_that_this_pillow_lacks_is_named_and_the_others_go_on(monkeypatch):
    without = [name for name in features.get_supported() if name != "avif"]
    monkeypatch.setattr(features, "get_supported", lambda: without)
    with pytest.raises(MissingCodecError, match="without libavif"):
        make_codec("avif")
    codecs, missing = make_codecs(["jpeg", "avif:speed=6", "webp"])
    assert [codec.name for codec in codecs] == ["jpeg", "webp"]
    assert [m.spec for m in missing] == ["avif:speed=6"] and "avif" in missing[0].reason


@pytest.mark.skipif(is_here("jxl"), reason="the JPEG XL plugin is installed")
def test_jpeg_xl_without_its_plugin_is_missing():
    with pytest.raises(MissingCodecError, match="pip install pillow-jxl-plugin"):
        make_codec("jxl")
    assert "jxl: " in describe_codecs() and "[missing here]" in describe_codecs()


@pytest.mark.skipif(not is_here("jxl"), reason="needs pillow-jxl-plugin")
def test_jpeg_xl_takes_its_effort():
    photo = skimage.data.astronaut()
    assert len(make_codec("jxl:effort=1").encode(photo, 50)) != len(make_codec("jxl").encode(photo, 50))


def test_another_package_offers_a_contender(tmp_path, monkeypatch):
    info = tmp_path / "raw-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: raw\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgepress.contenders]\nraw = rawcodec:Raw\n")
    (tmp_path / "rawcodec.py").write_text(RAW)
    monkeypatch.syspath_prepend(tmp_path)
    codec = make_codec("raw:gray")
    photo = skimage.data.coffee()[:20, :30]
    assert np.array_equal(codec.decode(codec.encode(photo, 50)), photo)
    assert codec.argument == "gray" and "raw: from rawcodec:Raw" in describe_codecs()
    with pytest.raises(EdgepressError, match=r"known are .*, raw, or give"):
        make_codec("rwa")


RAW = """
import numpy as np

class Raw:
    name = spec = "raw"
    description = "pixels as they are"
    qualities = (100,)

    def __init__(self, argument):
        self.argument = argument

    def encode(self, rgb, quality):
        return rgb.shape[0].to_bytes(4, "big") + rgb.tobytes()

    def decode(self, data):
        return np.frombuffer(data[4:], np.uint8).reshape(int.from_bytes(data[:4], "big"), -1, 3)
"""


def test_each_contender_takes_part_once():
    codecs, _ = make_codecs(["jpeg", "jpeg:optimize=1", "jpeg:optimize=0"])
    assert [codec.name for codec in codecs] == ["jpeg", "jpeg:optimize=0"]


@pytest.mark.parametrize("file_first", [True, False])
def test_a_file_with_the_name_of_a_shipped_package_takes_part_beside_it(file_first, tmp_path):
    copy = tmp_path / "conv3.epm"
    copy.write_bytes(Codec.load("conv3").package.path.read_bytes())
    specs = [str(copy), "conv3"] if file_first else ["conv3", str(copy)]
    assert [codec.name for codec in make_codecs(specs)[0]] == specs


def test_jpeg_always_takes_part_by_default():
    assert default_specs()[0] == "jpeg"


def test_help_lists_every_contender_and_parameter():
    text = describe_codecs()
    for word in ("jpeg:", "webp:", "jp2:", "avif:", "png:", "subsampling=420", "speed=8", "method=4", ".epm"):
        assert word in text


def test_a_package_is_a_contender(tiny_package):
    codec = make_codec(str(tiny_package))
    photo = skimage.data.astronaut()[:50, :70]
    again = pickle.loads(pickle.dumps(codec))
    data = codec.encode(photo, 60)
    assert data.startswith(b"EPX") and data == again.encode(photo, 60)
    assert codec.decode(data).shape == photo.shape
    assert codec.spec == str(tiny_package) and codec.fingerprint == again.fingerprint
    facts = codec.facts()
    assert facts["decoder_bytes"] > 0 and facts["model_bytes"] == tiny_package.stat().st_size
    # an 8x8 convolution with stride 8 to 40 channels, and a 1x1 one from 40 to 192
    assert facts["encoder_macs_per_pixel"] == 8 * 8 * 3 * 40 / 64
    assert facts["decoder_macs_per_pixel"] == 40 * 192 / 64
