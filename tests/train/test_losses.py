"""SSIM, perceptual and hybrid losses against independent references."""

import numpy as np
import pytest
import skimage.data
from skimage.metrics import structural_similarity

from edgepress.train.losses import (
    FINEST,
    Distortion,
    Perceptual,
    check_weights,
    hybrid_loss,
    hybrid_parts,
    mse,
    ssim,
    structural_loss,
)


@pytest.fixture(scope="module")
def pair():
    x = skimage.data.astronaut()[100:196, 120:248].astype("float32") / 255
    y = np.clip(x + np.random.default_rng(0).normal(0, 0.05, x.shape), 0, 1).astype("float32")
    return x, y


def test_structural_loss_is_that_of_the_scales(pair):
    """Contrast and structure by scikit-image's SSIM at each scale: its constants make SSIM = luminance * the rest."""
    x, y = (t[None] for t in pair)
    down = lambda t: t.reshape(1, t.shape[1] // 2, 2, t.shape[2] // 2, 2, 3).mean(axis=(2, 4))  # noqa: E731
    weights = {1: 0.2856, 2: 0.3001, 3: 0.2363 + 0.1333}
    total = 0.0
    for scale, weight in weights.items():
        x, y = down(x), down(y)
        settings = dict(channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5, win_size=11)
        settings |= dict(use_sample_covariance=False, full=True)
        # K1 so large that the luminance term is 1 leaves contrast and structure
        k1 = 0.01 if scale == 3 else 1e4
        full = structural_similarity(x[0], y[0], K1=k1, K2=0.03, **settings)[1]
        total += weight * (1 - full[5:-5, 5:-5].mean())
    got = float(structural_loss(*(t[None] for t in pair))[0])
    assert got == pytest.approx(total / sum(weights.values()), abs=1e-4)


def test_the_finest_scale_is_plain_ssim(pair):
    x, y = (t[None] for t in pair)
    finest = (1 - float(ssim(x, y)[0])) / FINEST
    assert float(structural_loss(x, y, fine=1.0)[0]) == pytest.approx(finest, abs=1e-5)
    mixed = 0.25 * finest + 0.75 * float(structural_loss(x, y)[0])
    assert float(structural_loss(x, y, fine=0.25)[0]) == pytest.approx(mixed, abs=1e-5)


def test_a_distortion_is_the_sum_of_its_parts(pair):
    x, y = (t[None] for t in pair)
    error = 255**2 * float(mse(x, y)[0])
    assert float(Distortion()(x, y)[0]) == pytest.approx(error, rel=1e-5)
    mixed = Distortion(structure=0.25, fine=0.5)
    assert tuple(mixed.parts(x, y)) == mixed.names == ("mse", "structural")
    structural = float(structural_loss(x, y, 0.5)[0])
    assert float(mixed(x, y)[0]) == pytest.approx(0.75 * error + 0.25 * 2000 * structural, rel=1e-5)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random VGG16-shaped weights: the arithmetic is what is tested."""
    rng = np.random.default_rng(1)
    shapes = {"block1_conv1": (3, 4), "block1_conv2": (4, 4), "block2_conv1": (4, 6), "block2_conv2": (6, 6)}
    arrays = {}
    for name, (cin, cout) in shapes.items():
        arrays[f"{name}__kernel"] = rng.normal(0, 0.2, (3, 3, cin, cout)).astype("float32")
        arrays[f"{name}__bias"] = rng.normal(0, 0.1, cout).astype("float32")
    path = tmp_path_factory.mktemp("vgg") / "vgg.npz"
    np.savez(path, **arrays)
    return path


def test_ssim_agrees_with_scikit_image(pair):
    x, y = pair
    _, full = structural_similarity(
        x,
        y,
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    reference = full[5:-5, 5:-5].mean()  # valid positions only
    assert float(ssim(x[None], y[None])[0]) == pytest.approx(reference, abs=1e-5)


def test_identical_images_lose_nothing(pair, vgg_file):
    x = pair[0][None]
    parts = hybrid_parts(0.3, 0.3, 0.4, vgg_file, blocks=2)(x, x)
    assert float(parts["ssim"][0]) == pytest.approx(1, abs=1e-5)
    assert float(parts["loss"][0]) == pytest.approx(0, abs=1e-5)


def test_hybrid_is_the_weighted_sum_of_its_parts(pair, vgg_file):
    x, y = (np.stack([p, p[::-1]]) for p in pair)
    parts = hybrid_parts(0.2, 0.3, 0.5, vgg_file, blocks=2)(x, y)
    expected = 0.2 * (1 - parts["ssim"]) + 0.3 * parts["perceptual"] + 0.5 * parts["mse"]
    np.testing.assert_allclose(parts["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(hybrid_loss(0.2, 0.3, 0.5, vgg_file, 2)(x, y), expected, rtol=1e-5)
    np.testing.assert_allclose(mse(x, y), ((x - y) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    assert parts["perceptual"].shape == (2,)


def test_perceptual_sees_bgr_minus_the_imagenet_mean(vgg_file):
    """First feature of a constant image, away from the border, computed by hand."""
    perceptual = Perceptual(vgg_file, blocks=1)
    with np.load(vgg_file) as f:
        k1, b1 = f["block1_conv1__kernel"], f["block1_conv1__bias"]
        k2, b2 = f["block1_conv2__kernel"], f["block1_conv2__bias"]
    rgb = np.array([0.2, 0.5, 0.9], "float32")
    bgr = rgb[::-1] * 255 - np.array([103.939, 116.779, 123.68])
    first = np.maximum(bgr @ k1.sum((0, 1)) + b1, 0)
    second = np.maximum(first @ k2.sum((0, 1)) + b2, 0) / 255
    feature = perceptual._features(np.broadcast_to(rgb, (1, 9, 9, 3)))[0]
    np.testing.assert_allclose(feature[0, 4, 4], second, rtol=1e-4)


@pytest.mark.parametrize("weights", [(0.5, 0.5, 0.5), (1.2, -0.2, 0), (0, 0, 0)])
def test_weights_must_be_a_convex_combination(weights):
    with pytest.raises(ValueError, match=r"a \+ b \+ c = 1"):
        check_weights(*weights, "imagenet")


def test_perceptual_without_weights_is_a_clear_error():
    with pytest.raises(ValueError, match="needs VGG16 weights"):
        hybrid_parts(0.2, 0.3, 0.5)


def test_missing_and_foreign_weight_files_are_clear_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        hybrid_parts(0.2, 0.3, 0.5, str(tmp_path / "none.h5"))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="no VGG16 layer block1_conv1"):
        hybrid_parts(0.2, 0.3, 0.5, str(tmp_path / "other.npz"))
