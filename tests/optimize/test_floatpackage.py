"""The float networks of a package as a contender: the same bitstream and grid, only without int8 arithmetic."""

import pickle

import numpy as np
import pytest
import skimage.data

from edgepress.bench.codecs import make_codec
from edgepress.bench.metrics import psnr
from edgepress.runtime import Codec, EdgepressError
from edgepress.runtime.smoothing import limit_of, smooth
from edgepress.runtime.stream import parse_header

SHIPPED = "optimize/shipped/conv3.keras"
PACKAGE = "runtime/packages/conv3.epm"
PHOTO, PHOTO_PACKAGE = "optimize/shipped/photo.keras", "runtime/packages/photo.epm"


@pytest.fixture(scope="module")
def root(request):
    return request.config.rootpath


@pytest.fixture(scope="module")
def codec(root):
    return make_codec(f"{root / PHOTO}:package={root / PHOTO_PACKAGE}")  # int8 of these very weights


def test_it_is_the_package_with_finer_arithmetic(codec, root):
    package = Codec.load(root / PHOTO_PACKAGE)
    photo = skimage.data.astronaut()[:97, :131]
    data = codec.encode(photo, 80)
    decoded = codec.decode(data)
    assert parse_header(data).model_id == package.package.model_id
    assert decoded.shape == photo.shape and decoded.dtype == np.uint8
    own = package.decode_array(package.encode(photo, 80))
    assert psnr(own, decoded) > 30 and not np.array_equal(own, decoded)
    assert psnr(photo, decoded) > psnr(photo, own) - 0.2
    assert abs(len(data) / len(package.encode(photo, 80)) - 1) < 0.2
    assert data == pickle.loads(pickle.dumps(codec)).encode(photo, 80)
    assert codec.facts()["macs_per_pixel"] > 1000


def test_its_blocks_are_smoothed_as_the_package_does(codec, root):
    package = Codec.load(root / PHOTO_PACKAGE)
    photo = np.ascontiguousarray(skimage.data.rocket()[:96, :128])  # sky
    shown = codec.decode(codec.encode(photo, 5))
    codec._package.smoothing = 0
    rough = codec.decode(codec.encode(photo, 5))
    codec._package.smoothing = package.package.smoothing
    assert not np.array_equal(shown, rough)
    smooth(rough, 16, limit_of(package.package.tables, package.package.smoothing, 5))
    np.testing.assert_array_equal(shown, rough)


def test_wrong_parameters_are_one_clear_line(root, tmp_path):
    with pytest.raises(EdgepressError, match=r"package=FILE\.epm"):
        make_codec(f"{root / SHIPPED}:tables=x")
    with pytest.raises(EdgepressError, match=r"no such \.keras file"):
        make_codec(f"{tmp_path / 'none.keras'}:package={root / PACKAGE}")
    other = make_codec(f"{root / SHIPPED}:package={root / PHOTO_PACKAGE}")
    with pytest.raises(EdgepressError, match="made from another model"):
        other.encode(skimage.data.astronaut(), 50)
