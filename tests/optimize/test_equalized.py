"""The equalize stage of the pipeline: the same function for `photo`, a clear refusal for other models."""

import numpy as np
import pytest
import skimage.data

from edgepress.optimize.pipeline import _equalized
from edgepress.runtime.errors import EdgepressError
from edgepress.train.models import build


def test_photo_keeps_its_function_and_the_original_its_weights():
    image = skimage.data.coffee()[:256, :256]
    model = build("photo", seed=1)
    before = [w.copy() for w in model.get_weights()]
    equalized = _equalized(model, [image])
    x = image[None].astype("float32") / 255
    np.testing.assert_allclose(equalized(x), model(x), atol=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(before, equalized.get_weights(), strict=True))


def test_other_models_are_refused():
    with pytest.raises(EdgepressError, match="photo"):
        _equalized(build("conv3"), [skimage.data.coffee()])
