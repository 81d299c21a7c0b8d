"""The measures agree with scikit-image and tf.image on real photographs, and refuse what they cannot compare."""

import io
import math

import numpy as np
import pytest
import skimage.data
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from edgepress.bench.metrics import mean_psnr, measure, ms_ssim, psnr, ssim
from edgepress.runtime import EdgepressError


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


PAIRS = [
    pytest.param(photo, quality, id=f"{photo.__name__}-{quality}")
    for photo, quality in [(skimage.data.astronaut, 5), (skimage.data.chelsea, 30), (skimage.data.coffee, 95)]
]


@pytest.mark.parametrize(("photo", "quality"), PAIRS)
def test_psnr_and_ssim_are_those_of_scikit_image(photo, quality):
    a = photo()
    b = jpeg(a, quality)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-9)
    assert ssim(a, b) == pytest.approx(structural_similarity(a, b, channel_axis=2, **settings), abs=1e-6)
    gray = structural_similarity(a[..., 1], b[..., 1], **settings)
    assert ssim(a[..., 1], b[..., 1]) == pytest.approx(gray, abs=1e-6)


@pytest.mark.parametrize("size", [(176, 176), (201, 333), (300, 450)])
def test_all_three_are_those_of_tensorflow(size):
    tf = pytest.importorskip("tensorflow")
    a = skimage.data.chelsea()[: size[0], : size[1]]
    b = jpeg(a, 10)
    x, y = tf.constant(a), tf.constant(b)
    found = measure(a, b)
    assert found.psnr == pytest.approx(float(tf.image.psnr(x, y, 255)), abs=1e-4)
    assert found.ssim == pytest.approx(float(tf.image.ssim(x, y, 255)), abs=1e-4)
    assert found.ms_ssim == pytest.approx(float(tf.image.ssim_multiscale(x, y, 255)), abs=1e-4)


def test_measure_gives_what_the_single_functions_give():
    a = skimage.data.astronaut()
    b = jpeg(a, 20)
    found = measure(a, b)
    assert (found.psnr, found.ssim, found.ms_ssim) == (psnr(a, b), ssim(a, b), ms_ssim(a, b))
    assert measure(a, b, multiscale=False).ms_ssim is None


def test_equal_images_are_perfect():
    a = skimage.data.coffee()
    found = measure(a, a.copy())
    assert (found.psnr, found.ssim, found.ms_ssim) == (math.inf, 1.0, 1.0)


def test_extremes_stay_in_range():
    black, white = np.zeros((200, 200, 3), np.uint8), np.full((200, 200, 3), 255, np.uint8)
    found = measure(black, white)
    assert found.psnr == 0
    assert found.ssim is not None and found.ms_ssim is not None
    assert 0 <= found.ssim < 1e-3 and 0 <= found.ms_ssim < 0.5


def test_an_inverted_image_has_a_negative_ssim_and_no_nan():
    a = skimage.data.camera()
    found = measure(a, 255 - a)
    assert found.ssim is not None and found.ssim < 0
    assert found.ms_ssim is not None and 0 <= found.ms_ssim < 0.5


def test_small_images_have_no_ms_ssim_and_tiny_ones_no_ssim():
    a = skimage.data.astronaut()
    assert ms_ssim(a[:175], a[:175]) is None
    assert ms_ssim(a[:176, :176], a[:176, :176]) == 1.0
    found = measure(a[:10, :50], a[10:20, :50])
    assert found.ssim is None and math.isfinite(found.psnr)
    with pytest.raises(EdgepressError, match="11x11"):
        ssim(a[:10], a[:10])


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.zeros((20, 20), np.uint8), np.zeros((20, 21), np.uint8), "one shape"),
        (np.zeros((20, 20), np.float32), np.zeros((20, 20), np.float32), "uint8"),
        (np.zeros(20, np.uint8), np.zeros(20, np.uint8), "HxWx3 or HxW"),
        (np.zeros((0, 20), np.uint8), np.zeros((0, 20), np.uint8), "HxWx3 or HxW"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, words):
    for function in (psnr, ssim, ms_ssim):
        with pytest.raises(EdgepressError, match=words):
            function(a, b)


def test_an_exact_image_does_not_make_a_mean_infinite():
    assert mean_psnr([30.0, math.inf]) == 65.0
    assert mean_psnr([math.inf, math.inf]) == math.inf
