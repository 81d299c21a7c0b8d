"""One small benchmark for the tests of reports: real codecs on parts of photographs, measured once."""

import pytest
import skimage.data

from edgepress.bench.loadimages import BenchImage
from edgepress.bench.pictures import make_pictures
from edgepress.bench.pillowcodecs import Jpeg, Png, Webp
from edgepress.bench.run import run_bench
from edgepress.bench.study import study_of
from edgepress.bench.studycharts import detail_sheets
from edgepress.bench.studypage import study_section


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


@pytest.fixture(scope="session")
def study(measured, tmp_path_factory):
    """The section of the study on the same images, as if webp and png were its models."""
    logs = tmp_path_factory.mktemp("logs")
    (logs / "webp.csv").write_text("step,loss,val_score\n10,0.5,0.6\n20,0.3,0.35\n30,0.2,0.4\n")
    found = study_of(measured, measured.images, logs)
    codecs = [curve.codec for curve in measured.curves]
    return study_section(found, detail_sheets(found, codecs, measured.images))
