"""Peak memory of large images in a process of its own, and time that grows as they do: `make test-all`."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

WORK = """
import sys, time
import numpy as np
from edgepress.runtime import Codec

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

way, path, width, height = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
codec = Codec.load("photo")
if way == "encode":
    # Smooth, with some noise: every plane has symbols, as in a photograph. Made in place: the image is there once.
    image = np.empty((height, width, 3), np.uint8)
    row = (np.arange(width * 3) * 7 // 300 + np.random.default_rng(0).integers(0, 24, width * 3)).astype(np.uint8)
    for y in range(height):
        image[y] = np.roll(row, 3 * y).reshape(width, 3)
    start = time.process_time()
    data = codec.encode(image)
    seconds = time.process_time() - start
    open(path, "wb").write(data)
else:
    data = open(path, "rb").read()
    start = time.process_time()
    assert codec.decode(data).size == (width, height)
    seconds = time.process_time() - start
print(peak(), seconds)
"""

COMMAND = """
import sys
sys.argv = ["edgepress", *sys.argv[1:]]
from edgepress.runtime.main import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024, file=sys.stderr)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status"),
]


def peak_and_seconds(way, path, width, height):
    arguments = [sys.executable, "-c", WORK, way, str(path), str(width), str(height)]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return tuple(map(float, result.stdout.split()))


@pytest.mark.parametrize(("width", "height", "limit"), [(4000, 3000, 300), (8000, 6000, 400)])
def test_peak_memory_in_megabytes(tmp_path, width, height, limit):
    """The limits include the image itself, 36 and 144 MB as an array."""
    path = tmp_path / "a.epx"
    for way in ("encode", "decode"):
        peak, _ = peak_and_seconds(way, path, width, height)
        print(way, peak)
        assert 3 * width * height / 2**20 < peak < limit, way


@pytest.mark.parametrize(("width", "height", "limit"), [(4000, 3000, 300), (8000, 6000, 400)])
def test_peak_memory_of_the_command(tmp_path, astronaut, width, height, limit):
    """Pillow's images take 4 bytes a pixel, 48 and 192 MB."""
    across, down = -(-width // 512), -(-height // 512)
    Image.fromarray(np.tile(astronaut, (down, across, 1))[:height, :width]).save(tmp_path / "a.jpg")
    for command in (["encode", "a.jpg", "-o", "a.epx"], ["decode", "a.epx", "-o", "a.png"]):
        result = subprocess.run(
            [sys.executable, "-c", COMMAND, *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        peak = float(result.stderr.split()[-1])
        print(command, peak)
        assert 4 * width * height / 2**20 < peak < limit, command


def test_time_is_linear_in_pixels(tmp_path):
    path = tmp_path / "a.epx"
    seconds = {}
    for side in (1500, 3000, 6000):
        for way in ("encode", "decode"):
            seconds[way, side] = min(peak_and_seconds(way, path, side, side)[1] for _ in range(2))
    for way in ("encode", "decode"):
        for small, large in ((1500, 3000), (3000, 6000)):
            assert seconds[way, large] < 2 * 4 * seconds[way, small]
