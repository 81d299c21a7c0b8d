"""One small benchmark for the tests of reports: real codecs on parts of photographs, measured once."""

import pytest
import skimage.data

from edgepress.bench.loadimages import BenchImage
from edgepress.bench.pictures import make_pictures
from edgepress.bench.pillowcodecs import Jpeg, Png, Webp
from edgepress.bench.run import run_bench


@pytest.fixture(scope="session")
def measured():
    """The Result: jpeg (the anchor), webp and png on two images; one has a name that HTML must not take for its own."""
    images = [
        BenchImage.from_array("astronaut", skimage.data.astronaut()[:192, 150:350]),
        BenchImage.from_array("</script><b>coffee", skimage.data.coffee()[100:292, 200:400]),
    ]
    return run_bench([Jpeg(), Webp(), Png()], images, [10, 40, 80], repeats=2, time_images=1)


@pytest.fixture(scope="session")
def pictures(measured):
    """What the viewer shows of it: both images, every contender, every quality."""
    contenders = [(curve.codec, [p.quality for p in curve.points]) for curve in measured.curves]
    return make_pictures(contenders, measured.images, 2)
