"""Speed of conv3's int8 decoder at 128x128: as it is, for any size or for one, and rewritten."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pytest
import skimage.data

from edgepress.optimize import _convert_worker
from edgepress.optimize.convert import Job, calibration_crops, convert
from edgepress.optimize.demo import MODEL
from edgepress.optimize.graph import run
from edgepress.optimize.load import load_model
from edgepress.optimize.rewrite import rewrite
from edgepress.optimize.split import split
from edgepress.optimize.tflite import TFLite, undelegated


@pytest.fixture(scope="module")
def decoders() -> dict[str, bytes]:
    """int8 decoders of the shipped conv3: transposed for any size, transposed for 128x128 only, rewritten."""
    images = [skimage.data.astronaut(), skimage.data.coffee()]
    model = load_model(MODEL)
    plain, rewritten = split(model), split(rewrite(model).model)
    jobs = [
        Job(plain.encoder, plain.decoder, "int8", resizable=False),
        Job(rewritten.encoder, rewritten.decoder, "int8"),
    ]
    static, fast = convert(jobs, images)
    latents = [run(plain.encoder, tile[None]) for tile in calibration_crops(images, 128, 16)]
    converter = _convert_worker._converter(plain.decoder, (1, None, None, plain.latent.channels))
    ends = (0.0, float(max(z.max() for z in latents))), (0.0, 1.0)
    free = _convert_worker._quantize(_convert_worker._calibrate(converter, latents), *ends)
    return {"transposed, any size": free, "transposed, one size": static.decoder, "rewritten": fast.decoder}


@pytest.mark.benchmark(group="conv3 int8 decoder, 128x128")
@pytest.mark.parametrize("name", ["transposed, any size", "transposed, one size", "rewritten"])
def test_decoder(benchmark, decoders, name):
    model = TFLite(decoders[name])
    latent = np.random.default_rng(0).integers(-128, 128, (1, 16, 16, 32), dtype=np.int8)
    benchmark.extra_info["undelegated"] = dict(undelegated(decoders[name]))
    benchmark.pedantic(model.run, (latent,), rounds=200, warmup_rounds=5)
